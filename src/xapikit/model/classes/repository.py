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
"""Class ``Repository``."""

from xapikit.model.schema import ClassSpec, F, M, life

REPOSITORY = ClassSpec(
    "Repository",
    life("published@1.301.0"),
    declared_fields=(
        F("uuid", "string", "DynamicRO", "published@1.301.0"),
        F("name_label", "string", "RW", "published@rio", default="", write_role="pool-operator"),
        F("name_description", "string", "RW", "published@rio", default="", write_role="pool-operator"),
        F("binary_url", "string", "StaticRO", "published@1.301.0", default=""),
        F("source_url", "string", "StaticRO", "published@1.301.0", default=""),
        F("update", "bool", "StaticRO", "published@1.301.0", default=False),
        F("hash", "string", "DynamicRO", "published@1.301.0", default=""),
        F("up_to_date", "bool", "DynamicRO", "published@1.301.0 deprecated@23.18.0 removed@23.18.0", default=False),
        F("gpgkey_path", "string", "StaticRO", "prototyped@22.12.0", default=""),
        F("origin", "enum:origin", "StaticRO", "prototyped@24.23.0", default="remote"),
        F("certificate", "string", "StaticRO", "prototyped@25.7.0", default=""),
    ),
    declared_messages=(
        M(
            "introduce",
            "name_label=string name_description=string binary_url=string source_url=string update=bool gpgkey_path=string",
            "ref:Repository",
            "published@1.301.0",
            "pool-operator",
            defaults={"gpgkey_path": ""},
            is_async=True,
        ),
        M(
            "introduce_bundle",
            "name_label=string name_description=string",
            "ref:Repository",
            "prototyped@24.23.0",
            "pool-operator",
            is_async=True,
        ),
        M(
            "introduce_remote_pool",
            "name_label=string name_description=string binary_url=string certificate=string",
            "ref:Repository",
            "prototyped@25.7.0",
            "pool-operator",
            is_async=True,
        ),
        M("forget", "self=ref:Repository", "", "published@1.301.0", "pool-operator", is_async=True),
        M(
            "apply",
            "host=ref:host",
            "",
            "published@1.301.0",
            "pool-operator",
            is_async=True,
            pool_internal=True,
            hidden=True,
        ),
        M(
            "set_gpgkey_path",
            "self=ref:Repository value=string",
            "",
            "prototyped@22.12.0",
            "pool-operator",
            is_async=True,
        ),
        M(
            "apply_livepatch",
            "host=ref:host component=string base_build_id=string base_version=string base_release=string to_version=string to_release=string",
            "",
            "prototyped@22.20.0",
            "pool-operator",
            is_async=True,
            pool_internal=True,
            hidden=True,
        ),
    ),
)
