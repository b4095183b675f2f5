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
"""Class ``role``."""

from xapikit.model.schema import ClassSpec, F, M, life

ROLE = ClassSpec(
    "role",
    life("published@midnight-ride"),
    declared_fields=(
        F("uuid", "string", "DynamicRO", "published@rio"),
        F("name_label", "string", "StaticRO", "published@midnight-ride", default=""),
        F("name_description", "string", "StaticRO", "published@midnight-ride", default=""),
        F("subroles", "set(ref:role)", "StaticRO", "published@midnight-ride", default=[]),
        F("is_internal", "bool", "DynamicRO", "published@22.5.0", default=False),
    ),
    declared_messages=(
        M("get_permissions", "self=ref:role", "set(ref:role)", "published@midnight-ride", "read-only"),
        M("get_permissions_name_label", "self=ref:role", "set(string)", "published@midnight-ride", "read-only"),
        M("get_by_permission", "permission=ref:role", "set(ref:role)", "published@midnight-ride", "read-only"),
        M("get_by_permission_name_label", "label=string", "set(ref:role)", "published@midnight-ride", "read-only"),
    ),
)
