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
"""Class ``session``."""

from xapikit.model.schema import ClassSpec, F, M, life

SESSION = ClassSpec(
    "session",
    life("published@rio"),
    declared_fields=(
        F("uuid", "string", "DynamicRO", "published@rio"),
        F("this_host", "ref:host", "DynamicRO", "published@rio"),
        F("this_user", "ref:user", "DynamicRO", "published@rio"),
        F("last_active", "datetime", "DynamicRO", "published@rio"),
        F("pool", "bool", "DynamicRO", "published@rio"),
        F("other_config", "map(string,string)", "RW", "published@miami", default={}, write_role="pool-admin"),
        F("is_local_superuser", "bool", "DynamicRO", "published@george", default=False),
        F("subject", "ref:subject", "DynamicRO", "published@george", default="OpaqueRef:NULL"),
        F("validation_time", "datetime", "DynamicRO", "published@george", default="19700101T00:00:00Z"),
        F("auth_user_sid", "string", "DynamicRO", "published@george", default=""),
        F("auth_user_name", "string", "DynamicRO", "published@midnight-ride", default=""),
        F("rbac_permissions", "set(string)", "StaticRO", "published@midnight-ride", default=[]),
        F("tasks", "set(ref:task)", "DynamicRO", "published@midnight-ride"),
        F("parent", "ref:session", "StaticRO", "published@midnight-ride", default="OpaqueRef:NULL"),
        F("originator", "string", "DynamicRO", "published@clearwater", default=""),
        F("client_certificate", "bool", "DynamicRO", "published@21.2.0", default=False),
    ),
    declared_messages=(
        M(
            "login_with_password",
            "uname=string pwd=string version=string originator=string",
            "ref:session",
            "published@rio",
            "read-only",
            defaults={"version": "1.1", "originator": ""},
            errors=("SESSION_AUTHENTICATION_FAILED", "HOST_IS_SLAVE"),
            no_session=True,
            secret=True,
        ),
        M("logout", "", "", "published@rio", "read-only"),
        M("change_password", "old_pwd=string new_pwd=string", "", "published@rio", "local-root-only"),
        M(
            "slave_login",
            "host=ref:host psecret=secret",
            "ref:session",
            "published@rio",
            "pool-admin",
            no_session=True,
            hidden=True,
            secret=True,
        ),
        M(
            "slave_local_login",
            "psecret=secret",
            "ref:session",
            "published@miami",
            "pool-admin",
            no_session=True,
            hidden=True,
            secret=True,
        ),
        M(
            "slave_local_login_with_password",
            "uname=string pwd=string",
            "ref:session",
            "published@miami",
            "pool-admin",
            no_session=True,
            secret=True,
        ),
        M(
            "create_from_db_file",
            "filename=string",
            "ref:session",
            "published@dundee",
            "local-root-only",
            is_async=True,
        ),
        M("local_logout", "", "", "published@miami", "pool-admin"),
        M("get_all_subject_identifiers", "", "set(string)", "published@george", "read-only", is_async=True),
        M(
            "logout_subject_identifier",
            "subject_identifier=string",
            "",
            "published@george",
            "pool-operator",
            is_async=True,
        ),
    ),
    events=False,
    persist=False,
    get_all=False,
)
