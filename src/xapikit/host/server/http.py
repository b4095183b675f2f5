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
"""HTTP/1.0 and 1.1 as a host speaks it: reading one request, writing one reply, raw access for transfers.

Limits and texts follow wire reference 1.1 and 1.2. Listening and threads are :mod:`xapikit.host.server.listener`,
who serves what is :mod:`xapikit.host.server.router`.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import cast
from urllib.parse import unquote_plus
from xml.sax.saxutils import escape

from xapikit.host.errors import ApiError
from xapikit.host.server.frayed import Frayed

MAX_HEAD_BYTES = 1024
READ_SECONDS = 10.0
"""How long one read of a header may take."""
HEAD_SECONDS = 60.0
"""How long the header of the first request of a connection may take."""
IDLE_SECONDS = 3600.0
"""How long a kept connection may stay silent."""
TRANSFER_SECONDS = 300.0
"""How long one read or write of a body may be stuck."""
CHUNK_BYTES = 1 << 18

SORRY = (
    "An unexpected error occurred; please wait a while and try again."
    " If the problem persists, please contact your support representative."
)


class HttpError(Exception):
    """A request that is answered by a status and a page, after which the connection closes.

    ``cause`` is what the task of a transfer fails with (a host often tells it more than the HTTP client);
    ``task_goes_on`` leaves the task pending, for a redirect or a refused log-in.
    """

    def __init__(
        self,
        status: str,
        page: str,
        headers: Iterable[tuple[str, str]] = (),
        *,
        cause: ApiError | None = None,
        task_goes_on: bool = False,
        version: str = "",
    ) -> None:
        super().__init__(status)
        self.status = status
        self.page = page
        self.headers = list(headers)
        self.cause = cause
        self.task_goes_on = task_goes_on
        self.version = version
        """HTTP version of the status line, where it is not that of the request."""


def internal_error(detail: str) -> HttpError:
    """500 with the page of a host, which ends with ``detail``."""
    quoted = escape(detail, {'"': "&quot;", "'": "&apos;"})
    page = f"<h1>HTTP 500 internal server error</h1>{SORRY}<h1> Additional information </h1>{quoted}"
    return HttpError("500 Internal Error", page)


def bad_request(detail: str = "") -> HttpError:
    page = f"<h1>HTTP 400 bad request</h1>The HTTP request was malformed. {escape(detail)}"
    return HttpError("400 Bad Request", page)


def forbidden() -> HttpError:
    page = "<h1>HTTP 403 forbidden</h1>Access to the requested resource is forbidden."
    return HttpError("403 Forbidden", page)


def not_found(detail: str = "") -> HttpError:
    return HttpError("404 Not Found", f"<h1>404 Not Found</h1>{escape(detail)}")


def not_supported(method: str) -> HttpError:
    page = f"<h1>HTTP 501 Method Not Implemented</h1><p>Unknown {escape(method)} not supported.<br /></p>"
    return HttpError("501 Method not implemented", page)


def unauthorised(realm: str) -> HttpError:
    page = "<h1>HTTP 401 unauthorised</h1>Please check your credentials and retry."
    return HttpError("401 Unauthorised", page, [("WWW-Authenticate", f'Basic realm="{realm}"')])


class ConnectionClosed(Exception):
    """The peer went away, or took too long, in the middle of something."""


@dataclass(frozen=True)
class HttpRequest:
    """A request whose header was read; its body, if any, is still in the connection."""

    method: str
    target: str = field(repr=False)  # a query may carry a session
    version: str
    """``"1.0"`` or ``"1.1"``."""
    headers: Mapping[str, str] = field(repr=False)
    """Names in lower case."""
    https: bool = False
    client_address: str = ""

    @property
    def path(self) -> str:
        """The undecoded path, without the query."""
        return self.target.partition("?")[0]

    @property
    def query(self) -> Mapping[str, str]:
        """Decoded query arguments, the first of each name."""
        found: dict[str, str] = {}
        for name, value in self.arguments():
            found.setdefault(name, value)
        return found

    def arguments(self) -> list[tuple[str, str]]:
        """All query arguments in order: repeated names stay apart, commas mean nothing."""
        words = self.target.partition("?")[2].split("&")
        pairs = (word.partition("=") for word in words if word)
        return [(unquote_plus(name), unquote_plus(value)) for name, _, value in pairs]

    @property
    def cookies(self) -> Mapping[str, str]:
        pairs = (word.strip().partition("=") for word in self.headers.get("cookie", "").split(";"))
        return {name: unquote_plus(value) for name, equals, value in pairs if equals}

    def argument(self, name: str) -> str | None:
        """An argument of a handler: the cookie of that name, else the query's."""
        value = self.cookies.get(name)
        return value if value is not None else self.query.get(name)

    @property
    def keep_alive(self) -> bool:
        words = self.headers.get("connection", "").lower()
        return "close" not in words if self.version == "1.1" else "keep-alive" in words

    @property
    def content_length(self) -> int | None:
        """None when absent. Raises HttpError for nonsense."""
        text = self.headers.get("content-length")
        if text is None:
            return None
        if not text.isascii() or not text.isdigit() or len(text) > 19:
            raise bad_request("content-length")
        return int(text)


class HttpConnection:
    """One connection: buffered reading, whole writes. Not thread-safe; a relay may take the bare ``socket``."""

    def __init__(
        self, connection: socket.socket, *, https: bool = False, client_address: str = "", host: str = ""
    ) -> None:
        self.socket = connection
        self.https = https
        self.client_address = client_address
        self.host = host
        """Reference of the host that is addressed."""
        self.replied = False
        """A status line went out: from now on only the body, and the task, can tell what happened."""
        self.keep = False
        """Set by a handler whose reply is complete (it had a length): the connection may carry another request."""
        self._buffer = bytearray()
        self._first = True

    # reading -----------------------------------------------------------------------------------------------------

    def read_request(self) -> HttpRequest | None:
        """The next request; None when the peer closed between requests. Raises HttpError, ConnectionClosed."""
        started = time.monotonic()
        end = self._buffer.find(b"\r\n\r\n")
        while end < 0:
            if len(self._buffer) > MAX_HEAD_BYTES:
                raise _too_large()
            fresh = not self._buffer
            try:
                self.socket.settimeout(IDLE_SECONDS if fresh and not self._first else READ_SECONDS)
                data = self.socket.recv(CHUNK_BYTES)
            except TimeoutError:
                if fresh and not self._first:
                    return None
                raise HttpError("408 Request Timeout", "<h1>HTTP 408 request timeout</h1>") from None
            except OSError as error:
                raise ConnectionClosed(str(error)) from error
            if not data:
                if fresh:
                    return None
                raise ConnectionClosed("end of input inside a header")
            if time.monotonic() - started > HEAD_SECONDS and self._first:
                raise HttpError("408 Request Timeout", "<h1>HTTP 408 request timeout</h1>")
            # the end may straddle two reads
            searched = max(0, len(self._buffer) - 3)
            self._buffer += data
            end = self._buffer.find(b"\r\n\r\n", searched)
        if end + 4 > MAX_HEAD_BYTES:
            raise _too_large()
        head = bytes(self._buffer[:end])
        del self._buffer[: end + 4]
        self._first = self.replied = self.keep = False
        return _parse(head, self.https, self.client_address)

    def recv(self, size: int = CHUNK_BYTES) -> bytes:
        """Some bytes of a body, at most ``size``; empty at the end of input. Raises ConnectionClosed."""
        if self._buffer:
            data = bytes(self._buffer[:size])
            del self._buffer[: len(data)]
            return data
        try:
            self.socket.settimeout(TRANSFER_SECONDS)
            return self.socket.recv(size)
        except OSError as error:
            raise ConnectionClosed(str(error)) from error

    def read(self, size: int) -> bytes:
        """Exactly ``size`` bytes, fewer only at the end of input. Raises ConnectionClosed."""
        if len(self._buffer) >= size:
            data = bytes(self._buffer[:size])
            del self._buffer[:size]
            return data
        parts: list[bytes] = []
        while size > 0:
            part = self.recv(min(size, CHUNK_BYTES))
            if not part:
                break
            parts.append(part)
            size -= len(part)
        return b"".join(parts)

    def take_buffered(self) -> bytes:
        """What was read too far, for whoever goes on with the bare socket."""
        data = bytes(self._buffer)
        self._buffer.clear()
        return data

    # writing -----------------------------------------------------------------------------------------------------

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send all of it. Raises ConnectionClosed."""
        try:
            self.socket.settimeout(TRANSFER_SECONDS)
            self.socket.sendall(data)
        except OSError as error:
            raise ConnectionClosed(str(error)) from error

    def start_reply(
        self, status: str, headers: Iterable[tuple[str, str]], *, version: str = "1.1", colon: str = ": "
    ) -> None:
        """Send the status line (``"200 OK"``) and headers; the body follows by :meth:`write`."""
        lines = [f"HTTP/{version} {status}", *(f"{name}{colon}{value}" for name, value in headers)]
        self.replied = True
        self.write(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", "replace"))

    def reply(
        self, status: str, headers: Iterable[tuple[str, str]], body: bytes = b"", *, version: str = "1.1"
    ) -> None:
        """Send a whole reply in one write; ``content-length`` comes first."""
        lines = [f"HTTP/{version} {status}", f"content-length: {len(body)}", *(f"{n}: {v}" for n, v in headers)]
        self.replied = True
        self.write(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", "replace") + body)

    def reply_error(self, error: HttpError, *, version: str = "1.1") -> None:
        """Send the page of an error; the caller closes."""
        headers = [("connection", "close"), ("cache-control", "no-cache, no-store")]
        if not error.page or not error.page.startswith("<"):  # some handlers answer plain words, or nothing
            self.reply(error.status, [*headers, *error.headers], error.page.encode(), version=version)
            return
        body = f"<html><body>{error.page}</body></html>".encode("utf-8", "replace")
        headers.append(("content-type", "text/html"))
        self.reply(error.status, [*headers, *error.headers], body, version=error.version or version)

    def close(self) -> None:
        try:
            self.socket.shutdown(socket.SHUT_RDWR)
        except OSError:  # the peer was faster
            pass
        self.socket.close()

    def cut_after(self, size: int) -> None:
        """Break the connection when so many more bytes went over it, in either direction."""
        self.socket = cast(socket.socket, Frayed(self.socket, max(0, size - len(self._buffer))))

    def cut(self) -> None:
        """Break the connection so that the peer sees a reset, not an orderly end."""
        try:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        except OSError:  # already gone
            pass
        self.socket.close()


def _too_large() -> HttpError:
    return HttpError("431 Request Header Fields Too Large", "<h1>HTTP 431 request header fields too large</h1>")


def _parse(head: bytes, https: bool, client_address: str) -> HttpRequest:
    lines = head.decode("latin-1").split("\r\n")
    words = lines[0].split(" ")
    if len(words) != 3 or not words[2].startswith("HTTP/") or not words[0] or not words[1]:
        raise bad_request()
    headers: dict[str, str] = {}
    for line in lines[1:]:
        name, colon, value = line.partition(":")
        if not colon or not name or name[-1:].isspace() or name[:1].isspace():
            raise bad_request()
        headers[name.lower()] = value.strip()
    version = "1.0" if words[2] == "HTTP/1.0" else "1.1"
    target = words[1]
    if target.startswith(("http://", "https://")):  # absolute form, as proxies send it
        target = "/" + target.split("/", 3)[3] if target.count("/") > 2 else "/"
    return HttpRequest(words[0], target, version, headers, https, client_address)
