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
"""Features that this host has not set up, as a host without them answers: workload balancing, updates, patches.

Nobody's business but that of the hosts of a real pool among themselves are ``/remotecmd`` and ``/sync_config_files``.
"""

from __future__ import annotations

from typing import Final

from xapikit.host.context import Context
from xapikit.host.errors import ApiError
from xapikit.host.handlers.transfers import PLAIN, accept, late_error, refuse, resolve, tell
from xapikit.host.registry import handler
from xapikit.host.server.http import HttpConnection, HttpRequest, forbidden, internal_error, not_found
from xapikit.host.storage.transfer.source import Body

_NO_REPOSITORY: Final = "NO_REPOSITORY_ENABLED"


@handler("get_wlb_report")
def wlb_report(request: HttpRequest, connection: HttpConnection, ctx: Context) -> None:
    if "report" not in request.query:
        raise internal_error('Failure("Bad request")')
    raise ApiError("WLB_NOT_INITIALIZED")


@handler("get_wlb_diagnostics")
def wlb_diagnostics(request: HttpRequest, connection: HttpConnection, ctx: Context) -> None:
    raise ApiError("WLB_NOT_INITIALIZED")


@handler("put_pool_patch_upload")
def pool_patch_upload(request: HttpRequest, connection: HttpConnection, ctx: Context) -> None:
    """The upload is taken, looked at, and is no update: nothing that this host could apply exists."""
    name = request.argument("sr_id") or request.argument("sr_uuid")
    sr = resolve(ctx, "SR", name) if name is not None else ctx.pool.row["default_SR"]
    ctx.store.get("SR", sr)
    if "transfer-encoding" in request.headers:
        error = ApiError("INTERNAL_ERROR", f"Cannot handle encoding: {request.headers['transfer-encoding']}")
        raise refuse(connection, "404 Not Found", error, version="1.0")
    accept(ctx, connection, ["content-type: application/octet-stream"])
    length = request.content_length or 0
    body = Body(connection.socket, connection.take_buffered()[:length], length, ctx.task)
    for _ in body.pieces():
        pass
    error = ApiError("INVALID_UPDATE", "the upload has no update metadata")
    tell(connection, body, late_error(error))
    raise error


@handler("get_pool_update_download", public=True)
def pool_update_download(request: HttpRequest, connection: HttpConnection, ctx: Context) -> None:
    raise forbidden()  # what a host answers for a file that is not below its directory of updates


@handler("get_repository")
def repository(request: HttpRequest, connection: HttpConnection, ctx: Context) -> None:
    if not request.https:
        raise forbidden()
    raise not_found()


@handler("get_enabled_repository", "get_host_updates")
def enabled_repository(request: HttpRequest, connection: HttpConnection, ctx: Context) -> None:
    raise ApiError(_NO_REPOSITORY)


@handler("get_updates")
def updates(request: HttpRequest, connection: HttpConnection, ctx: Context) -> None:
    wanted = [ref for ref in request.query.get("host_refs", "").split(";") if ref]
    if any(ctx.store.peek("host", ref) is None for ref in wanted) or ("host_refs" in request.query and not wanted):
        raise refuse(connection, "400 Bad Request", ApiError("INTERNAL_ERROR", "no hosts"))
    raise refuse(connection, "404 Not Found", ApiError(_NO_REPOSITORY))


@handler("put_bundle")
def bundle(request: HttpRequest, connection: HttpConnection, ctx: Context) -> None:
    raise refuse(connection, "400 Bad Request", ApiError(_NO_REPOSITORY))


@handler("connect_remotecmd")
def remotecmd(request: HttpRequest, connection: HttpConnection, ctx: Context) -> None:
    raise internal_error('Failure("Not a pool session")')


@handler("get_config_sync")
def config_sync(request: HttpRequest, connection: HttpConnection, ctx: Context) -> None:
    """A member would get the password of dom0's root here, which there is none of."""
    connection.start_reply("200 OK", PLAIN)
    connection.write(b"Warning: legacy dom0 config files not supported")
