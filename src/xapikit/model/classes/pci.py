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
"""Class ``PCI``."""

from xapikit.model.schema import ClassSpec, F, M, life

PCI = ClassSpec(
    "PCI",
    life("published@boston"),
    declared_fields=(
        F("uuid", "string", "DynamicRO", "published@boston"),
        F("class_id", "string", "StaticRO", "published@boston", default=""),
        F("class_name", "string", "StaticRO", "published@boston", default=""),
        F("vendor_id", "string", "StaticRO", "published@boston", default=""),
        F("vendor_name", "string", "StaticRO", "published@boston", default=""),
        F("device_id", "string", "StaticRO", "published@boston", default=""),
        F("device_name", "string", "StaticRO", "published@boston", default=""),
        F("host", "ref:host", "StaticRO", "published@boston", default="OpaqueRef:NULL"),
        F("pci_id", "string", "StaticRO", "published@boston", default=""),
        F("functions", "int", "DynamicRO", "published@boston", default=1, internal_only=True),
        F("virtual_functions", "set(ref:PCI)", "DynamicRO", "published@falcon", internal_only=True),
        F("physical_function", "ref:PCI", "StaticRO", "published@falcon", default="OpaqueRef:NULL", internal_only=True),
        F("attached_VMs", "set(ref:VM)", "DynamicRO", "published@boston", internal_only=True),
        F("dependencies", "set(ref:PCI)", "DynamicRO", "published@boston"),
        F("other_config", "map(string,string)", "RW", "published@boston", default={}, write_role="pool-operator"),
        F("subsystem_vendor_id", "string", "StaticRO", "published@clearwater-whetstone", default=""),
        F("subsystem_vendor_name", "string", "StaticRO", "published@clearwater-whetstone", default=""),
        F("subsystem_device_id", "string", "StaticRO", "published@clearwater-whetstone", default=""),
        F("subsystem_device_name", "string", "StaticRO", "published@clearwater-whetstone", default=""),
        F(
            "scheduled_to_be_attached_to",
            "ref:VM",
            "DynamicRO",
            "published@falcon",
            default="OpaqueRef:NULL",
            internal_only=True,
        ),
        F("driver_name", "string", "StaticRO", "published@kolkata", default=""),
    ),
    declared_messages=(
        M(
            "disable_dom0_access",
            "self=ref:PCI",
            "enum:pci_dom0_access",
            "prototyped@24.14.0",
            "pool-operator",
            is_async=True,
        ),
        M(
            "enable_dom0_access",
            "self=ref:PCI",
            "enum:pci_dom0_access",
            "prototyped@24.14.0",
            "pool-operator",
            is_async=True,
        ),
        M(
            "get_dom0_access_status",
            "self=ref:PCI",
            "enum:pci_dom0_access",
            "prototyped@24.14.0",
            "pool-operator",
            is_async=True,
        ),
    ),
)
