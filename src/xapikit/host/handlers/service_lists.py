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
"""``/services``: which storage drivers there are, and what daemons in dom0 publish behind ``/services/plugin/NAME``.

Such a daemon listens on the Unix socket ``var/lib/xcp/plugin/NAME`` of its dom0 and speaks HTTP. The channels between
pools are :mod:`xapikit.host.handlers.services`.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
from pathlib import Path
from typing import Any, Final

from xapikit.host.context import Context
from xapikit.host.errors import ApiError
from xapikit.host.handlers.relay import Plain, relay
from xapikit.host.handlers.transfers import PLAIN, refuse
from xapikit.host.registry import handler
from xapikit.host.server.http import HttpConnection, HttpRequest
from xapikit.host.store import Row

PLUGINS: Final = "var/lib/xcp/plugin"
_MULTIPLEXER: Final = {
    "driver": "mux",
    "name": "storage multiplexor",
    "description": "forwards calls to other plugins",
    "vendor": "XCP",
    "copyright": "see the source code",
    "version": "2.0",
    "required_api_version": "2.0",
    "features": ["/services/SM"],
    "configuration": {},
    "required_cluster_stack": [],
    "supported_image_formats": [],
    "smapi_version": "SMAPIv2",
}


@handler("get_services", "get_services_sm")
def list_services(request: HttpRequest, connection: HttpConnection, ctx: Context) -> None:
    match request.path.rstrip("/").split("/"):
        case ["", "services"]:
            _say(connection, _MULTIPLEXER)
        case ["", "services", "driver"]:
            _say(connection, {"services": []})  # no driver domains
        case ["", "services", "SM"]:
            _say(connection, [_driver(row) for row in ctx.store.all("SM").values()])
        case ["", "services", "SM", name]:
            found = ctx.store.find("SM", type=name)
            if not found:
                raise _missing(connection)
            _say(connection, _driver(next(iter(found.values()))))
        case _:
            _publish(request, connection, ctx)


@handler("post_services", "put_services", "put_services_sm", "put_services_xenops")
def call_service(request: HttpRequest, connection: HttpConnection, ctx: Context) -> None:
    _publish(request, connection, ctx)


def _driver(row: Row) -> dict[str, Any]:
    kept = ("description", "vendor", "copyright", "version", "required_api_version", "configuration")
    more = ("required_cluster_stack", "supported_image_formats")
    return {
        "driver": row["type"],
        "name": row["name_label"],
        "description": row["name_description"],
        "features": list(row["features"]),
        "smapi_version": "SMAPIv1",
        **{name: row[name] for name in (*kept[1:], *more)},
    }


def _say(connection: HttpConnection, value: Any) -> None:
    connection.start_reply("200 OK", PLAIN, version="1.0")
    connection.write(json.dumps(value, separators=(",", ":")).encode())


def _missing(connection: HttpConnection) -> Exception:
    return refuse(connection, "404 Not Found", ApiError("INTERNAL_ERROR", "no such service"), version="1.0")


def _publish(request: HttpRequest, connection: HttpConnection, ctx: Context) -> None:
    """Hand a request, and the connection with it, to the daemon whose name is in the path."""
    match request.path.split("/"):
        case ["", "services", "plugin", name, *_] if name:
            directory = ctx.pool.programs.place(ctx.store.get("host", ctx.host)["uuid"]) / PLUGINS
        case _:
            raise _missing(connection)
    # a name is an entry of the directory, never a path
    entries = directory.iterdir() if directory.is_dir() else ()
    found = next((entry for entry in entries if entry.name == name and entry.is_socket()), None)
    if found is None:
        raise _missing(connection)
    try:
        daemon = _connected(found)
    except OSError:
        raise _missing(connection) from None
    with daemon:
        hidden = ("authorization", "connection")  # credentials are this host's business; one request, one connection
        kept = [f"{key}: {value}" for key, value in request.headers.items() if key not in hidden]
        head = "\r\n".join([f"{request.method} {request.target} HTTP/{request.version}", *kept, "connection: close"])
        connection.replied = True
        early = (head + "\r\n\r\n").encode("latin-1", "replace") + connection.take_buffered()
        relay(connection.socket, daemon, Plain(), early, to_the_end=True)


def _connected(path: Path) -> socket.socket:
    """A connection to a Unix socket, also below a directory whose name alone is longer than an address may be."""
    stream = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with contextlib.ExitStack() as undo:
        undo.callback(stream.close)
        directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            stream.connect(f"/proc/self/fd/{directory}/{path.name}")
        finally:
            os.close(directory)
        undo.pop_all()
    return stream
