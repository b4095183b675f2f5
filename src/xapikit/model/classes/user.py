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
"""Class ``user``."""

from xapikit.model.schema import ClassSpec, F, M, life

USER = ClassSpec(
    "user",
    life("published@rio deprecated@george"),
    declared_fields=(
        F("uuid", "string", "DynamicRO", "published@rio"),
        F("short_name", "string", "StaticRO", "published@rio"),
        F("fullname", "string", "RW", "published@rio", write_role="pool-admin"),
        F("other_config", "map(string,string)", "RW", "published@orlando", default={}, write_role="pool-admin"),
    ),
    declared_messages=(
        M("create", "args=record:user", "ref:user", "published@rio deprecated@george", "pool-admin", is_async=True),
        M("destroy", "self=ref:user", "", "published@rio deprecated@george", "pool-admin", is_async=True),
    ),
    events=False,
    ctor_dtor=True,
    get_all=False,
)
