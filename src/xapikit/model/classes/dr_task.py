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
"""Class ``DR_task``."""

from xapikit.model.schema import ClassSpec, F, M, life

DR_TASK = ClassSpec(
    "DR_task",
    life("published@boston"),
    declared_fields=(
        F("uuid", "string", "DynamicRO", "published@rio"),
        F("introduced_SRs", "set(ref:SR)", "DynamicRO", "published@rio"),
    ),
    declared_messages=(
        M(
            "create",
            "type=string device_config=map(string,string) whitelist=set(string)",
            "ref:DR_task",
            "published@boston",
            "pool-operator",
            is_async=True,
        ),
        M("destroy", "self=ref:DR_task", "", "published@boston", "pool-operator", is_async=True),
    ),
)
