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
"""Class ``data_source``."""

from xapikit.model.schema import ClassSpec, F, life

DATA_SOURCE = ClassSpec(
    "data_source",
    life("published@orlando"),
    declared_fields=(
        F("name_label", "string", "DynamicRO", "published@rio", default=""),
        F("name_description", "string", "DynamicRO", "published@rio", default=""),
        F("enabled", "bool", "DynamicRO", "published@rio"),
        F("standard", "bool", "DynamicRO", "published@rio"),
        F("units", "string", "DynamicRO", "published@rio"),
        F("min", "float", "DynamicRO", "published@rio"),
        F("max", "float", "DynamicRO", "published@rio"),
        F("value", "float", "DynamicRO", "published@rio"),
    ),
    in_db=False,
    events=False,
    persist=False,
    get_all=False,
)
