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
"""Class ``PGPU``."""

from xapikit.model.schema import ClassSpec, F, M, life

PGPU = ClassSpec(
    "PGPU",
    life("published@boston"),
    declared_fields=(
        F("uuid", "string", "DynamicRO", "published@boston"),
        F("PCI", "ref:PCI", "StaticRO", "published@boston", default="OpaqueRef:NULL"),
        F("GPU_group", "ref:GPU_group", "StaticRO", "published@boston", default="OpaqueRef:NULL"),
        F("host", "ref:host", "DynamicRO", "published@boston", default="OpaqueRef:NULL"),
        F("other_config", "map(string,string)", "RW", "published@boston", default={}, write_role="pool-operator"),
        F("supported_VGPU_types", "set(ref:VGPU_type)", "DynamicRO", "published@vgpu-tech-preview"),
        F("enabled_VGPU_types", "set(ref:VGPU_type)", "DynamicRO", "published@vgpu-tech-preview"),
        F("resident_VGPUs", "set(ref:VGPU)", "DynamicRO", "published@vgpu-tech-preview"),
        F("size", "int", "StaticRO", "published@vgpu-tech-preview", default=1048576, internal_only=True),
        F(
            "supported_VGPU_max_capacities",
            "map(ref:VGPU_type,int)",
            "DynamicRO",
            "published@vgpu-productisation",
            default={},
        ),
        F("dom0_access", "enum:pci_dom0_access", "DynamicRO", "published@cream deprecated@24.14.0", default="enabled"),
        F("is_system_display_device", "bool", "DynamicRO", "published@cream", default=False),
        F("compatibility_metadata", "map(string,string)", "DynamicRO", "published@inverness", default={}),
    ),
    declared_messages=(
        M(
            "add_enabled_VGPU_types",
            "self=ref:PGPU value=ref:VGPU_type",
            "",
            "published@vgpu-tech-preview",
            "pool-operator",
            is_async=True,
        ),
        M(
            "remove_enabled_VGPU_types",
            "self=ref:PGPU value=ref:VGPU_type",
            "",
            "published@vgpu-tech-preview",
            "pool-operator",
            is_async=True,
        ),
        M(
            "set_enabled_VGPU_types",
            "self=ref:PGPU value=set(ref:VGPU_type)",
            "",
            "published@vgpu-tech-preview",
            "pool-operator",
            is_async=True,
        ),
        M(
            "set_GPU_group",
            "self=ref:PGPU value=ref:GPU_group",
            "",
            "published@vgpu-tech-preview",
            "pool-operator",
            is_async=True,
        ),
        M(
            "get_remaining_capacity",
            "self=ref:PGPU vgpu_type=ref:VGPU_type",
            "int",
            "published@vgpu-tech-preview",
            "read-only",
            is_async=True,
        ),
        M(
            "enable_dom0_access",
            "self=ref:PGPU",
            "enum:pci_dom0_access",
            "published@cream deprecated@24.14.0",
            "pool-operator",
            is_async=True,
        ),
        M(
            "disable_dom0_access",
            "self=ref:PGPU",
            "enum:pci_dom0_access",
            "published@cream deprecated@24.14.0",
            "pool-operator",
            is_async=True,
        ),
    ),
)
