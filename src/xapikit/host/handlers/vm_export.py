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
"""``GET /export`` and ``GET /export_metadata``: VMs as archives, with the statuses and headers of a host."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from xapikit.host import facts
from xapikit.host.context import Context
from xapikit.host.errors import ApiError
from xapikit.host.handlers.transfers import PLAIN, cut_on_cancel, late_error, redirect, unresolved
from xapikit.host.registry import handler
from xapikit.host.server.http import ConnectionClosed, HttpConnection, HttpError, HttpRequest, internal_error
from xapikit.host.xva.compression import Algorithm, compressed
from xapikit.host.xva.exporting import archive, locked, metadata, reachable_from
from xapikit.host.xva.matching import is_default_template
from xapikit.host.xva.selection import DEVICE_CLASSES, Choice

_ALGORITHMS: dict[str, Algorithm] = {"true": "gzip", "gzip": "gzip", "zstd": "zstd"}
"""Words of ``use_compression``; any other means none."""
_SERVER = f"xapi/{facts.software_version('')['xapi']}"


def _headers(ctx: Context) -> list[tuple[str, str]]:
    return [
        *PLAIN,
        ("task-id", ctx.task.ref),
        ("Server", _SERVER),
        ("content-type", "application/octet-stream"),
        ("Content-Disposition", 'attachment; filename="export.xva"'),
    ]


@handler("get_export")
def export(request: HttpRequest, connection: HttpConnection, ctx: Context) -> None:
    vm = _requested(request, ctx)
    try:
        hosts = reachable_from(ctx, vm)
    except ApiError as error:
        # closed without a reply: a host has none for this (observed with a ref of nothing)
        connection.replied = True
        raise HttpError("500 Internal Error", "", cause=error) from error
    if ctx.host not in hosts:
        raise redirect(ctx, request, connection, hosts[0])
    choice = Choice(keep_power_state=_flag(request, "preserve_power_state", default=False))
    algorithm = _ALGORITHMS.get(request.query.get("use_compression", ""))
    with contextlib.ExitStack() as stack:
        stack.enter_context(locked(ctx, [vm], "export"))
        ctx.task.set_progress(0.0)
        pieces = archive(ctx, vm, choice)
        stack.callback(pieces.close)
        if algorithm is not None:
            pieces = compressed(pieces, algorithm)
            stack.callback(pieces.close)
        first = bytes(next(pieces))
        connection.start_reply("200 OK", _headers(ctx), version="1.0")
        cut_on_cancel(ctx, connection)
        _send(ctx, connection, first, pieces)


def _send(
    ctx: Context, connection: HttpConnection, first: bytes, rest: Iterator[bytes | bytearray | memoryview]
) -> None:
    try:
        connection.write(first)
        for piece in rest:
            ctx.task.raise_if_cancelled()
            connection.write(piece)
    except ConnectionClosed:
        ctx.task.raise_if_cancelled()
        raise
    except ApiError as error:
        if not ctx.task.cancelled.is_set():
            connection.write(late_error(error))
        raise


@handler("get_export_metadata")
def export_metadata(request: HttpRequest, connection: HttpConnection, ctx: Context) -> None:
    everything = _flag(request, "all", default=False)
    choice = Choice(
        snapshots=_flag(request, "export_snapshots", default=True),
        keep_power_state=True,
        vhd_parents=_flag(request, "include_vhd_parents", default=False),
        excluded=_excluded(request),
    )
    vms = _all(ctx, dom0=_flag(request, "include_dom0", default=True)) if everything else [_requested(request, ctx)]
    with locked(ctx, vms, "metadata_export"):
        data = metadata(ctx, vms, choice)
    headers = [*_headers(ctx), ("Content-Length", str(len(data)))]
    connection.start_reply("200 OK", headers, version="1.0")
    connection.write(data)


def _all(ctx: Context, *, dom0: bool) -> list[str]:
    """Every VM but the templates that a fresh host has."""
    return [
        ref
        for ref, row in ctx.store.all("VM").items()
        if not is_default_template(row) and (dom0 or not row["is_control_domain"])
    ]


def _requested(request: HttpRequest, ctx: Context) -> str:
    """The VM of ``ref`` or ``uuid``. A ``ref`` of nothing is found out later, as on a host."""
    ref = request.query.get("ref")
    if ref is not None:
        return ref
    uuid = request.query.get("uuid")
    if uuid is None:
        raise unresolved(ctx, ApiError("INTERNAL_ERROR", "Not_found"), "Not_found")
    vm = ctx.store.by_uuid("VM", uuid)
    if vm is None:
        raise unresolved(ctx, ApiError("UUID_INVALID", "VM", uuid), f"UUID_INVALID: [ VM; {uuid} ]")
    return vm


def _flag(request: HttpRequest, name: str, *, default: bool) -> bool:
    text = request.argument(name)
    if text is None:
        return default
    if text not in ("true", "false"):
        raise internal_error('Invalid_argument("bool_of_string")')
    return text == "true"


def _excluded(request: HttpRequest) -> list[str]:
    words = [word for word in request.query.get("excluded_device_types", "").split(",") if word]
    unknown = next((word for word in words if word not in DEVICE_CLASSES), None)
    if unknown is not None:
        raise internal_error(f'Failure("Type not found: {unknown}")')
    return words
