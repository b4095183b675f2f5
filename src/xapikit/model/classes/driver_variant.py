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
"""Class ``Driver_variant``."""

from xapikit.model.schema import ClassSpec, F, M, life

DRIVER_VARIANT = ClassSpec(
    "Driver_variant",
    life("prototyped@25.2.0"),
    declared_fields=(
        F("uuid", "string", "DynamicRO", "prototyped@25.2.0"),
        F("name", "string", "DynamicRO", "prototyped@25.2.0"),
        F("driver", "ref:Host_driver", "DynamicRO", "prototyped@25.2.0"),
        F("version", "string", "DynamicRO", "prototyped@25.2.0"),
        F("hardware_present", "bool", "DynamicRO", "prototyped@25.2.0"),
        F("priority", "float", "DynamicRO", "prototyped@25.2.0"),
        F("status", "string", "DynamicRO", "prototyped@25.2.0"),
    ),
    declared_messages=(M("select", "self=ref:Driver_variant", "", "prototyped@25.2.0", "pool-admin", is_async=True),),
)
