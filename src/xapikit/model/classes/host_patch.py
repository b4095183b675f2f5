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
"""Class ``host_patch``."""

from xapikit.model.schema import ClassSpec, F, M, life

HOST_PATCH = ClassSpec(
    "host_patch",
    life("published@rio deprecated@ely"),
    declared_fields=(
        F("uuid", "string", "DynamicRO", "published@rio"),
        F("name_label", "string", "StaticRO", "published@rio", default=""),
        F("name_description", "string", "StaticRO", "published@rio", default=""),
        F("version", "string", "StaticRO", "published@rio"),
        F("host", "ref:host", "StaticRO", "published@rio"),
        F("filename", "string", "DynamicRO", "published@rio", internal_only=True),
        F("applied", "bool", "DynamicRO", "published@rio"),
        F("timestamp_applied", "datetime", "DynamicRO", "published@rio"),
        F("size", "int", "DynamicRO", "published@rio"),
        F("pool_patch", "ref:pool_patch", "StaticRO", "published@miami", default="OpaqueRef:NULL"),
        F("other_config", "map(string,string)", "RW", "published@miami", default={}, write_role="pool-operator"),
    ),
    declared_messages=(
        M("destroy", "self=ref:host_patch", "", "published@rio deprecated@miami", "pool-operator", is_async=True),
        M("apply", "self=ref:host_patch", "string", "published@rio deprecated@miami", "pool-operator", is_async=True),
    ),
)
