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
"""Class ``network_sriov``."""

from xapikit.model.schema import ClassSpec, F, M, life

NETWORK_SRIOV = ClassSpec(
    "network_sriov",
    life("published@kolkata"),
    declared_fields=(
        F("uuid", "string", "DynamicRO", "published@rio"),
        F("physical_PIF", "ref:PIF", "StaticRO", "published@kolkata", default="OpaqueRef:NULL"),
        F("logical_PIF", "ref:PIF", "StaticRO", "published@kolkata", default="OpaqueRef:NULL"),
        F("requires_reboot", "bool", "DynamicRO", "published@kolkata", default=False),
        F("configuration_mode", "enum:sriov_configuration_mode", "DynamicRO", "published@kolkata", default="unknown"),
    ),
    declared_messages=(
        M(
            "create",
            "pif=ref:PIF network=ref:network",
            "ref:network_sriov",
            "published@kolkata",
            "pool-operator",
            is_async=True,
        ),
        M("destroy", "self=ref:network_sriov", "", "published@kolkata", "pool-operator", is_async=True),
        M("get_remaining_capacity", "self=ref:network_sriov", "int", "published@kolkata", "read-only", is_async=True),
    ),
)
