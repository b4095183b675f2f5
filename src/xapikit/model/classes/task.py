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
"""Class ``task``."""

from xapikit.model.schema import ClassSpec, F, M, life

TASK = ClassSpec(
    "task",
    life("published@rio"),
    declared_fields=(
        F("uuid", "string", "DynamicRO", "published@rio"),
        F("name_label", "string", "DynamicRO", "published@rio", default=""),
        F("name_description", "string", "DynamicRO", "published@rio", default=""),
        F(
            "allowed_operations",
            "set(enum:task_allowed_operations)",
            "DynamicRO",
            "published@rio",
            default=[],
            persist=False,
        ),
        F(
            "current_operations",
            "map(string,enum:task_allowed_operations)",
            "DynamicRO",
            "published@rio",
            default={},
            persist=False,
        ),
        F("created", "datetime", "DynamicRO", "published@rio"),
        F("finished", "datetime", "DynamicRO", "published@rio"),
        F("status", "enum:task_status_type", "DynamicRO", "published@rio"),
        F("session", "ref:session", "DynamicRO", "published@rio", internal_only=True),
        F("resident_on", "ref:host", "DynamicRO", "published@rio"),
        F("progress", "float", "DynamicRO", "published@rio"),
        F("externalpid", "int", "DynamicRO", "published@rio", internal_only=True),
        F("stunnelpid", "int", "DynamicRO", "published@rio deprecated@boston", internal_only=True),
        F("forwarded", "bool", "DynamicRO", "published@rio", internal_only=True),
        F("forwarded_to", "ref:host", "DynamicRO", "published@rio", internal_only=True),
        F("type", "string", "DynamicRO", "published@rio"),
        F("result", "string", "DynamicRO", "published@rio"),
        F("error_info", "set(string)", "DynamicRO", "published@rio"),
        F(
            "other_config",
            "map(string,string)",
            "DynamicRO",
            "published@miami",
            default={},
            key_roles={
                "applies_to": "vm-operator",
                "XenCenterUUID": "vm-operator",
                "XenCenterMeddlingActionTitle": "vm-operator",
            },
        ),
        F("subtask_of", "ref:task", "DynamicRO", "published@orlando", default="OpaqueRef:NULL"),
        F("subtasks", "set(ref:task)", "DynamicRO", "published@orlando"),
        F("backtrace", "string", "DynamicRO", "published@dundee", default="()"),
    ),
    declared_messages=(
        M("create", "label=string description=string", "ref:task", "published@rio", "read-only"),
        M("destroy", "self=ref:task", "", "published@rio", "read-only"),
        M(
            "cancel",
            "task=ref:task",
            "",
            "published@rio",
            "read-only",
            errors=("OPERATION_NOT_ALLOWED",),
            is_async=True,
        ),
        M("set_status", "self=ref:task value=enum:task_status_type", "", "published@falcon", "read-only"),
        M("set_progress", "self=ref:task value=float", "", "published@stockholm", "read-only"),
        M("set_result", "self=ref:task value=string", "", "published@21.3.0", "read-only"),
        M("set_error_info", "self=ref:task value=set(string)", "", "published@21.3.0", "read-only"),
        M(
            "add_to_other_config",
            "self=ref:task key=string value=string",
            "",
            "prototyped@25.8.0",
            "read-only",
            is_async=True,
            key_roles={
                "applies_to": "vm-operator",
                "XenCenterUUID": "vm-operator",
                "XenCenterMeddlingActionTitle": "vm-operator",
            },
        ),
        M(
            "remove_from_other_config",
            "self=ref:task key=string",
            "",
            "prototyped@25.8.0",
            "read-only",
            is_async=True,
            key_roles={
                "applies_to": "vm-operator",
                "XenCenterUUID": "vm-operator",
                "XenCenterMeddlingActionTitle": "vm-operator",
            },
        ),
        M(
            "set_other_config",
            "self=ref:task value=map(string,string)",
            "",
            "prototyped@25.8.0",
            "read-only",
            is_async=True,
        ),
    ),
    persist=False,
)
