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
"""Class ``SDN_controller``."""

from xapikit.model.schema import ClassSpec, F, M, life

SDN_CONTROLLER = ClassSpec(
    "SDN_controller",
    life("published@falcon"),
    declared_fields=(
        F("uuid", "string", "DynamicRO", "published@falcon"),
        F("protocol", "enum:sdn_controller_protocol", "StaticRO", "published@falcon", default="ssl"),
        F("address", "string", "StaticRO", "published@falcon", default=""),
        F("port", "int", "StaticRO", "published@falcon", default=0),
    ),
    declared_messages=(
        M(
            "introduce",
            "protocol=enum:sdn_controller_protocol address=string port=int",
            "ref:SDN_controller",
            "published@falcon",
            "pool-operator",
            defaults={"protocol": "ssl", "address": "", "port": 0},
            is_async=True,
        ),
        M("forget", "self=ref:SDN_controller", "", "published@falcon", "pool-operator", is_async=True),
    ),
)
