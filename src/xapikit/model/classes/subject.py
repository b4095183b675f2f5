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
"""Class ``subject``."""

from xapikit.model.schema import ClassSpec, F, M, life

SUBJECT = ClassSpec(
    "subject",
    life("published@george"),
    declared_fields=(
        F("uuid", "string", "DynamicRO", "published@rio"),
        F("subject_identifier", "string", "StaticRO", "published@george", default=""),
        F("other_config", "map(string,string)", "StaticRO", "published@george", default={}),
        F(
            "roles",
            "set(ref:role)",
            "DynamicRO",
            "published@midnight-ride",
            default=["OpaqueRef:0165f154-ba3e-034e-6b27-5d271af109ba"],
        ),
    ),
    declared_messages=(
        M("add_to_roles", "self=ref:subject role=ref:role", "", "published@midnight-ride", "pool-admin"),
        M("remove_from_roles", "self=ref:subject role=ref:role", "", "published@midnight-ride", "pool-admin"),
        M("get_permissions_name_label", "self=ref:subject", "set(string)", "published@midnight-ride", "read-only"),
        M("create", "args=record:subject", "ref:subject", "published@george", "pool-admin", is_async=True),
        M("destroy", "self=ref:subject", "", "published@george", "pool-admin", is_async=True),
    ),
    ctor_dtor=True,
)
