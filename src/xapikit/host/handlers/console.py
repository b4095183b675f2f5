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
"""``CONNECT /console`` and ``GET /console`` as WebSocket: the consoles of guests (wire reference 5.4).

Only the host where the VM runs serves them. What is behind the console is the domain's business.
"""

from __future__ import annotations

import base64
import hashlib
import socket
from typing import Final, cast

from xapikit.host.context import Context
from xapikit.host.domains.model import DomainFailed, Protocols
from xapikit.host.handlers.relay import Framing, Plain, WebSocket, relay
from xapikit.host.registry import handler
from xapikit.host.server.http import HttpConnection, HttpError, HttpRequest, internal_error
from xapikit.model import NULL_REF

_WEBSOCKET_KEY: Final = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_HEADERS: Final = [("Connection", "keep-alive"), ("Cache-Control", "no-cache, no-store")]


@handler("connect_console")
def connect_console(request: HttpRequest, connection: HttpConnection, ctx: Context) -> None:
    with _open(ctx, request) as guest:
        connection.start_reply("200 OK", _HEADERS)
        _carry(ctx, connection, guest, Plain())


@handler("connect_console_ws")
def connect_console_ws(request: HttpRequest, connection: HttpConnection, ctx: Context) -> None:
    key = request.headers.get("sec-websocket-key", "")
    if "websocket" not in request.headers.get("upgrade", "").lower() or not key:
        raise HttpError("501 Method Not Implemented", "", version="1.0")
    offered = [word.strip() for word in request.headers.get("sec-websocket-protocol", "").split(",")]
    chosen = next((name for name in ("binary", "base64") if name in offered), None)
    with _open(ctx, request) as guest:
        digest = hashlib.sha1((key + _WEBSOCKET_KEY).encode(), usedforsecurity=False).digest()
        headers = [
            ("Upgrade", "websocket"),
            ("Connection", "Upgrade"),
            ("Sec-WebSocket-Accept", base64.b64encode(digest).decode()),
        ]
        if chosen is not None:
            headers.append(("Sec-WebSocket-Protocol", chosen))
        connection.start_reply("101 Switching Protocols", headers)
        _carry(ctx, connection, guest, WebSocket(base64_text=chosen == "base64"))


def _carry(ctx: Context, connection: HttpConnection, guest: socket.socket, framing: Framing) -> None:
    def wake() -> None:
        guest.shutdown(socket.SHUT_RDWR)

    ctx.task.on_cancel(wake)
    relay(connection.socket, guest, framing, connection.take_buffered())


def _open(ctx: Context, request: HttpRequest) -> socket.socket:
    """The console that the request names. Raises HttpError 500 for what a host does not serve, 503 when it is in use
    and the pool limits consoles to one client each."""
    try:
        vm, protocol = find_console(ctx, request)
    except HttpError as error:
        error.version = "1.0"
        raise
    row = ctx.store.get("VM", vm)
    if row["resident_on"] != ctx.host:
        raise _refused("Console is not on this host")
    try:
        return cast("socket.socket", ctx.pool.domains.get(vm).open_console(protocol))
    except DomainFailed as error:
        raise _refused(str(error)) from error


def _refused(detail: str) -> HttpError:
    """500, always as HTTP/1.0 (observed: http/console)."""
    error = internal_error(detail)
    error.version = "1.0"
    return error


def find_console(ctx: Context, request: HttpRequest) -> tuple[str, Protocols]:
    """VM and protocol of ``uuid=`` or ``ref=``, each of a console or of a VM (then its rfb console). Raises HttpError
    500."""
    name = request.query.get("ref") or request.query.get("uuid")
    if not name:
        raise internal_error("Failure: Missing parameter")
    for class_name in ("console", "VM"):
        ref = name if ctx.store.peek(class_name, name) is not None else ctx.store.by_uuid(class_name, name)
        if ref is None:
            continue
        if class_name == "VM":
            return ref, "rfb"
        row = ctx.store.get("console", ref)
        if row["protocol"] in ("rfb", "vt100") and row["VM"] != NULL_REF:
            return row["VM"], row["protocol"]
    raise internal_error(f'Db_exn.Read_missing_uuid("console", "", "{name}")')
