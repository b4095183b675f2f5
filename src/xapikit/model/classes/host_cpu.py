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
"""Class ``host_cpu``."""

from xapikit.model.schema import ClassSpec, F, life

HOST_CPU = ClassSpec(
    "host_cpu",
    life("published@rio deprecated@midnight-ride"),
    declared_fields=(
        F("uuid", "string", "DynamicRO", "published@rio"),
        F("host", "ref:host", "DynamicRO", "published@rio"),
        F("number", "int", "DynamicRO", "published@rio"),
        F("vendor", "string", "DynamicRO", "published@rio"),
        F("speed", "int", "DynamicRO", "published@rio"),
        F("modelname", "string", "DynamicRO", "published@rio"),
        F("family", "int", "DynamicRO", "published@rio"),
        F("model", "int", "DynamicRO", "published@rio"),
        F("stepping", "string", "DynamicRO", "published@rio"),
        F("flags", "string", "DynamicRO", "published@rio"),
        F("features", "string", "DynamicRO", "published@rio"),
        F("utilisation", "float", "DynamicRO", "published@rio", persist=False),
        F("other_config", "map(string,string)", "RW", "published@orlando", default={}, write_role="pool-operator"),
    ),
)
