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
"""Class ``Caller``."""

from xapikit.model.schema import ClassSpec, F, M, life

CALLER = ClassSpec(
    "Caller",
    life("prototyped@26.17.0"),
    declared_fields=(
        F("uuid", "string", "DynamicRO", "prototyped@26.17.0"),
        F("name_label", "string", "RW", "prototyped@26.17.0", default="", write_role="pool-admin"),
        F("name_description", "string", "RW", "prototyped@26.17.0", default="", write_role="pool-admin"),
        F("user_agent", "string", "StaticRO", "prototyped@26.17.0", default=""),
        F("client_ip", "string", "StaticRO", "prototyped@26.17.0", default=""),
        F("last_access", "datetime", "DynamicRO", "prototyped@26.17.0", default="19700101T00:00:00Z"),
        F("groups", "set(string)", "DynamicRO", "prototyped@26.17.0", default=[]),
        F("rate_limit", "ref:Rate_limit", "DynamicRO", "prototyped@26.17.0", default="OpaqueRef:NULL"),
        F("auto_registered", "bool", "DynamicRO", "prototyped@26.17.0", default=False),
    ),
    declared_messages=(
        M("add_group", "self=ref:Caller group=string", "", "prototyped@26.17.0", "pool-operator", is_async=True),
        M("remove_group", "self=ref:Caller group=string", "", "prototyped@26.17.0", "pool-operator", is_async=True),
        M("query_token_usage", "self=ref:Caller", "float", "prototyped@26.15.0", "pool-operator", is_async=True),
        M("query_call_count", "self=ref:Caller", "int", "prototyped@26.15.0", "pool-operator", is_async=True),
        M("query_group_token_usage", "group=string", "float", "prototyped@26.15.0", "pool-operator", is_async=True),
        M("query_group_call_count", "group=string", "int", "prototyped@26.15.0", "pool-operator", is_async=True),
        M("query_all_usage", "", "set(set(string))", "prototyped@26.17.0", "pool-operator", is_async=True),
        M("create", "args=record:Caller", "ref:Caller", "prototyped@26.17.0", "pool-admin", is_async=True),
        M("destroy", "self=ref:Caller", "", "prototyped@26.17.0", "pool-admin", is_async=True),
    ),
    ctor_dtor=True,
)
