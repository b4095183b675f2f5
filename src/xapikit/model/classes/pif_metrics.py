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
"""Class ``PIF_metrics``."""

from xapikit.model.schema import ClassSpec, F, life

PIF_METRICS = ClassSpec(
    "PIF_metrics",
    life("published@rio"),
    declared_fields=(
        F("uuid", "string", "DynamicRO", "published@rio"),
        F(
            "io_read_kbs",
            "float",
            "DynamicRO",
            "published@rio deprecated@tampa removed@tampa",
            default=0.0,
            persist=False,
        ),
        F(
            "io_write_kbs",
            "float",
            "DynamicRO",
            "published@rio deprecated@tampa removed@tampa",
            default=0.0,
            persist=False,
        ),
        F("carrier", "bool", "DynamicRO", "published@rio"),
        F("vendor_id", "string", "DynamicRO", "published@rio"),
        F("vendor_name", "string", "DynamicRO", "published@rio"),
        F("device_id", "string", "DynamicRO", "published@rio"),
        F("device_name", "string", "DynamicRO", "published@rio"),
        F("speed", "int", "DynamicRO", "published@rio"),
        F("duplex", "bool", "DynamicRO", "published@rio"),
        F("pci_bus_path", "string", "DynamicRO", "published@rio"),
        F("last_updated", "datetime", "DynamicRO", "published@rio"),
        F("other_config", "map(string,string)", "RW", "published@orlando", default={}, write_role="pool-operator"),
    ),
)
