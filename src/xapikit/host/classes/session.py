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
"""Class ``session``: log-in, log-out and what a session says about itself (wire reference 1.6)."""

from __future__ import annotations

from xapikit.host.context import Context
from xapikit.host.errors import ApiError
from xapikit.host.registry import implements


@implements("session.login_with_password")
def login_with_password(ctx: Context, uname: str, pwd: str, version: str, originator: str) -> str:
    return ctx.pool.sessions.login(uname, pwd, originator, ctx.host)


@implements("session.slave_local_login_with_password")
def slave_local_login_with_password(ctx: Context, uname: str, pwd: str) -> str:
    return ctx.pool.sessions.login_locally(uname, pwd, ctx.host)


@implements("session.slave_login")
def slave_login(ctx: Context, host: str, psecret: str) -> str:
    # there is no pool secret: the hosts of an embedded pool share one process
    raise ApiError("SESSION_AUTHENTICATION_FAILED", host, "Pool credentials invalid")


@implements("session.slave_local_login")
def slave_local_login(ctx: Context, psecret: str) -> str:
    raise ApiError("SESSION_AUTHENTICATION_FAILED", "localhost", "Pool credentials invalid")


@implements("session.logout")
def logout(ctx: Context) -> None:
    if ctx.pool.sessions.is_local(ctx.session):
        ctx.pool.sessions.logout_locally(ctx.session)
    else:
        ctx.pool.sessions.logout(ctx.session)


@implements("session.local_logout")
def local_logout(ctx: Context) -> None:
    ctx.pool.sessions.logout_locally(ctx.session)


@implements("session.change_password")
def change_password(ctx: Context, old_pwd: str, new_pwd: str) -> None:
    """Root needs not know the old password. It holds until the operator gives another one at a start."""
    ctx.pool.sessions.change_password(ctx.pool.sessions.user(ctx.session) or ctx.pool.settings.username, new_pwd)


@implements("session.get_all_subject_identifiers")
def get_all_subject_identifiers(ctx: Context) -> list[str]:
    return []  # subjects need external authentication, which this host has not


@implements("session.logout_subject_identifier")
def logout_subject_identifier(ctx: Context, subject_identifier: str) -> None:
    return None


@implements("session.create_from_db_file")
def create_from_db_file(ctx: Context, filename: str) -> str:
    # a file of dom0, where this host keeps none
    raise ApiError("INTERNAL_ERROR", f'Sys_error("{filename}: No such file or directory")')
