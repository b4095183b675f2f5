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
"""Class ``SM``."""

from xapikit.model.schema import ClassSpec, F, life

SM = ClassSpec(
    "SM",
    life("published@rio"),
    declared_fields=(
        F("uuid", "string", "DynamicRO", "published@rio"),
        F("name_label", "string", "DynamicRO", "published@rio", default=""),
        F("name_description", "string", "DynamicRO", "published@rio", default=""),
        F("type", "string", "DynamicRO", "published@rio"),
        F("vendor", "string", "DynamicRO", "published@rio"),
        F("copyright", "string", "DynamicRO", "published@rio"),
        F("version", "string", "DynamicRO", "published@rio"),
        F("required_api_version", "string", "DynamicRO", "published@rio"),
        F("configuration", "map(string,string)", "DynamicRO", "published@rio"),
        F("capabilities", "set(string)", "DynamicRO", "published@miami deprecated@clearwater", default=[]),
        F("features", "map(string,int)", "DynamicRO", "published published@clearwater changed@24.37.0", default={}),
        F(
            "host_pending_features",
            "map(ref:host,set(string))",
            "DynamicRO",
            "prototyped@24.37.0",
            default={},
            internal_only=True,
        ),
        F("other_config", "map(string,string)", "RW", "published@miami", default={}, write_role="pool-operator"),
        F("driver_filename", "string", "DynamicRO", "published@orlando", default=""),
        F("required_cluster_stack", "set(string)", "DynamicRO", "published@dundee", default=[]),
        F("supported_image_formats", "set(enum:image_format_type)", "DynamicRO", "prototyped@26.15.0", default=[]),
    ),
)
