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
"""Class ``Bond``."""

from xapikit.model.schema import ClassSpec, F, M, life

BOND = ClassSpec(
    "Bond",
    life("published@miami"),
    declared_fields=(
        F("uuid", "string", "DynamicRO", "published@rio"),
        F("master", "ref:PIF", "StaticRO", "published@miami", default="OpaqueRef:NULL"),
        F("slaves", "set(ref:PIF)", "DynamicRO", "published@miami"),
        F("other_config", "map(string,string)", "RW", "published@miami", default={}, write_role="pool-operator"),
        F("primary_slave", "ref:PIF", "DynamicRO", "published@boston", default="OpaqueRef:NULL"),
        F("mode", "enum:bond_mode", "DynamicRO", "published@boston", default="balance-slb"),
        F("properties", "map(string,string)", "DynamicRO", "published@tampa", default={}),
        F("links_up", "int", "DynamicRO", "published@tampa", default=0),
        F("auto_update_mac", "bool", "DynamicRO", "published@quebec", default=True),
    ),
    declared_messages=(
        M(
            "create",
            "network=ref:network members=set(ref:PIF) MAC=string mode=enum:bond_mode properties=map(string,string)",
            "ref:Bond",
            "published@miami",
            "pool-operator",
            defaults={"mode": "balance-slb", "properties": {}},
            is_async=True,
        ),
        M("destroy", "self=ref:Bond", "", "published@miami", "pool-operator", is_async=True),
        M("set_mode", "self=ref:Bond value=enum:bond_mode", "", "published@boston", "pool-operator", is_async=True),
        M(
            "set_property",
            "self=ref:Bond name=string value=string",
            "",
            "published@tampa",
            "pool-operator",
            is_async=True,
        ),
    ),
)
