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
"""Class ``SR``."""

from xapikit.model.schema import ClassSpec, F, M, life

SR = ClassSpec(
    "SR",
    life("published@rio"),
    declared_fields=(
        F("uuid", "string", "DynamicRO", "published@rio"),
        F("name_label", "string", "StaticRO", "published@rio", default=""),
        F("name_description", "string", "StaticRO", "published@rio", default=""),
        F(
            "allowed_operations",
            "set(enum:storage_operations)",
            "DynamicRO",
            "published@rio",
            default=[],
            persist=False,
        ),
        F(
            "current_operations",
            "map(string,enum:storage_operations)",
            "DynamicRO",
            "published@rio",
            default={},
            persist=False,
        ),
        F("VDIs", "set(ref:VDI)", "DynamicRO", "published@rio"),
        F("PBDs", "set(ref:PBD)", "DynamicRO", "published@rio"),
        F("virtual_allocation", "int", "DynamicRO", "published@rio"),
        F("physical_utilisation", "int", "DynamicRO", "published@rio"),
        F("physical_size", "int", "StaticRO", "published@rio"),
        F("type", "string", "StaticRO", "published@rio"),
        F("content_type", "string", "StaticRO", "published@rio"),
        F("shared", "bool", "DynamicRO", "published@rio"),
        F(
            "other_config",
            "map(string,string)",
            "RW",
            "published@rio",
            write_role="pool-operator",
            key_roles={"folder": "vm-operator", "XenCenter.CustomFields.*": "vm-operator"},
        ),
        F("tags", "set(string)", "RW", "published@orlando", default=[], write_role="vm-operator"),
        F("default_vdi_visibility", "bool", "DynamicRO", "published@rio", internal_only=True),
        F("sm_config", "map(string,string)", "RW", "published@miami", default={}, write_role="pool-operator"),
        F("blobs", "map(string,ref:blob)", "DynamicRO", "published@orlando", default={}),
        F("local_cache_enabled", "bool", "DynamicRO", "published@cowley", default=False),
        F("introduced_by", "ref:DR_task", "DynamicRO", "published@boston", default="OpaqueRef:NULL"),
        F("clustered", "bool", "DynamicRO", "published@dundee", default=False),
        F("is_tools_sr", "bool", "DynamicRO", "published@dundee", default=False),
    ),
    declared_messages=(
        M(
            "create",
            "host=ref:host device_config=map(string,string) physical_size=int name_label=string name_description=string type=string content_type=string shared=bool sm_config=map(string,string)",
            "ref:SR",
            "published@rio",
            "pool-operator",
            defaults={"sm_config": {}},
            errors=("SR_UNKNOWN_DRIVER",),
            is_async=True,
        ),
        M(
            "introduce",
            "uuid=string name_label=string name_description=string type=string content_type=string shared=bool sm_config=map(string,string)",
            "ref:SR",
            "published@rio",
            "pool-operator",
            defaults={"sm_config": {}},
            is_async=True,
        ),
        M(
            "make",
            "host=ref:host device_config=map(string,string) physical_size=int name_label=string name_description=string type=string content_type=string sm_config=map(string,string)",
            "string",
            "published@rio deprecated@miami",
            "pool-operator",
            defaults={"sm_config": {}},
            is_async=True,
        ),
        M("destroy", "sr=ref:SR", "", "published@rio", "pool-operator", errors=("SR_HAS_PBD",), is_async=True),
        M("forget", "sr=ref:SR", "", "published@rio", "pool-operator", errors=("SR_HAS_PBD",), is_async=True),
        M("update", "sr=ref:SR", "", "published@symc", "pool-operator", is_async=True),
        M("get_supported_types", "", "set(string)", "published@rio", "read-only"),
        M("scan", "sr=ref:SR", "", "published@rio", "vm-power-admin", is_async=True),
        M(
            "probe",
            "host=ref:host device_config=map(string,string) type=string sm_config=map(string,string)",
            "string",
            "published@miami",
            "pool-operator",
            defaults={"sm_config": {}},
            is_async=True,
        ),
        M(
            "probe_ext",
            "host=ref:host device_config=map(string,string) type=string sm_config=map(string,string)",
            "set(record:probe_result)",
            "prototyped@kolkata published@lima",
            "pool-operator",
            defaults={"sm_config": {}},
            is_async=True,
        ),
        M("set_shared", "sr=ref:SR value=bool", "", "published@rio", "pool-operator", is_async=True),
        M("set_name_label", "sr=ref:SR value=string", "", "published@rio", "pool-operator", is_async=True),
        M("set_name_description", "sr=ref:SR value=string", "", "published@rio", "pool-operator", is_async=True),
        M(
            "create_new_blob",
            "sr=ref:SR name=string mime_type=string public=bool",
            "ref:blob",
            "published@orlando",
            "pool-operator",
            defaults={"public": False},
            is_async=True,
        ),
        M("set_physical_size", "self=ref:SR value=int", "", "published@miami", "pool-operator"),
        M("set_virtual_allocation", "self=ref:SR value=int", "", "published@miami", "local-root-only", hidden=True),
        M("set_physical_utilisation", "self=ref:SR value=int", "", "published@miami", "local-root-only", hidden=True),
        M("assert_can_host_ha_statefile", "sr=ref:SR", "", "published@orlando", "pool-operator", is_async=True),
        M("assert_supports_database_replication", "sr=ref:SR", "", "published@boston", "pool-operator", is_async=True),
        M("enable_database_replication", "sr=ref:SR", "", "published@boston", "pool-operator", is_async=True),
        M("disable_database_replication", "sr=ref:SR", "", "published@boston", "pool-operator", is_async=True),
        M("get_data_sources", "sr=ref:SR", "set(record:data_source)", "published@dundee", "read-only"),
        M("record_data_source", "sr=ref:SR data_source=string", "", "published@dundee", "pool-operator"),
        M("query_data_source", "sr=ref:SR data_source=string", "float", "published@dundee", "read-only"),
        M("forget_data_source_archives", "sr=ref:SR data_source=string", "", "published@dundee", "pool-operator"),
        M(
            "get_live_hosts",
            "sr=ref:SR",
            "set(ref:host)",
            "published@stockholm",
            "pool-operator",
            is_async=True,
            hidden=True,
        ),
    ),
)
