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
"""Class ``PUSB``."""

from xapikit.model.schema import ClassSpec, F, M, life

PUSB = ClassSpec(
    "PUSB",
    life("published@inverness"),
    declared_fields=(
        F("uuid", "string", "DynamicRO", "published@inverness"),
        F("USB_group", "ref:USB_group", "StaticRO", "published@inverness", default="OpaqueRef:NULL"),
        F("host", "ref:host", "StaticRO", "published@inverness", default="OpaqueRef:NULL"),
        F("path", "string", "StaticRO", "published@inverness", default=""),
        F("vendor_id", "string", "StaticRO", "published@inverness", default=""),
        F("vendor_desc", "string", "StaticRO", "published@inverness", default=""),
        F("product_id", "string", "StaticRO", "published@inverness", default=""),
        F("product_desc", "string", "StaticRO", "published@inverness", default=""),
        F("serial", "string", "StaticRO", "published@inverness", default=""),
        F("version", "string", "StaticRO", "published@inverness", default=""),
        F("description", "string", "StaticRO", "published@inverness", default=""),
        F("passthrough_enabled", "bool", "DynamicRO", "published@inverness", default=False),
        F("other_config", "map(string,string)", "RW", "published@inverness", default={}, write_role="pool-admin"),
        F("speed", "float", "StaticRO", "published@stockholm", default=-1.0),
    ),
    declared_messages=(
        M("scan", "host=ref:host", "", "published@inverness", "pool-admin", is_async=True),
        M(
            "set_passthrough_enabled",
            "self=ref:PUSB value=bool",
            "",
            "published@inverness",
            "pool-admin",
            is_async=True,
        ),
    ),
)
