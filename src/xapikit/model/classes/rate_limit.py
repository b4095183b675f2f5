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
"""Class ``Rate_limit``."""

from xapikit.model.schema import ClassSpec, F, M, life

RATE_LIMIT = ClassSpec(
    "Rate_limit",
    life("prototyped@26.17.0"),
    declared_fields=(
        F("uuid", "string", "DynamicRO", "prototyped@26.17.0"),
        F("name_label", "string", "RW", "prototyped@26.17.0", default="", write_role="pool-admin"),
        F("name_description", "string", "RW", "prototyped@26.17.0", default="", write_role="pool-admin"),
        F("callers", "set(ref:Caller)", "DynamicRO", "prototyped@26.17.0"),
        F("burst_size", "float", "StaticRO", "prototyped@26.17.0", default=0.0),
        F("fill_rate", "float", "StaticRO", "prototyped@26.17.0", default=0.0),
    ),
    declared_messages=(
        M("add_caller", "self=ref:Rate_limit caller=ref:Caller", "", "prototyped@26.17.0", "pool-admin", is_async=True),
        M(
            "remove_caller",
            "self=ref:Rate_limit caller=ref:Caller",
            "",
            "prototyped@26.17.0",
            "pool-admin",
            is_async=True,
        ),
        M("set_burst_size", "self=ref:Rate_limit value=float", "", "prototyped@26.17.0", "pool-admin", is_async=True),
        M("set_fill_rate", "self=ref:Rate_limit value=float", "", "prototyped@26.17.0", "pool-admin", is_async=True),
        M("create", "args=record:Rate_limit", "ref:Rate_limit", "prototyped@26.17.0", "pool-admin", is_async=True),
        M("destroy", "self=ref:Rate_limit", "", "prototyped@26.17.0", "pool-admin", is_async=True),
    ),
    ctor_dtor=True,
)
