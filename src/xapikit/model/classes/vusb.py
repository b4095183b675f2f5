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
"""Class ``VUSB``."""

from xapikit.model.schema import ClassSpec, F, M, life

VUSB = ClassSpec(
    "VUSB",
    life("published@inverness"),
    declared_fields=(
        F("uuid", "string", "DynamicRO", "published@inverness"),
        F("allowed_operations", "set(enum:vusb_operations)", "DynamicRO", "published@rio", default=[], persist=False),
        F(
            "current_operations",
            "map(string,enum:vusb_operations)",
            "DynamicRO",
            "published@rio",
            default={},
            persist=False,
        ),
        F("VM", "ref:VM", "DynamicRO", "published@inverness"),
        F("USB_group", "ref:USB_group", "DynamicRO", "published@inverness"),
        F("other_config", "map(string,string)", "RW", "published@inverness", default={}, write_role="pool-admin"),
        F("currently_attached", "bool", "DynamicRO", "published@rio", default=False),
    ),
    declared_messages=(
        M(
            "create",
            "VM=ref:VM USB_group=ref:USB_group other_config=map(string,string)",
            "ref:VUSB",
            "published@inverness",
            "pool-admin",
            defaults={"other_config": {}},
            is_async=True,
        ),
        M("unplug", "self=ref:VUSB", "", "published@inverness", "pool-admin", is_async=True),
        M("destroy", "self=ref:VUSB", "", "published@inverness", "pool-admin", is_async=True),
    ),
)
