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
"""Class ``VM_group``."""

from xapikit.model.schema import ClassSpec, F, M, life

VM_GROUP = ClassSpec(
    "VM_group",
    life("prototyped@24.19.1"),
    declared_fields=(
        F("uuid", "string", "DynamicRO", "published@rio"),
        F("name_label", "string", "RW", "published@rio", default="", write_role="vm-admin"),
        F("name_description", "string", "RW", "published@rio", default="", write_role="vm-admin"),
        F("placement", "enum:placement_policy", "StaticRO", "prototyped@24.19.1", default="normal"),
        F("VMs", "set(ref:VM)", "DynamicRO", "prototyped@24.19.1"),
    ),
    declared_messages=(
        M("create", "args=record:VM_group", "ref:VM_group", "prototyped@24.19.1", "vm-admin", is_async=True),
        M("destroy", "self=ref:VM_group", "", "prototyped@24.19.1", "vm-admin", is_async=True),
    ),
    ctor_dtor=True,
)
