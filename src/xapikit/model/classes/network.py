# Licensed under the Apache License, Version 2.0 (the "License"); you may
# not use this file except in compliance with the License. You may obtain
# a copy of the License at
#
#      http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
# WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
# License for the specific language governing permissions and limitations
# under the License.
"""Class ``network``."""

from xapikit.model.schema import ClassSpec, F, M, life

NETWORK = ClassSpec(
    "network",
    life("published@rio"),
    declared_fields=(
        F("uuid", "string", "DynamicRO", "published@rio"),
        F("name_label", "string", "RW", "published@rio", default="", write_role="pool-operator"),
        F("name_description", "string", "RW", "published@rio", default="", write_role="pool-operator"),
        F(
            "allowed_operations",
            "set(enum:network_operations)",
            "DynamicRO",
            "published@rio",
            default=[],
            persist=False,
        ),
        F(
            "current_operations",
            "map(string,enum:network_operations)",
            "DynamicRO",
            "published@rio",
            default={},
            persist=False,
        ),
        F("VIFs", "set(ref:VIF)", "DynamicRO", "published@rio"),
        F("PIFs", "set(ref:PIF)", "DynamicRO", "published@rio"),
        F("MTU", "int", "RW", "published@midnight-ride", default=1500, write_role="vm-admin"),
        F(
            "other_config",
            "map(string,string)",
            "RW",
            "published@rio",
            write_role="pool-operator",
            key_roles={
                "folder": "vm-operator",
                "XenCenter.CustomFields.*": "vm-operator",
                "XenCenterCreateInProgress": "vm-operator",
            },
        ),
        F("bridge", "string", "StaticRO", "published published@rio changed@falcon", default=""),
        F("managed", "bool", "StaticRO", "published@falcon", default=True),
        F("blobs", "map(string,ref:blob)", "DynamicRO", "published@orlando", default={}),
        F("tags", "set(string)", "RW", "published@orlando", default=[], write_role="vm-operator"),
        F(
            "default_locking_mode",
            "enum:network_default_locking_mode",
            "DynamicRO",
            "published@tampa",
            default="unlocked",
        ),
        F("assigned_ips", "map(ref:VIF,string)", "DynamicRO", "published@creedence", default={}),
        F("purpose", "set(enum:network_purpose)", "DynamicRO", "published@inverness", default=[]),
    ),
    declared_messages=(
        M(
            "attach",
            "network=ref:network host=ref:host",
            "",
            "published@miami",
            "pool-operator",
            is_async=True,
            hidden=True,
        ),
        M(
            "pool_introduce",
            "name_label=string name_description=string MTU=int other_config=map(string,string) bridge=string managed=bool purpose=set(enum:network_purpose)",
            "ref:network",
            "published@rio",
            "pool-operator",
            is_async=True,
            hidden=True,
        ),
        M(
            "create_new_blob",
            "network=ref:network name=string mime_type=string public=bool",
            "ref:blob",
            "published@orlando",
            "pool-operator",
            defaults={"public": False},
            is_async=True,
        ),
        M(
            "set_default_locking_mode",
            "network=ref:network value=enum:network_default_locking_mode",
            "",
            "published@tampa",
            "pool-operator",
            is_async=True,
        ),
        M(
            "attach_for_vm",
            "host=ref:host vm=ref:VM",
            "",
            "published@tampa",
            "vm-power-admin",
            is_async=True,
            hidden=True,
        ),
        M(
            "detach_for_vm",
            "host=ref:host vm=ref:VM",
            "",
            "published@tampa",
            "vm-power-admin",
            is_async=True,
            hidden=True,
        ),
        M(
            "add_purpose",
            "self=ref:network value=enum:network_purpose",
            "",
            "published@inverness",
            "pool-admin",
            errors=("NETWORK_INCOMPATIBLE_PURPOSES",),
            is_async=True,
        ),
        M(
            "remove_purpose",
            "self=ref:network value=enum:network_purpose",
            "",
            "published@inverness",
            "pool-admin",
            is_async=True,
        ),
        M("create", "args=record:network", "ref:network", "published@rio", "vm-admin", is_async=True),
        M("destroy", "self=ref:network", "", "published@rio", "vm-admin", is_async=True),
    ),
    ctor_dtor=True,
)
