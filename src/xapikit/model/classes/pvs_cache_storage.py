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
"""Class ``PVS_cache_storage``."""

from xapikit.model.schema import ClassSpec, F, M, life

PVS_CACHE_STORAGE = ClassSpec(
    "PVS_cache_storage",
    life("published@ely"),
    declared_fields=(
        F("uuid", "string", "DynamicRO", "published@ely"),
        F("host", "ref:host", "StaticRO", "published@ely", default="OpaqueRef:NULL"),
        F("SR", "ref:SR", "StaticRO", "published@ely", default="OpaqueRef:NULL"),
        F("site", "ref:PVS_site", "StaticRO", "published@ely", default="OpaqueRef:NULL"),
        F("size", "int", "StaticRO", "published@ely", default=21474836480),
        F("VDI", "ref:VDI", "DynamicRO", "published@ely", default="OpaqueRef:NULL"),
    ),
    declared_messages=(
        M(
            "create",
            "args=record:PVS_cache_storage",
            "ref:PVS_cache_storage",
            "published@ely",
            "pool-operator",
            is_async=True,
        ),
        M("destroy", "self=ref:PVS_cache_storage", "", "published@ely", "pool-operator", is_async=True),
    ),
    ctor_dtor=True,
)
