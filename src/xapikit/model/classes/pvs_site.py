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
"""Class ``PVS_site``."""

from xapikit.model.schema import ClassSpec, F, M, life

PVS_SITE = ClassSpec(
    "PVS_site",
    life("published@ely"),
    declared_fields=(
        F("uuid", "string", "DynamicRO", "published@ely"),
        F("name_label", "string", "RW", "published@ely", default="", write_role="pool-operator"),
        F("name_description", "string", "RW", "published@ely", default="", write_role="pool-operator"),
        F("PVS_uuid", "string", "StaticRO", "published@ely", default=""),
        F("cache_storage", "set(ref:PVS_cache_storage)", "DynamicRO", "published@ely", default=[]),
        F("servers", "set(ref:PVS_server)", "DynamicRO", "published@ely"),
        F("proxies", "set(ref:PVS_proxy)", "DynamicRO", "published@ely"),
    ),
    declared_messages=(
        M(
            "introduce",
            "name_label=string name_description=string PVS_uuid=string",
            "ref:PVS_site",
            "published@ely",
            "pool-operator",
            is_async=True,
        ),
        M(
            "forget",
            "self=ref:PVS_site",
            "",
            "published@ely",
            "pool-operator",
            errors=("PVS_SITE_CONTAINS_RUNNING_PROXIES", "PVS_SITE_CONTAINS_SERVERS"),
            is_async=True,
        ),
        M("set_PVS_uuid", "self=ref:PVS_site value=string", "", "published@ely", "pool-operator", is_async=True),
    ),
)
