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
"""Class ``pool_update``."""

from xapikit.model.schema import ClassSpec, F, M, life

POOL_UPDATE = ClassSpec(
    "pool_update",
    life("published@ely"),
    declared_fields=(
        F("uuid", "string", "DynamicRO", "published@rio"),
        F("name_label", "string", "StaticRO", "published@rio", default=""),
        F("name_description", "string", "StaticRO", "published@rio", default=""),
        F("version", "string", "StaticRO", "published@ely", default=""),
        F("installation_size", "int", "StaticRO", "published@ely", default=0),
        F("key", "string", "StaticRO", "published@ely", default=""),
        F("after_apply_guidance", "set(enum:update_after_apply_guidance)", "StaticRO", "published@ely", default=[]),
        F("vdi", "ref:VDI", "StaticRO", "published@rio"),
        F("hosts", "set(ref:host)", "DynamicRO", "published@ely"),
        F("other_config", "map(string,string)", "RW", "published@inverness", default={}, write_role="pool-operator"),
        F("enforce_homogeneity", "bool", "StaticRO", "published@inverness", default=False),
    ),
    declared_messages=(
        M("introduce", "vdi=ref:VDI", "ref:pool_update", "published@ely", "pool-operator", is_async=True),
        M(
            "precheck",
            "self=ref:pool_update host=ref:host",
            "enum:livepatch_status",
            "published@ely",
            "pool-operator",
            is_async=True,
            host_extension="pool_update.precheck",
        ),
        M(
            "apply",
            "self=ref:pool_update host=ref:host",
            "",
            "published@ely",
            "pool-operator",
            is_async=True,
            host_extension="pool_update.apply",
        ),
        M("pool_apply", "self=ref:pool_update", "", "published@ely", "pool-operator", is_async=True),
        M("pool_clean", "self=ref:pool_update", "", "published@ely", "pool-operator", is_async=True),
        M("destroy", "self=ref:pool_update", "", "published@ely", "pool-operator", is_async=True),
        M(
            "attach",
            "self=ref:pool_update use_localhost_proxy=bool",
            "string",
            "published@ely",
            "pool-operator",
            defaults={"use_localhost_proxy": False},
            is_async=True,
            hidden=True,
        ),
        M("detach", "self=ref:pool_update", "", "published@ely", "pool-operator", is_async=True, hidden=True),
        M("resync_host", "host=ref:host", "", "published@ely", "pool-operator", is_async=True, hidden=True),
    ),
)
