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
"""Class ``VMSS``."""

from xapikit.model.schema import ClassSpec, F, M, life

VMSS = ClassSpec(
    "VMSS",
    life("published@falcon"),
    declared_fields=(
        F("uuid", "string", "DynamicRO", "published@rio"),
        F("name_label", "string", "RW", "published@rio", default="", write_role="pool-operator"),
        F("name_description", "string", "RW", "published@rio", default="", write_role="pool-operator"),
        F("enabled", "bool", "RW", "published@rio", default=True, write_role="pool-operator"),
        F("type", "enum:vmss_type", "StaticRO", "published@rio"),
        F("retained_snapshots", "int", "StaticRO", "published@rio", default=7),
        F("frequency", "enum:vmss_frequency", "StaticRO", "published@rio"),
        F("schedule", "map(string,string)", "StaticRO", "published@rio", default={}),
        F("last_run_time", "datetime", "DynamicRO", "published@rio", default="19700101T00:00:00Z"),
        F("VMs", "set(ref:VM)", "DynamicRO", "published@rio"),
    ),
    declared_messages=(
        M("snapshot_now", "vmss=ref:VMSS", "string", "published@falcon", "pool-operator"),
        M("set_retained_snapshots", "self=ref:VMSS value=int", "", "published@falcon", "pool-operator"),
        M("set_frequency", "self=ref:VMSS value=enum:vmss_frequency", "", "published@falcon", "pool-operator"),
        M("set_schedule", "self=ref:VMSS value=map(string,string)", "", "published@falcon", "pool-operator"),
        M("add_to_schedule", "self=ref:VMSS key=string value=string", "", "published@falcon", "pool-operator"),
        M("remove_from_schedule", "self=ref:VMSS key=string", "", "published@falcon", "pool-operator"),
        M("set_last_run_time", "self=ref:VMSS value=datetime", "", "published@falcon", "local-root-only"),
        M("set_type", "self=ref:VMSS value=enum:vmss_type", "", "published@falcon", "pool-operator"),
        M("create", "args=record:VMSS", "ref:VMSS", "published@falcon", "pool-operator", is_async=True),
        M("destroy", "self=ref:VMSS", "", "published@falcon", "pool-operator", is_async=True),
    ),
    ctor_dtor=True,
)
