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
"""Class ``VM_guest_metrics``."""

from xapikit.model.schema import ClassSpec, F, life

VM_GUEST_METRICS = ClassSpec(
    "VM_guest_metrics",
    life("published@rio"),
    declared_fields=(
        F("uuid", "string", "DynamicRO", "published@rio"),
        F("os_version", "map(string,string)", "DynamicRO", "published@rio"),
        F("netbios_name", "map(string,string)", "DynamicRO", "prototyped@24.28.0", default={}),
        F("PV_drivers_version", "map(string,string)", "DynamicRO", "published@rio"),
        F("PV_drivers_up_to_date", "bool", "DynamicRO", "published@rio deprecated@dundee"),
        F("memory", "map(string,string)", "DynamicRO", "published@rio deprecated@george removed@george", default={}),
        F("disks", "map(string,string)", "DynamicRO", "published@rio deprecated@orlando removed@orlando", default={}),
        F("networks", "map(string,string)", "DynamicRO", "published@rio"),
        F("other", "map(string,string)", "DynamicRO", "published@rio"),
        F("last_updated", "datetime", "DynamicRO", "published@rio"),
        F("other_config", "map(string,string)", "RW", "published@orlando", default={}, write_role="vm-admin"),
        F("live", "bool", "DynamicRO", "published@orlando", default=False),
        F("can_use_hotplug_vbd", "enum:tristate_type", "DynamicRO", "published@dundee", default="unspecified"),
        F("can_use_hotplug_vif", "enum:tristate_type", "DynamicRO", "published@dundee", default="unspecified"),
        F("PV_drivers_detected", "bool", "DynamicRO", "published@dundee", default=False),
        F("services", "map(string,string)", "DynamicRO", "prototyped@25.15.0", default={}),
    ),
)
