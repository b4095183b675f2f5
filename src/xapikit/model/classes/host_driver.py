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
"""Class ``Host_driver``."""

from xapikit.model.schema import ClassSpec, F, M, life

HOST_DRIVER = ClassSpec(
    "Host_driver",
    life("prototyped@25.2.0"),
    declared_fields=(
        F("uuid", "string", "DynamicRO", "prototyped@25.2.0"),
        F("host", "ref:host", "StaticRO", "prototyped@25.2.0", default="OpaqueRef:NULL"),
        F("name", "string", "DynamicRO", "prototyped@25.2.0"),
        F("friendly_name", "string", "DynamicRO", "prototyped@25.2.0"),
        F("variants", "set(ref:Driver_variant)", "DynamicRO", "prototyped@25.2.0"),
        F("active_variant", "ref:Driver_variant", "DynamicRO", "prototyped@25.2.0"),
        F("selected_variant", "ref:Driver_variant", "DynamicRO", "prototyped@25.2.0"),
        F("type", "string", "DynamicRO", "prototyped@25.2.0"),
        F("description", "string", "DynamicRO", "prototyped@25.2.0"),
        F("info", "string", "DynamicRO", "prototyped@25.2.0"),
    ),
    declared_messages=(
        M(
            "select",
            "self=ref:Host_driver variant=ref:Driver_variant",
            "",
            "prototyped@25.2.0",
            "pool-admin",
            is_async=True,
        ),
        M("deselect", "self=ref:Host_driver", "", "prototyped@25.2.0", "pool-admin", is_async=True),
        M("rescan", "host=ref:host", "", "prototyped@25.2.0", "pool-admin", is_async=True),
    ),
)
