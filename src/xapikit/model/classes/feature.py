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
"""Class ``Feature``."""

from xapikit.model.schema import ClassSpec, F, life

FEATURE = ClassSpec(
    "Feature",
    life("published@falcon"),
    declared_fields=(
        F("uuid", "string", "DynamicRO", "published@falcon"),
        F("name_label", "string", "StaticRO", "published@rio", default=""),
        F("name_description", "string", "StaticRO", "published@rio", default=""),
        F("enabled", "bool", "DynamicRO", "published@falcon", default=False),
        F("experimental", "bool", "StaticRO", "published@falcon", default=False),
        F("version", "string", "StaticRO", "published@falcon", default="1.0"),
        F("host", "ref:host", "DynamicRO", "published@falcon"),
    ),
)
