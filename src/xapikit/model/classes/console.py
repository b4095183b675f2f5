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
"""Class ``console``."""

from xapikit.model.schema import ClassSpec, F, M, life

CONSOLE = ClassSpec(
    "console",
    life("published@rio"),
    declared_fields=(
        F("uuid", "string", "DynamicRO", "published@rio"),
        F("protocol", "enum:console_protocol", "DynamicRO", "published@rio"),
        F("location", "string", "DynamicRO", "published@rio"),
        F("VM", "ref:VM", "DynamicRO", "published@rio"),
        F("other_config", "map(string,string)", "RW", "published@rio", write_role="vm-admin"),
        F("port", "int", "RW", "published@rio", internal_only=True, write_role="vm-admin"),
    ),
    declared_messages=(
        M("create", "args=record:console", "ref:console", "published@rio", "vm-admin", is_async=True),
        M("destroy", "self=ref:console", "", "published@rio", "vm-admin", is_async=True),
    ),
    ctor_dtor=True,
)
