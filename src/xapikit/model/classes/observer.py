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
"""Class ``Observer``."""

from xapikit.model.schema import ClassSpec, F, M, life

OBSERVER = ClassSpec(
    "Observer",
    life("prototyped@23.14.0"),
    declared_fields=(
        F("uuid", "string", "DynamicRO", "prototyped@23.14.0"),
        F("name_label", "string", "RW", "published@rio", default="", write_role="pool-admin"),
        F("name_description", "string", "RW", "published@rio", default="", write_role="pool-admin"),
        F("hosts", "set(ref:host)", "StaticRO", "prototyped@23.14.0", default=[]),
        F("attributes", "map(string,string)", "StaticRO", "prototyped@23.14.0", default={}),
        F("endpoints", "set(string)", "StaticRO", "prototyped@23.14.0", default=[]),
        F("components", "set(string)", "StaticRO", "prototyped@23.14.0", default=[]),
        F("enabled", "bool", "StaticRO", "prototyped@23.14.0", default=False),
    ),
    declared_messages=(
        M(
            "register",
            "self=ref:Observer host=ref:host",
            "",
            "prototyped@23.14.0",
            "pool-admin",
            is_async=True,
            hidden=True,
        ),
        M(
            "unregister",
            "self=ref:Observer host=ref:host",
            "",
            "prototyped@23.14.0",
            "pool-admin",
            is_async=True,
            hidden=True,
        ),
        M("set_hosts", "self=ref:Observer value=set(ref:host)", "", "prototyped@23.14.0", "pool-admin", is_async=True),
        M("set_enabled", "self=ref:Observer value=bool", "", "prototyped@23.14.0", "pool-admin", is_async=True),
        M(
            "set_attributes",
            "self=ref:Observer value=map(string,string)",
            "",
            "prototyped@23.14.0",
            "pool-admin",
            is_async=True,
        ),
        M(
            "set_endpoints",
            "self=ref:Observer value=set(string)",
            "",
            "prototyped@23.14.0",
            "pool-admin",
            is_async=True,
        ),
        M(
            "set_components",
            "self=ref:Observer value=set(string)",
            "",
            "prototyped@23.14.0",
            "pool-admin",
            is_async=True,
        ),
        M("create", "args=record:Observer", "ref:Observer", "prototyped@23.14.0", "pool-admin", is_async=True),
        M("destroy", "self=ref:Observer", "", "prototyped@23.14.0", "pool-admin", is_async=True),
    ),
    ctor_dtor=True,
)
