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
"""Class ``sr_stat``."""

from xapikit.model.schema import ClassSpec, F, life

SR_STAT = ClassSpec(
    "sr_stat",
    life("published prototyped@kolkata published@lima extended@24.17.0"),
    declared_fields=(
        F("uuid", "option(string)", "DynamicRO", "published prototyped@kolkata published@lima extended@24.17.0"),
        F("name_label", "string", "DynamicRO", "published prototyped@kolkata published@lima extended@24.17.0"),
        F("name_description", "string", "DynamicRO", "published prototyped@kolkata published@lima extended@24.17.0"),
        F("free_space", "int", "DynamicRO", "published prototyped@kolkata published@lima extended@24.17.0"),
        F("total_space", "int", "DynamicRO", "published prototyped@kolkata published@lima extended@24.17.0"),
        F("clustered", "bool", "DynamicRO", "published prototyped@kolkata published@lima extended@24.17.0"),
        F("health", "enum:sr_health", "DynamicRO", "published prototyped@kolkata published@lima extended@24.17.0"),
    ),
    in_db=False,
    events=False,
    persist=False,
    get_all=False,
)
