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
"""Class ``VTPM``."""

from xapikit.model.schema import ClassSpec, F, M, life

VTPM = ClassSpec(
    "VTPM",
    life("prototyped@22.26.0"),
    declared_fields=(
        F("uuid", "string", "DynamicRO", "published@rio"),
        F("allowed_operations", "set(enum:vtpm_operations)", "DynamicRO", "published@rio", default=[], persist=False),
        F(
            "current_operations",
            "map(string,enum:vtpm_operations)",
            "DynamicRO",
            "published@rio",
            default={},
            persist=False,
        ),
        F("VM", "ref:VM", "StaticRO", "published@rio"),
        F("backend", "ref:VM", "DynamicRO", "published@rio", default="OpaqueRef:NULL"),
        F("persistence_backend", "enum:persistence_backend", "DynamicRO", "prototyped@22.26.0", default="xapi"),
        F("is_unique", "bool", "StaticRO", "prototyped@22.26.0", default=False),
        F("is_protected", "bool", "DynamicRO", "prototyped@22.26.0", default=False),
        F("contents", "ref:secret", "DynamicRO", "prototyped@22.26.0", internal_only=True),
    ),
    declared_messages=(
        M("create", "vM=ref:VM is_unique=bool", "ref:VTPM", "prototyped@22.26.0", "vm-admin", is_async=True),
        M("destroy", "self=ref:VTPM", "", "prototyped@22.26.0", "vm-admin", is_async=True),
        M(
            "get_contents",
            "self=ref:VTPM",
            "string",
            "prototyped@22.26.0",
            "local-root-only",
            is_async=True,
            hidden=True,
            secret=True,
        ),
        M(
            "set_contents",
            "self=ref:VTPM contents=string",
            "",
            "prototyped@22.26.0",
            "local-root-only",
            is_async=True,
            hidden=True,
            secret=True,
        ),
    ),
)
