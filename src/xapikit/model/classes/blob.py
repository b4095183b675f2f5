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
"""Class ``blob``."""

from xapikit.model.schema import ClassSpec, F, M, life

BLOB = ClassSpec(
    "blob",
    life("published@orlando"),
    declared_fields=(
        F("uuid", "string", "DynamicRO", "published@rio"),
        F("name_label", "string", "RW", "published@rio", default="", write_role="pool-operator"),
        F("name_description", "string", "RW", "published@rio", default="", write_role="pool-operator"),
        F("size", "int", "DynamicRO", "published@rio"),
        F("public", "bool", "RW", "published@tampa", default=False, write_role="pool-operator"),
        F("last_updated", "datetime", "StaticRO", "published@rio"),
        F("mime_type", "string", "StaticRO", "published@rio"),
    ),
    declared_messages=(
        M(
            "create",
            "mime_type=string public=bool",
            "ref:blob",
            "published@orlando",
            "pool-operator",
            defaults={"public": False},
        ),
        M("destroy", "self=ref:blob", "", "published@orlando", "pool-operator"),
    ),
)
