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
"""``PUT /import`` and ``PUT /import_metadata``: archives become VMs (wire reference 5.3).

Both handlers answer 200 before the first byte is read; from then on only the task tells what happened.
"""

from __future__ import annotations

from typing import Final

from xapikit.host.context import Context
from xapikit.host.errors import ApiError
from xapikit.host.handlers.transfers import accept, cut_on_cancel, go_elsewhere, late_error, refuse, resolve, tell
from xapikit.host.registry import handler
from xapikit.host.server.http import TRANSFER_SECONDS, HttpConnection, HttpRequest
from xapikit.host.storage.transfer.source import Body
from xapikit.host.xva.importing import import_archive
from xapikit.host.xva.reading import import_errors
from xapikit.host.xva.rows import Options
from xapikit.wire.xmlrpc import encode_fragment

_TO_THE_END: Final = 1 << 62
"""Length of a body that has none: as far as the client sends."""
_VDI_MAP: Final = "vdi:"


@handler("put_import")
def put_import(request: HttpRequest, connection: HttpConnection, ctx: Context) -> None:
    sr = _sr(request, ctx)
    go_elsewhere(ctx, request, connection, sr)
    ctx.task.set_progress(0.0)
    if ctx.store.get("SR", sr)["content_type"] == "iso":
        raise _refuse(connection, "400 Bad Request", ApiError("SR_OPERATION_NOT_SUPPORTED"))
    if "transfer-encoding" in request.headers:
        raise _refuse(connection, "403 Forbidden", ApiError("IMPORT_ERROR_CANNOT_HANDLE_CHUNKED"))
    options = Options(sr=sr, restore=_flag(request, "restore"), force=_flag(request, "force"))
    _take(request, connection, ctx, options)


@handler("put_import_metadata")
def put_import_metadata(request: HttpRequest, connection: HttpConnection, ctx: Context) -> None:
    options = Options(
        restore=_flag(request, "restore"),
        force=_flag(request, "force"),
        dry_run=_flag(request, "dry_run"),
        live=_flag(request, "live"),
        vdi_map={
            name.removeprefix(_VDI_MAP): value for name, value in request.arguments() if name.startswith(_VDI_MAP)
        },
    )
    _take(request, connection, ctx, options)


def _flag(request: HttpRequest, name: str) -> bool:
    return request.query.get(name) == "true"


def _refuse(connection: HttpConnection, status: str, error: ApiError) -> Exception:
    refusal = refuse(connection, status, error)
    connection.write(late_error(error))
    return refusal


def _sr(request: HttpRequest, ctx: Context) -> str:
    """Where the disks go: what the client says, else the pool's default."""
    name = request.argument("sr_id") or request.argument("sr_uuid")
    if name is not None:
        return resolve(ctx, "SR", name)
    default: str = ctx.pool.row["default_SR"]
    if ctx.store.peek("SR", default) is None:
        raise ApiError("DEFAULT_SR_NOT_FOUND", default)
    return default


def _take(request: HttpRequest, connection: HttpConnection, ctx: Context, options: Options) -> None:
    length = request.content_length
    length = _TO_THE_END if length is None else length
    accept(ctx, connection, ["content-type: application/octet-stream"])
    cut_on_cancel(ctx, connection)
    connection.socket.settimeout(TRANSFER_SECONDS)
    body = Body(connection.socket, connection.take_buffered()[:length], length, ctx.task, reports=False)
    try:
        with import_errors():
            vms = import_archive(ctx, body, options)
    except ApiError as error:
        if not ctx.task.cancelled.is_set():
            tell(connection, body, late_error(error))
        raise
    ctx.task.result = encode_fragment(vms)
    tell(connection, body, b"")  # the end of the archive: a client that still sends would see a reset
