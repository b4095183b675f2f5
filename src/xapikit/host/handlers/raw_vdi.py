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
"""``PUT /import_raw_vdi`` and ``GET /export_raw_vdi``: statuses, headers, redirects and task outcomes as recorded.

Both answer 200 before the first byte moves; from then on only the task tells what happened (wire reference 5).
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator

from xapikit import vhd
from xapikit.host.context import Context
from xapikit.host.errors import ApiError
from xapikit.host.registry import handler
from xapikit.host.server.http import (
    TRANSFER_SECONDS,
    ConnectionClosed,
    HttpConnection,
    HttpError,
    HttpRequest,
    internal_error,
)
from xapikit.host.storage import vdis
from xapikit.host.storage.disks import SwitchableDisk
from xapikit.host.storage.service import Storage
from xapikit.host.storage.transfer.exporting import export_raw
from xapikit.host.storage.transfer.importing import import_chunked, import_raw, import_tar, import_vhd, io_error
from xapikit.host.storage.transfer.qcow2 import export_qcow2
from xapikit.host.storage.transfer.source import Body
from xapikit.host.storage.transfer.tar import export_tar
from xapikit.wire.xmlrpc import encode_fragment

_PLAIN = [("Connection", "close"), ("Cache-Control", "no-cache, no-store")]
_DRAIN_BYTES = 64 << 20

_EXPORTS: dict[str, str] = {
    "raw": "application/octet-stream",
    "vhd": "application/vhd",
    "tar": "application/x-tar",
    "qcow2": "application/x-qemu-disk",
}
_IMPORTS: dict[str, Callable[[SwitchableDisk, Body], None]] = {
    "raw": import_raw,
    "vhd": import_vhd,
    "tar": import_tar,
}


# what both have in common --------------------------------------------------------------------------------------------


def _find(ctx: Context, class_name: str, name: str) -> str | None:
    """An object by reference or uuid."""
    return name if ctx.store.peek(class_name, name) is not None else ctx.store.by_uuid(class_name, name)


def _unresolved(ctx: Context, error: ApiError, detail: str) -> HttpError:
    """Arguments are looked up by the permission check, so that is what fails."""
    failure = internal_error(detail)
    text = f"{error.code}: [ {'; '.join(error.params)} ]"
    failure.cause = ApiError("RBAC_PERMISSION_DENIED", ctx.method, text)
    return failure


def _missing_uuid(class_name: str, name: str) -> str:
    return f'Db_exn.Read_missing_uuid("{class_name}", "", "{name}")'


def _resolve(ctx: Context, class_name: str, name: str) -> str:
    ref = _find(ctx, class_name, name)
    if ref is None:
        raise _unresolved(ctx, ApiError("UUID_INVALID", class_name, name), _missing_uuid(class_name, name))
    return ref


def _refuse(connection: HttpConnection, status: str, error: ApiError, *, version: str = "1.1") -> HttpError:
    """A bare status line; the task is told why."""
    connection.start_reply(status, _PLAIN, version=version)
    return HttpError(status, "", cause=error)


def _go_elsewhere(ctx: Context, request: HttpRequest, connection: HttpConnection, sr: str) -> None:
    """Redirect when only other hosts have the SR plugged: the reply has no length and the connection stays open,
    the task goes on at the other host (observed: http/redirect)."""
    hosts = ctx.pool.storage.hosts_with(sr)
    if not hosts:
        raise ApiError("SR_HAS_NO_PBDS", sr)
    if ctx.host in hosts:
        return
    where = ctx.pool.hosts[hosts[0]].url(https=request.https or None)
    connection.start_reply("302 Found", [*_PLAIN, ("Location", where + request.target)])
    connection.keep = not request.content_length
    raise HttpError("302 Found", "", task_goes_on=True)


def _accept(ctx: Context, connection: HttpConnection, lines: list[str]) -> None:
    """The early 200. The raw handlers write their task's header without a blank."""
    head = ["HTTP/1.1 200 OK", "Connection: close", "Cache-Control: no-cache, no-store", f"task-id:{ctx.task.ref}"]
    connection.replied = True
    connection.write(("\r\n".join([*head, *lines]) + "\r\n\r\n").encode("latin-1", "replace"))


def _cut_on_cancel(ctx: Context, connection: HttpConnection) -> None:
    def wake() -> None:
        try:
            connection.socket.shutdown(socket.SHUT_RDWR)
        except OSError:  # gone already
            pass

    ctx.task.on_cancel(wake)


def _page(error: ApiError, detail: str = "") -> bytes:
    """The 500 that a host appends to the body of a reply whose 200 is out."""
    page = internal_error(detail or f"{error.code}: [ {'; '.join(error.params)} ]").page
    body = f"<html><body>{page}</body></html>"
    head = (
        f"HTTP/1.1 500 Internal Error\r\ncontent-length: {len(body)}\r\ncontent-type: text/html\r\n"
        "connection: close\r\ncache-control: no-cache, no-store\r\n\r\n"
    )
    return (head + body).encode("utf-8", "replace")


_BAD_REQUEST = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nCache-Control: no-cache, no-store\r\n\r\n"


# import --------------------------------------------------------------------------------------------------------------


@handler("put_import_raw_vdi")
def import_raw_vdi(request: HttpRequest, connection: HttpConnection, ctx: Context) -> None:
    query = request.query
    vdi = _resolve(ctx, "VDI", query["vdi"]) if "vdi" in query else None
    sr_name = query.get("sr_id", query.get("sr_uuid"))
    new_in = _resolve(ctx, "SR", sr_name) if vdi is None and sr_name is not None else None
    sr = ctx.store.get("VDI", vdi)["SR"] if vdi is not None else new_in
    if sr is None:
        failure = _refuse(connection, "400 Bad Request", ApiError("VDI_MISSING"))
        connection.keep = not request.content_length
        raise failure
    _go_elsewhere(ctx, request, connection, sr)
    if request.headers.get("transfer-encoding", "identity").lower() != "identity":
        encoding = request.headers["transfer-encoding"]
        error = ApiError("INTERNAL_ERROR", f"Cannot handle encoding: {encoding}")
        raise _refuse(connection, "404 Not Found", error, version="1.0")
    form = query.get("format", "raw")
    take = _IMPORTS.get(form.lower())
    if take is None or (new_in is not None and take is not import_raw):
        raise _refuse(connection, "404 Not Found", ApiError("INTERNAL_ERROR", f"Unknown format {form}"), version="1.0")
    if take is import_raw and "chunked" in query:
        take = import_chunked
    length = request.content_length or 0
    _accept(ctx, connection, ["content-type: application/octet-stream"])
    _cut_on_cancel(ctx, connection)
    connection.socket.settimeout(TRANSFER_SECONDS)
    body = Body(connection.socket, connection.take_buffered()[:length], length, ctx.task)
    try:
        target = _receive(ctx, take, body, vdi, new_in)
    except ApiError as error:
        if not ctx.task.cancelled.is_set():
            _tell(connection, body, _BAD_REQUEST + _page(error))
        raise
    ctx.task.result = encode_fragment(target)


def _tell(connection: HttpConnection, body: Body, text: bytes) -> None:
    """Append an error to the reply, and let the client come to reading it."""
    try:
        connection.write(text)
        connection.socket.settimeout(2.0)
        body.drain(_DRAIN_BYTES)
    except (ConnectionClosed, OSError):  # it is gone, or still sends and never reads
        pass


def _receive(
    ctx: Context, take: Callable[[SwitchableDisk, Body], None], body: Body, vdi: str | None, sr: str | None
) -> str:
    """Write a body onto a disk, a new one in ``sr`` when there is no ``vdi``. Raises ApiError, ConnectionClosed."""
    storage: Storage = ctx.pool.storage
    if vdi is not None:
        _write(ctx, storage, take, body, vdi)
        return vdi
    assert sr is not None, "the handler has one of them"
    made = vdis.create(storage, sr, body.length, {"name_label": "Imported VDI", "type": "user"})
    try:
        _write(ctx, storage, take, body, made)
    except BaseException:
        vdis.discard(storage, made)
        raise
    return made


def _write(ctx: Context, storage: Storage, take: Callable[[SwitchableDisk, Body], None], body: Body, vdi: str) -> None:
    with storage.opened(vdi, read_only=False, holder=f"import:{ctx.task.ref}", host=ctx.host) as disk:
        try:
            take(disk, body)
            storage.settle_writes(disk)
        except vhd.VhdError as error:
            raise io_error() from error
        except (ConnectionResetError, BrokenPipeError, TimeoutError) as error:
            ctx.task.raise_if_cancelled()
            raise ConnectionClosed(str(error)) from error
        except OSError as error:  # a full SR, or a failing disk below it
            ctx.task.raise_if_cancelled()
            raise io_error() from error


# export --------------------------------------------------------------------------------------------------------------


@handler("get_export_raw_vdi")
def export_raw_vdi(request: HttpRequest, connection: HttpConnection, ctx: Context) -> None:
    query = request.query
    if "vdi" not in query:
        missing = 'Failure("Missing vdi query parameter")'
        raise _unresolved(ctx, ApiError("INTERNAL_ERROR", missing), missing)
    vdi = _resolve(ctx, "VDI", query["vdi"])
    row = ctx.store.get("VDI", vdi)
    _go_elsewhere(ctx, request, connection, row["SR"])
    form = query.get("format", "raw")
    content_type = _EXPORTS.get(form.lower())
    if content_type is None:
        raise _refuse(connection, "404 Not Found", ApiError("INTERNAL_ERROR", f"Unknown format {form}"), version="1.0")
    name = f"{row['uuid']}.{form.lower()}"
    _accept(
        ctx,
        connection,
        [f"content-type: {content_type}", f'content-disposition: attachment; filename="{name}"'],
    )
    _cut_on_cancel(ctx, connection)
    try:
        _send(ctx, connection, vdi, form.lower(), query.get("base"))
    except _UnknownBase as error:
        connection.write(_page(error, _missing_uuid("VDI", query["base"])))
        raise
    except ApiError as error:
        if not ctx.task.cancelled.is_set():
            connection.write(_page(error))
        raise


class _UnknownBase(ApiError):
    """The VDI that an export is to be compared with is not there."""


def _send(ctx: Context, connection: HttpConnection, vdi: str, form: str, base_name: str | None) -> None:
    storage: Storage = ctx.pool.storage
    base = None
    if base_name is not None:
        base = _find(ctx, "VDI", base_name)
        if base is None:
            raise _UnknownBase("UUID_INVALID", "VDI", base_name)
    with storage.opened(vdi, read_only=True, holder=f"export:{ctx.task.ref}", host=ctx.host) as disk:
        try:
            sent, shown = 0, 0.05
            for piece in _stream(storage, disk, vdi, form, base):
                connection.write(piece)
                sent += len(piece)
                if sent > shown * disk.size:
                    shown += 0.05
                    ctx.task.set_progress(min(0.99, sent / disk.size))
                ctx.task.raise_if_cancelled()
        except (vhd.VhdError, OSError) as error:
            raise io_error() from error
        except ConnectionClosed:
            ctx.task.raise_if_cancelled()
            raise


def _stream(
    storage: Storage, disk: SwitchableDisk, vdi: str, form: str, base: str | None
) -> Iterator[bytes | bytearray | memoryview]:
    if form == "tar":
        return export_tar(disk)
    if form == "qcow2":
        return export_qcow2(disk)
    if form == "raw" or disk.path.suffix != ".vhd":
        return export_raw(disk) if form == "raw" else _raw_as_vhd(disk)
    return vhd.stream.from_chain(disk.path, storage.path_of(base) if base is not None else None)


def _raw_as_vhd(disk: SwitchableDisk) -> Iterator[bytes | bytearray | memoryview]:
    """A file of an ISO SR as a VHD; what it does not hold is left out."""
    blocks: set[int] = set()
    for offset, length in disk.extents():
        blocks.update(range(offset // vhd.BLOCK_SIZE, -(-(offset + length) // vhd.BLOCK_SIZE)))
    return vhd.stream.from_raw(export_raw(disk), disk.size, blocks=blocks)
