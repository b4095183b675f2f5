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
"""Class ``tunnel``."""

from xapikit.model.schema import ClassSpec, F, M, life

TUNNEL = ClassSpec(
    "tunnel",
    life("published@cowley"),
    declared_fields=(
        F("uuid", "string", "DynamicRO", "published@cowley"),
        F("access_PIF", "ref:PIF", "StaticRO", "published@cowley", default="OpaqueRef:NULL"),
        F("transport_PIF", "ref:PIF", "StaticRO", "published@cowley", default="OpaqueRef:NULL"),
        F(
            "status",
            "map(string,string)",
            "RW",
            "published@cowley",
            default={"active": "false"},
            write_role="pool-operator",
        ),
        F("other_config", "map(string,string)", "RW", "published@cowley", default={}, write_role="pool-operator"),
        F("protocol", "enum:tunnel_protocol", "RW", "published@1.250.0", default="gre", write_role="pool-operator"),
    ),
    declared_messages=(
        M(
            "create",
            "transport_PIF=ref:PIF network=ref:network protocol=enum:tunnel_protocol",
            "ref:tunnel",
            "published@cowley",
            "pool-operator",
            defaults={"protocol": "gre"},
            errors=("OPENVSWITCH_NOT_ACTIVE", "TRANSPORT_PIF_NOT_CONFIGURED", "IS_TUNNEL_ACCESS_PIF"),
            is_async=True,
        ),
        M("destroy", "self=ref:tunnel", "", "published@cowley", "pool-operator", is_async=True),
    ),
)
