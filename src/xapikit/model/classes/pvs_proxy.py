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
"""Class ``PVS_proxy``."""

from xapikit.model.schema import ClassSpec, F, M, life

PVS_PROXY = ClassSpec(
    "PVS_proxy",
    life("published@ely"),
    declared_fields=(
        F("uuid", "string", "DynamicRO", "published@ely"),
        F("site", "ref:PVS_site", "StaticRO", "published@ely", default="OpaqueRef:NULL"),
        F("VIF", "ref:VIF", "StaticRO", "published@ely", default="OpaqueRef:NULL"),
        F("currently_attached", "bool", "DynamicRO", "published@ely", default=False),
        F("status", "enum:pvs_proxy_status", "DynamicRO", "published@ely", default="stopped"),
    ),
    declared_messages=(
        M("create", "site=ref:PVS_site VIF=ref:VIF", "ref:PVS_proxy", "published@ely", "pool-operator", is_async=True),
        M("destroy", "self=ref:PVS_proxy", "", "published@ely", "pool-operator", is_async=True),
    ),
)
