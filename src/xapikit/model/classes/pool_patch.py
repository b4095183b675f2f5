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
"""Class ``pool_patch``."""

from xapikit.model.schema import ClassSpec, F, M, life

POOL_PATCH = ClassSpec(
    "pool_patch",
    life("published@miami deprecated@ely"),
    declared_fields=(
        F("uuid", "string", "DynamicRO", "published@rio"),
        F("name_label", "string", "StaticRO", "published@rio", default=""),
        F("name_description", "string", "StaticRO", "published@rio", default=""),
        F("version", "string", "StaticRO", "published@miami", default=""),
        F("filename", "string", "DynamicRO", "published@miami", default="", internal_only=True),
        F("size", "int", "DynamicRO", "published@miami", default=0),
        F("pool_applied", "bool", "DynamicRO", "published@miami", default=False),
        F("host_patches", "set(ref:host_patch)", "DynamicRO", "published@miami"),
        F("after_apply_guidance", "set(enum:after_apply_guidance)", "DynamicRO", "published@miami", default=[]),
        F("pool_update", "ref:pool_update", "StaticRO", "published@ely", default="OpaqueRef:NULL"),
        F("other_config", "map(string,string)", "RW", "published@miami", default={}, write_role="pool-operator"),
    ),
    declared_messages=(
        M(
            "apply",
            "self=ref:pool_patch host=ref:host",
            "string",
            "published@miami deprecated@ely",
            "pool-operator",
            is_async=True,
        ),
        M("pool_apply", "self=ref:pool_patch", "", "published@miami deprecated@ely", "pool-operator", is_async=True),
        M(
            "precheck",
            "self=ref:pool_patch host=ref:host",
            "string",
            "published@miami deprecated@ely",
            "pool-operator",
            is_async=True,
        ),
        M("clean", "self=ref:pool_patch", "", "published@miami deprecated@ely", "pool-operator", is_async=True),
        M("pool_clean", "self=ref:pool_patch", "", "published@tampa deprecated@ely", "pool-operator", is_async=True),
        M("destroy", "self=ref:pool_patch", "", "published@miami deprecated@ely", "pool-operator", is_async=True),
        M(
            "clean_on_host",
            "self=ref:pool_patch host=ref:host",
            "",
            "published@tampa deprecated@ely",
            "pool-operator",
            is_async=True,
        ),
    ),
)
