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
"""Class ``VBD``."""

from xapikit.model.schema import ClassSpec, F, M, life

VBD = ClassSpec(
    "VBD",
    life("published@rio"),
    declared_fields=(
        F("uuid", "string", "DynamicRO", "published@rio"),
        F("allowed_operations", "set(enum:vbd_operations)", "DynamicRO", "published@rio", default=[], persist=False),
        F(
            "current_operations",
            "map(string,enum:vbd_operations)",
            "DynamicRO",
            "published@rio",
            default={},
            persist=False,
        ),
        F("VM", "ref:VM", "StaticRO", "published@rio"),
        F("VDI", "ref:VDI", "StaticRO", "published@rio"),
        F("device", "string", "StaticRO", "published published@rio changed@1.257.0", default=""),
        F("userdevice", "string", "RW", "published@rio", write_role="vm-admin"),
        F("bootable", "bool", "RW", "published@rio", write_role="vm-admin"),
        F("mode", "enum:vbd_mode", "StaticRO", "published@rio"),
        F("type", "enum:vbd_type", "RW", "published@rio", write_role="vm-admin"),
        F("unpluggable", "bool", "RW", "published@miami", default=True, write_role="vm-admin"),
        F("storage_lock", "bool", "DynamicRO", "published@rio"),
        F("empty", "bool", "StaticRO", "published@rio"),
        F("reserved", "bool", "DynamicRO", "published@rio", default=False, internal_only=True),
        F("other_config", "map(string,string)", "RW", "published@rio", write_role="vm-admin"),
        F("currently_attached", "bool", "StaticRO", "published published@rio changed@1.257.0", default=False),
        F("status_code", "int", "DynamicRO", "published@rio"),
        F("status_detail", "string", "DynamicRO", "published@rio"),
        F("runtime_properties", "map(string,string)", "DynamicRO", "published@rio"),
        F("qos_algorithm_type", "string", "RW", "published@rio", write_role="vm-admin"),
        F("qos_algorithm_params", "map(string,string)", "RW", "published@rio", write_role="vm-admin"),
        F("qos_supported_algorithms", "set(string)", "DynamicRO", "published@rio"),
        F(
            "metrics",
            "ref:VBD_metrics",
            "DynamicRO",
            "published@rio deprecated@tampa removed@tampa",
            default="OpaqueRef:NULL",
        ),
    ),
    declared_messages=(
        M(
            "eject",
            "vbd=ref:VBD",
            "",
            "published@rio",
            "vm-operator",
            errors=("VBD_NOT_REMOVABLE_MEDIA", "VBD_IS_EMPTY"),
            is_async=True,
        ),
        M(
            "insert",
            "vbd=ref:VBD vdi=ref:VDI",
            "",
            "published@rio",
            "vm-operator",
            errors=("VBD_NOT_REMOVABLE_MEDIA", "VBD_NOT_EMPTY"),
            is_async=True,
        ),
        M("plug", "self=ref:VBD", "", "published@rio", "vm-admin", is_async=True),
        M(
            "unplug",
            "self=ref:VBD",
            "",
            "published@rio",
            "vm-admin",
            errors=("DEVICE_DETACH_REJECTED", "DEVICE_ALREADY_DETACHED"),
            is_async=True,
        ),
        M("unplug_force", "self=ref:VBD", "", "published@rio", "vm-admin", is_async=True),
        M(
            "unplug_force_no_safety_check",
            "self=ref:VBD",
            "",
            "published@symc deprecated@ely",
            "vm-admin",
            is_async=True,
            hidden=True,
        ),
        M("assert_attachable", "self=ref:VBD", "", "published@rio", "vm-admin", is_async=True),
        M("pause", "self=ref:VBD", "string", "published@symc", "vm-admin", is_async=True, hidden=True),
        M(
            "unpause",
            "self=ref:VBD token=string",
            "",
            "published@symc",
            "vm-admin",
            defaults={"token": ""},
            is_async=True,
            hidden=True,
        ),
        M("set_mode", "self=ref:VBD value=enum:vbd_mode", "", "published@rio", "vm-admin", is_async=True),
        M("create", "args=record:VBD", "ref:VBD", "published@rio", "vm-admin", is_async=True),
        M("destroy", "self=ref:VBD", "", "published@rio", "vm-admin", is_async=True),
    ),
    ctor_dtor=True,
)
