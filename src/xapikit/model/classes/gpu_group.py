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
"""Class ``GPU_group``."""

from xapikit.model.schema import ClassSpec, F, M, life

GPU_GROUP = ClassSpec(
    "GPU_group",
    life("published@boston"),
    declared_fields=(
        F("uuid", "string", "DynamicRO", "published@boston"),
        F("name_label", "string", "RW", "published@boston", default="", write_role="pool-operator"),
        F("name_description", "string", "RW", "published@boston", default="", write_role="pool-operator"),
        F("PGPUs", "set(ref:PGPU)", "DynamicRO", "published@boston"),
        F("VGPUs", "set(ref:VGPU)", "DynamicRO", "published@boston"),
        F("GPU_types", "set(string)", "DynamicRO", "published@boston", default=[]),
        F("other_config", "map(string,string)", "RW", "published@boston", default={}, write_role="pool-operator"),
        F(
            "allocation_algorithm",
            "enum:allocation_algorithm",
            "RW",
            "published@vgpu-tech-preview",
            default="depth_first",
            write_role="pool-operator",
        ),
        F("supported_VGPU_types", "set(ref:VGPU_type)", "DynamicRO", "published@vgpu-productisation"),
        F("enabled_VGPU_types", "set(ref:VGPU_type)", "DynamicRO", "published@vgpu-productisation"),
    ),
    declared_messages=(
        M(
            "create",
            "name_label=string name_description=string other_config=map(string,string)",
            "ref:GPU_group",
            "published@boston",
            "pool-operator",
            defaults={"name_label": "", "name_description": "", "other_config": {}},
            is_async=True,
        ),
        M("destroy", "self=ref:GPU_group", "", "published@boston", "pool-operator", is_async=True),
        M(
            "update_enabled_VGPU_types",
            "self=ref:GPU_group",
            "",
            "published@vgpu-productisation",
            "pool-operator",
            is_async=True,
            hidden=True,
        ),
        M(
            "update_supported_VGPU_types",
            "self=ref:GPU_group",
            "",
            "published@vgpu-productisation",
            "pool-operator",
            is_async=True,
            hidden=True,
        ),
        M(
            "get_remaining_capacity",
            "self=ref:GPU_group vgpu_type=ref:VGPU_type",
            "int",
            "published@vgpu-tech-preview",
            "read-only",
            is_async=True,
        ),
    ),
)
