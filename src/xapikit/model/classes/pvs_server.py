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
"""Class ``PVS_server``."""

from xapikit.model.schema import ClassSpec, F, M, life

PVS_SERVER = ClassSpec(
    "PVS_server",
    life("published@ely"),
    declared_fields=(
        F("uuid", "string", "DynamicRO", "published@ely"),
        F("addresses", "set(string)", "StaticRO", "published@ely", default=[]),
        F("first_port", "int", "StaticRO", "published@ely", default=0),
        F("last_port", "int", "StaticRO", "published@ely", default=0),
        F("site", "ref:PVS_site", "StaticRO", "published@ely", default="OpaqueRef:NULL"),
    ),
    declared_messages=(
        M(
            "introduce",
            "addresses=set(string) first_port=int last_port=int site=ref:PVS_site",
            "ref:PVS_server",
            "published@ely",
            "pool-operator",
            is_async=True,
        ),
        M("forget", "self=ref:PVS_server", "", "published@ely", "pool-operator", is_async=True),
    ),
)
