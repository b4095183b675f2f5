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
"""Class ``host_crashdump``."""

from xapikit.model.schema import ClassSpec, F, M, life

HOST_CRASHDUMP = ClassSpec(
    "host_crashdump",
    life("published@rio"),
    declared_fields=(
        F("uuid", "string", "DynamicRO", "published@rio"),
        F("host", "ref:host", "StaticRO", "published@rio"),
        F("timestamp", "datetime", "DynamicRO", "published@rio"),
        F("size", "int", "DynamicRO", "published@rio"),
        F("filename", "string", "StaticRO", "published@rio", internal_only=True),
        F("other_config", "map(string,string)", "RW", "published@miami", default={}, write_role="pool-operator"),
    ),
    declared_messages=(
        M("destroy", "self=ref:host_crashdump", "", "published@rio", "pool-operator", is_async=True),
        M(
            "upload",
            "self=ref:host_crashdump url=string options=map(string,string)",
            "",
            "published@rio",
            "pool-operator",
            is_async=True,
        ),
    ),
)
