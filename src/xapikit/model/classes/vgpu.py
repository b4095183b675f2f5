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
"""Class ``VGPU``."""

from xapikit.model.schema import ClassSpec, F, M, life

VGPU = ClassSpec(
    "VGPU",
    life("published@boston"),
    declared_fields=(
        F("uuid", "string", "DynamicRO", "published@boston"),
        F("VM", "ref:VM", "DynamicRO", "published@boston"),
        F("GPU_group", "ref:GPU_group", "DynamicRO", "published@boston"),
        F("device", "string", "DynamicRO", "published@boston", default="0"),
        F("currently_attached", "bool", "DynamicRO", "published@boston", default=False),
        F("other_config", "map(string,string)", "RW", "published@boston", default={}, write_role="pool-operator"),
        F("type", "ref:VGPU_type", "DynamicRO", "published@vgpu-tech-preview", default="OpaqueRef:NULL"),
        F("resident_on", "ref:PGPU", "DynamicRO", "published@vgpu-tech-preview", default="OpaqueRef:NULL"),
        F("scheduled_to_be_resident_on", "ref:PGPU", "DynamicRO", "published@dundee", default="OpaqueRef:NULL"),
        F("compatibility_metadata", "map(string,string)", "DynamicRO", "published@inverness", default={}),
        F("extra_args", "string", "RW", "published@quebec", default="", write_role="pool-operator"),
        F("PCI", "ref:PCI", "DynamicRO", "published@quebec", default="OpaqueRef:NULL"),
    ),
    declared_messages=(
        M(
            "create",
            "VM=ref:VM GPU_group=ref:GPU_group device=string other_config=map(string,string) type=ref:VGPU_type",
            "ref:VGPU",
            "published@boston",
            "pool-operator",
            defaults={"device": "0", "other_config": {}, "type": "OpaqueRef:NULL"},
            is_async=True,
        ),
        M("destroy", "self=ref:VGPU", "", "published@boston", "pool-operator", is_async=True),
        M(
            "atomic_set_resident_on",
            "self=ref:VGPU value=ref:PGPU",
            "",
            "published@dundee",
            "local-root-only",
            is_async=True,
            pool_internal=True,
            hidden=True,
        ),
    ),
)
