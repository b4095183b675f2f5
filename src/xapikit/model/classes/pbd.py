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
"""Class ``PBD``."""

from xapikit.model.schema import ClassSpec, F, M, life

PBD = ClassSpec(
    "PBD",
    life("published@rio"),
    declared_fields=(
        F("uuid", "string", "DynamicRO", "published@rio"),
        F("host", "ref:host", "StaticRO", "published@rio"),
        F("SR", "ref:SR", "StaticRO", "published@rio"),
        F("device_config", "map(string,string)", "StaticRO", "published@rio"),
        F("currently_attached", "bool", "DynamicRO", "published@rio"),
        F("other_config", "map(string,string)", "RW", "published@miami", default={}, write_role="pool-operator"),
    ),
    declared_messages=(
        M("plug", "self=ref:PBD", "", "published@rio", "pool-operator", errors=("SR_UNKNOWN_DRIVER",), is_async=True),
        M("unplug", "self=ref:PBD", "", "published@rio", "pool-operator", is_async=True),
        M(
            "set_device_config",
            "self=ref:PBD value=map(string,string)",
            "",
            "published@miami",
            "pool-operator",
            is_async=True,
        ),
        M("create", "args=record:PBD", "ref:PBD", "published@rio", "pool-operator", is_async=True),
        M("destroy", "self=ref:PBD", "", "published@rio", "pool-operator", is_async=True),
    ),
    ctor_dtor=True,
)
