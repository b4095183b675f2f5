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
"""Class ``VLAN``."""

from xapikit.model.schema import ClassSpec, F, M, life

VLAN = ClassSpec(
    "VLAN",
    life("published@miami"),
    declared_fields=(
        F("uuid", "string", "DynamicRO", "published@rio"),
        F("tagged_PIF", "ref:PIF", "StaticRO", "published@miami", default="OpaqueRef:NULL"),
        F("untagged_PIF", "ref:PIF", "DynamicRO", "published@miami", default="OpaqueRef:NULL"),
        F("tag", "int", "StaticRO", "published@miami", default=-1),
        F("other_config", "map(string,string)", "RW", "published@miami", default={}, write_role="pool-operator"),
    ),
    declared_messages=(
        M(
            "pool_introduce",
            "tagged_PIF=ref:PIF untagged_PIF=ref:PIF tag=int other_config=map(string,string)",
            "ref:VLAN",
            "published@inverness",
            "pool-operator",
            is_async=True,
            hidden=True,
        ),
        M(
            "create",
            "tagged_PIF=ref:PIF tag=int network=ref:network",
            "ref:VLAN",
            "published@miami",
            "pool-operator",
            is_async=True,
        ),
        M("destroy", "self=ref:VLAN", "", "published@miami", "pool-operator", is_async=True),
    ),
)
