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
"""``VM.import``: the host itself fetches an archive from a URL (http or https) and imports it."""

from __future__ import annotations

import contextlib
import http.client
import socket
import ssl
from collections.abc import Iterator
from typing import Final
from urllib.parse import urljoin, urlsplit

from xapikit.host.context import Context
from xapikit.host.errors import ApiError
from xapikit.host.registry import implements
from xapikit.host.xva.importing import import_archive
from xapikit.host.xva.reading import import_errors
from xapikit.host.xva.rows import Options

_MOST_REDIRECTS: Final = 5
_SECONDS: Final = 60.0
"""How long the other side may be silent."""
_REDIRECTS: Final = (301, 302, 303, 307, 308)


@implements("VM.import")
def import_(ctx: Context, url: str, sr: str, full_restore: bool, force: bool) -> list[str]:
    ctx.store.get("SR", sr)
    with _fetched(ctx, url) as reply, import_errors():
        return import_archive(ctx, _Reply(ctx, reply), Options(sr=sr, restore=full_restore, force=force))


class _Reply:
    """The body of an answer as a source of bytes; it ends as soon as the task is cancelled."""

    def __init__(self, ctx: Context, reply: http.client.HTTPResponse) -> None:
        self._ctx = ctx
        self._reply = reply

    def readinto(self, view: memoryview) -> int:
        done = 0
        while done < len(view):
            self._ctx.task.raise_if_cancelled()
            try:
                count = self._reply.readinto(view[done:])
            except http.client.HTTPException:  # it ended in the middle
                break
            if not count:
                break
            done += count
        self._ctx.task.raise_if_cancelled()
        return done


@contextlib.contextmanager
def _fetched(ctx: Context, url: str) -> Iterator[http.client.HTTPResponse]:
    """The answer to a GET, behind redirects. Raises IMPORT_ERROR."""
    for _ in range(_MOST_REDIRECTS + 1):
        connection = _connection(url)
        try:
            parts = urlsplit(url)
            target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
            try:
                connection.request("GET", target, headers={"User-Agent": "xapi", "Accept-Encoding": "identity"})
                _cut_on_cancel(ctx, connection)
                reply = connection.getresponse()
            except (OSError, http.client.HTTPException) as error:
                ctx.task.raise_if_cancelled()
                raise ApiError("IMPORT_ERROR", f"{parts.hostname}: {error}") from error
            if reply.status == http.client.OK:
                yield reply
                return
            if reply.status not in _REDIRECTS:
                raise ApiError("IMPORT_ERROR", f"{reply.status} {reply.reason}")
            location = reply.getheader("Location")
            if location is None:
                raise ApiError("IMPORT_ERROR", "Redirect with no new location")
            url = urljoin(url, location)
        finally:
            connection.close()
    raise ApiError("IMPORT_ERROR", "Maximum redirect limit reached")


def _connection(url: str) -> http.client.HTTPConnection:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise ApiError("IMPORT_ERROR", f"not a URL: {error}") from error
    if parts.scheme not in ("http", "https") or not host:
        raise ApiError("IMPORT_ERROR", f"unsupported scheme {parts.scheme!r}: http and https are fetched")
    if parts.scheme == "http":
        return http.client.HTTPConnection(host, port, timeout=_SECONDS)
    return http.client.HTTPSConnection(host, port, timeout=_SECONDS, context=ssl.create_default_context())


def _cut_on_cancel(ctx: Context, connection: http.client.HTTPConnection) -> None:
    stream = connection.sock

    def wake() -> None:
        with contextlib.suppress(OSError):
            stream.shutdown(socket.SHUT_RDWR)

    ctx.task.on_cancel(wake)
