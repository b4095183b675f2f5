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
"""What handlers of transfers share: looking up arguments, refusals, redirects, the early 200, late errors."""

from __future__ import annotations

import socket

from xapikit.host.context import Context
from xapikit.host.errors import ApiError
from xapikit.host.server.http import ConnectionClosed, HttpConnection, HttpError, HttpRequest, internal_error
from xapikit.host.storage.transfer.source import Body

DRAIN_BYTES = 64 << 20
"""How much a client that does not read may still send before its connection is cut."""
PLAIN = [("Connection", "close"), ("Cache-Control", "no-cache, no-store")]


def find(ctx: Context, class_name: str, name: str) -> str | None:
    """An object by reference or uuid."""
    return name if ctx.store.peek(class_name, name) is not None else ctx.store.by_uuid(class_name, name)


def unresolved(ctx: Context, error: ApiError, detail: str) -> HttpError:
    """Arguments are looked up by the permission check, so that is what fails."""
    failure = internal_error(detail)
    text = f"{error.code}: [ {'; '.join(error.params)} ]"
    failure.cause = ApiError("RBAC_PERMISSION_DENIED", ctx.method, text)
    return failure


def missing_uuid(class_name: str, name: str) -> str:
    return f'Db_exn.Read_missing_uuid("{class_name}", "", "{name}")'


def resolve(ctx: Context, class_name: str, name: str) -> str:
    ref = find(ctx, class_name, name)
    if ref is None:
        raise unresolved(ctx, ApiError("UUID_INVALID", class_name, name), missing_uuid(class_name, name))
    return ref


def refuse(connection: HttpConnection, status: str, error: ApiError, *, version: str = "1.1") -> HttpError:
    """A bare status line; the task is told why."""
    connection.start_reply(status, PLAIN, version=version)
    return HttpError(status, "", cause=error)


def go_elsewhere(ctx: Context, request: HttpRequest, connection: HttpConnection, sr: str) -> None:
    """Redirect when only other hosts have the SR plugged: the reply has no length and the connection stays open,
    the task goes on at the other host (observed: http/redirect)."""
    hosts = ctx.pool.storage.hosts_with(sr)
    if not hosts:
        raise ApiError("SR_HAS_NO_PBDS", sr)
    if ctx.host in hosts:
        return
    raise redirect(ctx, request, connection, hosts[0])


def redirect(ctx: Context, request: HttpRequest, connection: HttpConnection, host: str) -> HttpError:
    """Send a client to another host; what is returned is to be raised."""
    where = ctx.pool.hosts[host].url(https=request.https or None)
    connection.start_reply("302 Found", [*PLAIN, ("Location", where + request.target)])
    connection.keep = not request.content_length
    return HttpError("302 Found", "", task_goes_on=True)


def accept(ctx: Context, connection: HttpConnection, lines: list[str]) -> None:
    """The early 200. The raw handlers write their task's header without a blank."""
    head = ["HTTP/1.1 200 OK", "Connection: close", "Cache-Control: no-cache, no-store", f"task-id:{ctx.task.ref}"]
    connection.replied = True
    connection.write(("\r\n".join([*head, *lines]) + "\r\n\r\n").encode("latin-1", "replace"))


def cut_on_cancel(ctx: Context, connection: HttpConnection) -> None:
    def wake() -> None:
        try:
            connection.socket.shutdown(socket.SHUT_RDWR)
        except OSError:  # gone already
            pass

    ctx.task.on_cancel(wake)


def late_error(error: ApiError, detail: str = "") -> bytes:
    """The 500 that a host appends to the body of a reply whose 200 is out."""
    text = internal_error(detail or f"{error.code}: [ {'; '.join(error.params)} ]").page
    body = f"<html><body>{text}</body></html>"
    head = (
        f"HTTP/1.1 500 Internal Error\r\ncontent-length: {len(body)}\r\ncontent-type: text/html\r\n"
        "connection: close\r\ncache-control: no-cache, no-store\r\n\r\n"
    )
    return (head + body).encode("utf-8", "replace")


def tell(connection: HttpConnection, body: Body, text: bytes) -> None:
    """Append an error to the reply, and let the client come to reading it."""
    try:
        connection.write(text)
        connection.socket.settimeout(2.0)
        body.drain(DRAIN_BYTES)
    except (ConnectionClosed, OSError, ApiError):  # it is gone, or still sends and never reads
        pass
