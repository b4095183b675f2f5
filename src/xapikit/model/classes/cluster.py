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
"""Class ``Cluster``."""

from xapikit.model.schema import ClassSpec, F, M, life

CLUSTER = ClassSpec(
    "Cluster",
    life("prototyped@kolkata published@lima"),
    declared_fields=(
        F("uuid", "string", "DynamicRO", "prototyped@kolkata published@lima"),
        F("cluster_hosts", "set(ref:Cluster_host)", "DynamicRO", "prototyped@kolkata published@lima"),
        F("pending_forget", "set(string)", "DynamicRO", "published@lima", default=[]),
        F("cluster_token", "string", "StaticRO", "prototyped@kolkata published@lima", default=""),
        F("cluster_stack", "string", "StaticRO", "prototyped@kolkata published@lima", default="corosync"),
        F("cluster_stack_version", "int", "StaticRO", "prototyped@24.15.0", default=2),
        F("is_quorate", "bool", "DynamicRO", "prototyped@24.3.0", default=False),
        F("quorum", "int", "DynamicRO", "prototyped@24.3.0", default=0),
        F("live_hosts", "int", "DynamicRO", "prototyped@24.3.0", default=0),
        F("expected_hosts", "int", "DynamicRO", "prototyped@25.17.0", default=0),
        F("allowed_operations", "set(enum:cluster_operation)", "DynamicRO", "published@rio", default=[], persist=False),
        F(
            "current_operations",
            "map(string,enum:cluster_operation)",
            "DynamicRO",
            "published@rio",
            default={},
            persist=False,
        ),
        F("pool_auto_join", "bool", "StaticRO", "prototyped@kolkata published@lima", default=True),
        F("token_timeout", "float", "StaticRO", "prototyped@kolkata changed@lima published@lima", default=20.0),
        F(
            "token_timeout_coefficient",
            "float",
            "StaticRO",
            "prototyped@kolkata changed@lima published@lima",
            default=1.0,
        ),
        F("cluster_config", "map(string,string)", "StaticRO", "prototyped@kolkata published@lima", default={}),
        F(
            "other_config",
            "map(string,string)",
            "RW",
            "prototyped@kolkata published@lima",
            default={},
            write_role="pool-operator",
        ),
    ),
    declared_messages=(
        M(
            "create",
            "PIF=ref:PIF cluster_stack=string pool_auto_join=bool token_timeout=float token_timeout_coefficient=float",
            "ref:Cluster",
            "prototyped@kolkata published@lima",
            "pool-operator",
            defaults={"token_timeout": 20.0, "token_timeout_coefficient": 1.0},
            errors=("INVALID_CLUSTER_STACK", "INVALID_VALUE", "PIF_ALLOWS_UNPLUG", "REQUIRED_PIF_IS_UNPLUGGED"),
            is_async=True,
        ),
        M(
            "destroy",
            "self=ref:Cluster",
            "",
            "prototyped@kolkata published@lima",
            "pool-operator",
            errors=("CLUSTER_DOES_NOT_HAVE_ONE_NODE", "CLUSTER_STACK_IN_USE"),
            is_async=True,
        ),
        M(
            "get_network",
            "self=ref:Cluster",
            "ref:network",
            "prototyped@kolkata published@lima",
            "read-only",
            is_async=True,
        ),
        M(
            "pool_create",
            "network=ref:network cluster_stack=string token_timeout=float token_timeout_coefficient=float",
            "ref:Cluster",
            "prototyped@kolkata published@lima",
            "pool-operator",
            defaults={"token_timeout": 20.0, "token_timeout_coefficient": 1.0},
            is_async=True,
        ),
        M(
            "pool_force_destroy",
            "self=ref:Cluster",
            "",
            "prototyped@kolkata published@lima",
            "pool-operator",
            errors=("CLUSTER_FORCE_DESTROY_FAILED",),
            is_async=True,
        ),
        M(
            "pool_destroy",
            "self=ref:Cluster",
            "",
            "prototyped@kolkata published@lima",
            "pool-operator",
            errors=("CLUSTER_STACK_IN_USE", "CLUSTERING_DISABLED", "CLUSTER_HOST_IS_LAST"),
            is_async=True,
        ),
        M("pool_resync", "self=ref:Cluster", "", "prototyped@kolkata published@lima", "pool-operator", is_async=True),
        M(
            "cstack_sync",
            "self=ref:Cluster",
            "",
            "prototyped@kolkata published@lima",
            "pool-operator",
            is_async=True,
            pool_internal=True,
            hidden=True,
        ),
    ),
)
