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
"""One HTTP/1.1 connection to a XAPI server: a socket, what was read ahead, and what is known about its state.

Knows nothing of XenAPI. Distinguishes what provably did not reach the server (:class:`NotSent`) from what may have
(:class:`MaybeSent`): a server cannot act on a request whose last byte was never handed to the kernel.
"""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from xapikit.client.deadline import Deadline
from xapikit.client.endpoint import Endpoint
from xapikit.client.errors import CallTimedOut, HttpError, MaybeSent, NotSent
from xapikit.client.tls import TlsPolicy

USER_AGENT: Final = "nova-xapi/0.1"
CONNECT_TIMEOUT: Final = 10.0
"""Seconds for TCP and TLS together; a host that needs longer is down."""

_MAX_HEAD: Final = 65_536
_MAX_BODY: Final = 1 << 30
_TLS_READ: Final = 16_384
_FOREVER: Final = 365 * 24 * 3600.0


@dataclass(frozen=True)
class Head:
    """Status line and headers of a reply; header names in lower case, the last of equal names wins."""

    status: int
    reason: str
    headers: Mapping[str, str]
    version: str = "HTTP/1.1"

    @property
    def keep_alive(self) -> bool:
        said = self.headers.get("connection", "").lower()
        return said == "keep-alive" if self.version == "HTTP/1.0" else said != "close"


class Connection:
    """A connected (and, for https, verified) socket. Used by one thread at a time."""

    def __init__(self, endpoint: Endpoint, tls: TlsPolicy, deadline: Deadline) -> None:
        """Connects. Raises :class:`NotSent` and its subclass ``CertificateRefused``."""
        self.endpoint = endpoint
        self.last_used = time.monotonic()
        self.reusable = True
        self._ahead = b""
        self._used = False
        try:
            timeout = deadline.socket_timeout(CONNECT_TIMEOUT)
            self._socket: socket.socket = socket.create_connection((endpoint.host, endpoint.port), timeout)
            try:
                self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
                if endpoint.secure:
                    self._socket = tls.secure(self._socket, endpoint)
            except BaseException:
                self._socket.close()
                raise
        except OSError as error:
            raise NotSent(f"cannot connect: {_why(error)}", str(endpoint)) from error

    # ------------------------------------------------------------------------------------------------- life

    def close(self) -> None:
        self._socket.close()

    def abort(self) -> None:
        """Wake a thread that is blocked on this connection; it gets an error. Callable from any thread."""
        try:
            if isinstance(self._socket, ssl.SSLSocket):
                # past its own shutdown, which would take the TLS object from under the blocked thread
                super(ssl.SSLSocket, self._socket).shutdown(socket.SHUT_RDWR)
            else:
                self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # not connected any more: nobody is blocked

    def detach(self) -> socket.socket:
        """Hand the socket over; this object is done. Nothing may have been read ahead (see :meth:`read_head`)."""
        if self._ahead:
            raise RuntimeError("bytes of the stream were already read")
        return self._socket

    def usable(self) -> bool:
        """Whether the server has left an idle connection open, looked up without sending anything."""
        if not self._used:
            return True
        if self._ahead:
            return False
        # not by poll(), which a process patched by eventlet does not have
        self._socket.setblocking(False)
        try:
            if not isinstance(self._socket, ssl.SSLSocket):
                self._socket.recv(1, socket.MSG_PEEK)
            else:
                # lets TLS read what it has to say for itself (session tickets, key updates)
                self._socket.recv(1)
        except (BlockingIOError, ssl.SSLWantReadError):
            return True
        except (OSError, ValueError):
            return False
        finally:
            self._socket.setblocking(True)
        return False  # end of stream, or bytes that nobody asked for

    # -------------------------------------------------------------------------------------------- requests

    def request(self, head_and_body: bytes, deadline: Deadline) -> tuple[Head, bytes]:
        """Send a whole request, read the whole reply. Raises :class:`NotSent`, :class:`MaybeSent`, :class:`HttpError`.

        After an exception the connection is of no further use.
        """
        self.send(head_and_body, deadline)
        head = self.read_head(deadline)
        length = head.headers.get("content-length")
        if length is None:
            raise HttpError("reply without Content-Length", head.status, str(self.endpoint))
        if not length.isascii() or not length.isdigit() or int(length) > _MAX_BODY:
            raise HttpError(f"reply with Content-Length {length[:24]!r}", head.status, str(self.endpoint))
        body = self.read_exactly(int(length), deadline)
        self.reusable = head.keep_alive
        self.last_used = time.monotonic()
        return head, body

    def send(self, data: bytes, deadline: Deadline) -> None:
        """Write a whole request (or all that there is of it). Raises :class:`NotSent`."""
        self._used = True
        self.reusable = False  # until the reply was read to its end
        try:
            self._socket.settimeout(deadline.socket_timeout(_FOREVER))
            self._socket.sendall(data)
        except (OSError, ValueError) as error:  # ValueError: another thread closed the TLS socket
            raise NotSent(f"request was not written: {_why(error)}", str(self.endpoint)) from error

    def send_chunk(self, data: bytes | memoryview, timeout: float) -> None:
        """Write a piece of a stream, waiting at most ``timeout`` s for the server to take it. Raises OSError."""
        self._socket.settimeout(timeout)
        self._socket.sendall(data)

    def read_head(self, deadline: Deadline, ahead: bool = True) -> Head:
        """Read up to the blank line; with ``ahead=False`` not one byte more, for connections that become a stream."""
        data, self._ahead = self._ahead, b""
        end = data.find(b"\r\n\r\n")
        while end < 0:
            if len(data) > _MAX_HEAD:
                raise HttpError("endless headers", 0, str(self.endpoint))
            piece = self._receive(deadline, 65_536 if ahead else 1)
            if not piece:
                raise MaybeSent("connection closed before the reply", str(self.endpoint))
            seen = max(len(data) - 3, 0)
            data += piece
            end = data.find(b"\r\n\r\n", seen)
        self._ahead = data[end + 4 :]
        return self._parse(data[:end])

    def read_exactly(self, length: int, deadline: Deadline) -> bytes:
        if len(self._ahead) >= length:
            data, self._ahead = self._ahead[:length], self._ahead[length:]
            return data
        pieces, have = [self._ahead], len(self._ahead)
        self._ahead = b""
        while have < length:
            piece = self._receive(deadline, min(length - have, 1 << 20))
            if not piece:
                raise MaybeSent("connection closed inside the reply", str(self.endpoint))
            pieces.append(piece)
            have += len(piece)
        return b"".join(pieces)

    def read_some(self, size: int, timeout: float) -> bytes:
        """Next bytes of a stream, b"" at its end. Raises OSError."""
        if self._ahead:
            data, self._ahead = self._ahead[:size], self._ahead[size:]
            return data
        self._socket.settimeout(timeout)
        # a TLS record holds 16 KiB: asking for more makes and throws away large buffers
        return self._socket.recv(min(size, _TLS_READ) if isinstance(self._socket, ssl.SSLSocket) else size)

    def end_of_data(self) -> None:
        """Tell the server that nothing more will be written."""
        if not isinstance(self._socket, ssl.SSLSocket):
            self._socket.shutdown(socket.SHUT_WR)
            return
        self._socket.setblocking(False)
        try:
            self._socket.unwrap()
        except ssl.SSLWantReadError:
            pass  # said; the server says the same when it is done with the data, for which nobody waits here
        except ssl.SSLWantWriteError:
            self._socket.settimeout(CONNECT_TIMEOUT)
            self._socket.unwrap()
        finally:
            self._socket.setblocking(True)

    def _receive(self, deadline: Deadline, size: int) -> bytes:
        try:
            self._socket.settimeout(deadline.socket_timeout(_FOREVER))
            return self._socket.recv(size)
        except TimeoutError as error:
            raise CallTimedOut("no reply in time", str(self.endpoint)) from error
        except (OSError, ValueError) as error:
            raise MaybeSent(f"connection lost before the reply: {_why(error)}", str(self.endpoint)) from error

    def _parse(self, data: bytes) -> Head:
        lines = data.decode("latin-1").split("\r\n")
        version, _, rest = lines[0].partition(" ")
        status, _, reason = rest.partition(" ")
        if not version.startswith("HTTP/1.") or not status.isdigit():
            raise HttpError("the server does not speak HTTP", 0, str(self.endpoint))
        headers = {}
        for line in lines[1:]:
            name, _, value = line.partition(":")
            headers[name.strip().lower()] = value.strip()
        return Head(int(status), reason, headers, version)


def request_head(
    method: str, target: str, endpoint: Endpoint, fields: Mapping[str, str], version: str = "1.1"
) -> bytes:
    """Request line and headers. A XAPI server reads at most 1,024 bytes of them."""
    lines = [f"{method} {target} HTTP/{version}", f"Host: {endpoint.netloc}", f"User-Agent: {USER_AGENT}"]
    lines += [f"{name}: {value}" for name, value in fields.items()]
    text = "\r\n".join([*lines, "", ""])
    if any("\n" in line or "\r" in line for line in lines):
        raise ValueError("line break in a request header")
    return text.encode("latin-1", "replace")


def _why(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return "timed out"
    text = getattr(error, "strerror", None) or str(error)
    return str(text) or type(error).__name__
