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
"""Class ``secret``."""

from xapikit.model.schema import ClassSpec, F, M, life

SECRET = ClassSpec(
    "secret",
    life("published@midnight-ride"),
    declared_fields=(
        F("uuid", "string", "DynamicRO", "published@rio", read_role="pool-operator"),
        F("value", "string", "RW", "published@rio", read_role="pool-operator", write_role="pool-operator"),
        F("other_config", "map(string,string)", "RW", "published@rio", default={}, write_role="pool-operator"),
    ),
    declared_messages=(
        M(
            "introduce",
            "uuid=string value=string other_config=map(string,string)",
            "ref:secret",
            "published@midnight-ride",
            "pool-operator",
            defaults={"other_config": {}},
            hidden=True,
            secret=True,
        ),
        M("create", "args=record:secret", "ref:secret", "published@midnight-ride", "pool-operator", is_async=True),
        M("destroy", "self=ref:secret", "", "published@midnight-ride", "pool-operator", is_async=True),
    ),
    events=False,
    ctor_dtor=True,
)
