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

from collections.abc import Callable, Iterator

from xapikit import vhd
from xapikit.host.context import Context
from xapikit.host.errors import ApiError
from xapikit.host.handlers.transfers import (
    accept,
    cut_on_cancel,
    find,
    go_elsewhere,
    late_error,
    missing_uuid,
    refuse,
    resolve,
    tell,
    unresolved,
)
from xapikit.host.registry import handler
from xapikit.host.server.http import TRANSFER_SECONDS, ConnectionClosed, HttpConnection, HttpRequest
from xapikit.host.storage import vdis
from xapikit.host.storage.disks import SwitchableDisk
from xapikit.host.storage.service import Storage
from xapikit.host.storage.transfer.exporting import export_raw
from xapikit.host.storage.transfer.importing import import_chunked, import_raw, import_tar, import_vhd, io_error
from xapikit.host.storage.transfer.qcow2 import export_qcow2
from xapikit.host.storage.transfer.source import Body
from xapikit.host.storage.transfer.tar import export_tar
from xapikit.wire.xmlrpc import encode_fragment

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


_BAD_REQUEST = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nCache-Control: no-cache, no-store\r\n\r\n"


# import --------------------------------------------------------------------------------------------------------------


@handler("put_import_raw_vdi")
def import_raw_vdi(request: HttpRequest, connection: HttpConnection, ctx: Context) -> None:
    query = request.query
    vdi = resolve(ctx, "VDI", query["vdi"]) if "vdi" in query else None
    sr_name = query.get("sr_id", query.get("sr_uuid"))
    new_in = resolve(ctx, "SR", sr_name) if vdi is None and sr_name is not None else None
    sr = ctx.store.get("VDI", vdi)["SR"] if vdi is not None else new_in
    if sr is None:
        failure = refuse(connection, "400 Bad Request", ApiError("VDI_MISSING"))
        connection.keep = not request.content_length
        raise failure
    go_elsewhere(ctx, request, connection, sr)
    if request.headers.get("transfer-encoding", "identity").lower() != "identity":
        encoding = request.headers["transfer-encoding"]
        error = ApiError("INTERNAL_ERROR", f"Cannot handle encoding: {encoding}")
        raise refuse(connection, "404 Not Found", error, version="1.0")
    form = query.get("format", "raw")
    take = _IMPORTS.get(form.lower())
    if take is None or (new_in is not None and take is not import_raw):
        raise refuse(connection, "404 Not Found", ApiError("INTERNAL_ERROR", f"Unknown format {form}"), version="1.0")
    if take is import_raw and "chunked" in query:
        take = import_chunked
    length = request.content_length or 0
    accept(ctx, connection, ["content-type: application/octet-stream"])
    cut_on_cancel(ctx, connection)
    connection.socket.settimeout(TRANSFER_SECONDS)
    body = Body(connection.socket, connection.take_buffered()[:length], length, ctx.task)
    try:
        target = _receive(ctx, take, body, vdi, new_in)
    except ApiError as error:
        if not ctx.task.cancelled.is_set():
            tell(connection, body, _BAD_REQUEST + late_error(error))
        raise
    ctx.task.result = encode_fragment(target)


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
        raise unresolved(ctx, ApiError("INTERNAL_ERROR", missing), missing)
    vdi = resolve(ctx, "VDI", query["vdi"])
    row = ctx.store.get("VDI", vdi)
    go_elsewhere(ctx, request, connection, row["SR"])
    form = query.get("format", "raw")
    content_type = _EXPORTS.get(form.lower())
    if content_type is None:
        raise refuse(connection, "404 Not Found", ApiError("INTERNAL_ERROR", f"Unknown format {form}"), version="1.0")
    name = f"{row['uuid']}.{form.lower()}"
    accept(
        ctx,
        connection,
        [f"content-type: {content_type}", f'content-disposition: attachment; filename="{name}"'],
    )
    cut_on_cancel(ctx, connection)
    try:
        _send(ctx, connection, vdi, form.lower(), query.get("base"))
    except _UnknownBase as error:
        connection.write(late_error(error, missing_uuid("VDI", query["base"])))
        raise
    except ApiError as error:
        if not ctx.task.cancelled.is_set():
            connection.write(late_error(error))
        raise


class _UnknownBase(ApiError):
    """The VDI that an export is to be compared with is not there."""


def _send(ctx: Context, connection: HttpConnection, vdi: str, form: str, base_name: str | None) -> None:
    storage: Storage = ctx.pool.storage
    base = None
    if base_name is not None:
        base = find(ctx, "VDI", base_name)
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
