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
"""Class ``USB_group``."""

from xapikit.model.schema import ClassSpec, F, M, life

USB_GROUP = ClassSpec(
    "USB_group",
    life("published@inverness"),
    declared_fields=(
        F("uuid", "string", "DynamicRO", "published@inverness"),
        F("name_label", "string", "RW", "published@inverness", default="", write_role="pool-admin"),
        F("name_description", "string", "RW", "published@inverness", default="", write_role="pool-admin"),
        F("PUSBs", "set(ref:PUSB)", "DynamicRO", "published@inverness"),
        F("VUSBs", "set(ref:VUSB)", "DynamicRO", "published@inverness"),
        F("other_config", "map(string,string)", "RW", "published@inverness", default={}, write_role="pool-admin"),
    ),
    declared_messages=(
        M(
            "create",
            "name_label=string name_description=string other_config=map(string,string)",
            "ref:USB_group",
            "published@inverness",
            "pool-admin",
            defaults={"name_label": "", "name_description": "", "other_config": {}},
            is_async=True,
        ),
        M("destroy", "self=ref:USB_group", "", "published@inverness", "pool-admin", is_async=True),
    ),
)
