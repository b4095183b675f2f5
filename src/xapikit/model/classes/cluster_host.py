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
"""Class ``Cluster_host``."""

from xapikit.model.schema import ClassSpec, F, M, life

CLUSTER_HOST = ClassSpec(
    "Cluster_host",
    life("prototyped@kolkata published@lima"),
    declared_fields=(
        F("uuid", "string", "DynamicRO", "prototyped@kolkata published@lima"),
        F("cluster", "ref:Cluster", "StaticRO", "prototyped@kolkata published@lima", default="OpaqueRef:NULL"),
        F("host", "ref:host", "StaticRO", "prototyped@kolkata published@lima", default="OpaqueRef:NULL"),
        F("enabled", "bool", "DynamicRO", "prototyped@kolkata published@lima", default=False),
        F("PIF", "ref:PIF", "StaticRO", "prototyped@kolkata published@lima", default="OpaqueRef:NULL"),
        F("joined", "bool", "DynamicRO", "prototyped@kolkata published@lima", default=True),
        F("live", "bool", "DynamicRO", "prototyped@24.3.0", default=False),
        F("last_update_live", "datetime", "DynamicRO", "prototyped@24.3.0", default="19700101T00:00:00Z"),
        F(
            "allowed_operations",
            "set(enum:cluster_host_operation)",
            "DynamicRO",
            "published@rio",
            default=[],
            persist=False,
        ),
        F(
            "current_operations",
            "map(string,enum:cluster_host_operation)",
            "DynamicRO",
            "published@rio",
            default={},
            persist=False,
        ),
        F("other_config", "map(string,string)", "StaticRO", "prototyped@kolkata published@lima", default={}),
    ),
    declared_messages=(
        M(
            "create",
            "cluster=ref:Cluster host=ref:host pif=ref:PIF",
            "ref:Cluster_host",
            "prototyped@kolkata published@lima",
            "pool-operator",
            errors=("PIF_NOT_ATTACHED_TO_HOST", "NO_CLUSTER_HOSTS_REACHABLE"),
            is_async=True,
        ),
        M(
            "destroy",
            "self=ref:Cluster_host",
            "",
            "prototyped@kolkata published@lima",
            "pool-operator",
            errors=("CLUSTER_STACK_IN_USE", "CLUSTERING_DISABLED", "CLUSTER_HOST_IS_LAST"),
            is_async=True,
        ),
        M(
            "enable",
            "self=ref:Cluster_host",
            "",
            "prototyped@kolkata published@lima",
            "pool-operator",
            errors=("PIF_ALLOWS_UNPLUG", "REQUIRED_PIF_IS_UNPLUGGED"),
            is_async=True,
        ),
        M(
            "force_destroy",
            "self=ref:Cluster_host",
            "",
            "prototyped@kolkata published@lima",
            "pool-operator",
            errors=("CLUSTER_STACK_IN_USE",),
            is_async=True,
        ),
        M("forget", "self=ref:Cluster_host", "", "published@lima", "local-root-only", is_async=True, hidden=True),
        M(
            "disable",
            "self=ref:Cluster_host",
            "",
            "prototyped@kolkata published@lima",
            "pool-operator",
            errors=("CLUSTER_STACK_IN_USE",),
            is_async=True,
        ),
    ),
)
