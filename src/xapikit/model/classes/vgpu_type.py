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
"""Class ``VGPU_type``."""

from xapikit.model.schema import ClassSpec, F, life

VGPU_TYPE = ClassSpec(
    "VGPU_type",
    life("published@vgpu-tech-preview"),
    declared_fields=(
        F("uuid", "string", "DynamicRO", "published@vgpu-tech-preview"),
        F("vendor_name", "string", "StaticRO", "published@vgpu-tech-preview", default=""),
        F("model_name", "string", "StaticRO", "published@vgpu-tech-preview", default=""),
        F("framebuffer_size", "int", "StaticRO", "published@vgpu-tech-preview", default=0),
        F("max_heads", "int", "StaticRO", "published@vgpu-tech-preview", default=0),
        F("max_resolution_x", "int", "StaticRO", "published@vgpu-productisation", default=0),
        F("max_resolution_y", "int", "StaticRO", "published@vgpu-productisation", default=0),
        F("size", "int", "StaticRO", "published@vgpu-tech-preview", default=0, internal_only=True),
        F("supported_on_PGPUs", "set(ref:PGPU)", "DynamicRO", "published@vgpu-tech-preview"),
        F("enabled_on_PGPUs", "set(ref:PGPU)", "DynamicRO", "published@vgpu-tech-preview"),
        F("VGPUs", "set(ref:VGPU)", "DynamicRO", "published@vgpu-tech-preview"),
        F(
            "internal_config",
            "map(string,string)",
            "StaticRO",
            "published@vgpu-tech-preview",
            default={},
            internal_only=True,
        ),
        F("supported_on_GPU_groups", "set(ref:GPU_group)", "DynamicRO", "published@vgpu-productisation"),
        F("enabled_on_GPU_groups", "set(ref:GPU_group)", "DynamicRO", "published@vgpu-productisation"),
        F("implementation", "enum:vgpu_type_implementation", "StaticRO", "published@dundee", default="passthrough"),
        F("identifier", "string", "StaticRO", "published@dundee", default=""),
        F("experimental", "bool", "StaticRO", "published@dundee", default=False),
        F("compatible_types_in_vm", "set(ref:VGPU_type)", "DynamicRO", "published@quebec", default=[]),
        F(
            "compatible_types_on_pgpu",
            "set(ref:VGPU_type)",
            "DynamicRO",
            "published@quebec",
            default=[],
            internal_only=True,
        ),
    ),
)
