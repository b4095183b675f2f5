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
"""Listening sockets and the threads that serve their connections: one thread each, at most so many at once."""

from __future__ import annotations

import contextlib
import errno
import logging
import socket
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass

from xapikit.host.server.http import READ_SECONDS, ConnectionClosed, HttpConnection, HttpError, HttpRequest

LOG = logging.getLogger(__name__)

MAX_CONNECTIONS = 800
"""On all sockets of one server together; further ones wait to be accepted."""
_BACKLOG = 512

Serve = Callable[[HttpRequest, HttpConnection], bool]
"""Answers one request; True when the connection may carry another."""


Take = Callable[[HttpConnection], bool]
"""Carries a whole connection to its end; False when it does not want it."""


@dataclass(frozen=True)
class Bound:
    """A socket that listens, not yet served."""

    socket: socket.socket
    tls: ssl.SSLContext | None

    @property
    def port(self) -> int:
        return int(self.socket.getsockname()[1])


def bind(address: str, port: int, tls: ssl.SSLContext | None = None) -> Bound:
    """Listen on an address (IPv4 or IPv6). Raises OSError."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((address, port))
        listening.listen(_BACKLOG)
    except OSError as error:
        listening.close()
        where = f"[{address}]:{port}" if family == socket.AF_INET6 else f"{address}:{port}"
        raise OSError(error.errno, f"cannot listen on {where}: {error.strerror}") from error
    return Bound(listening, tls)


class Listener:
    """Serves one or more bound sockets until it is closed."""

    def __init__(self) -> None:
        self._slots = threading.BoundedSemaphore(MAX_CONNECTIONS)
        self._lock = threading.Lock()
        self._sockets: list[tuple[socket.socket, str]] = []
        self._connections: set[HttpConnection] = set()
        self._broken: dict[str, set[object]] = {}
        self._closed = False

    def serve(self, bound: Bound, serve: Serve, host: str = "", take: Take | None = None) -> None:
        """Accept connections in a thread of its own and let ``serve`` answer each request to ``host``. ``take`` may
        take a whole connection upon itself."""
        with self._lock:
            self._sockets.append((bound.socket, host))
        name = f"xapi-accept-{bound.port}"
        threading.Thread(target=self._accept, args=(bound, serve, host, take), name=name, daemon=True).start()

    def adopt(self, connection: HttpConnection, serve: Serve) -> None:
        """Serve a connection that came in another way, to its end; it can be cut with those of its host."""
        with self._lock:
            if self._closed or self._broken.get(connection.host):
                return
            self._connections.add(connection)
        try:
            self._requests(connection, serve)
        except (ConnectionClosed, OSError) as error:
            LOG.debug("connection from %s ended: %s", connection.client_address, error)
        finally:
            with self._lock:
                self._connections.discard(connection)

    def close(self) -> None:
        """Stop accepting and cut every connection."""
        with self._lock:
            self._closed = True
            sockets, self._sockets = [listening for listening, _ in self._sockets], []
            connections = list(self._connections)
        _close(sockets, connections)

    def shut(self, host: str) -> None:
        """Stop accepting for one host, and cut its connections."""
        with self._lock:
            sockets = [listening for listening, served in self._sockets if served == host]
            self._sockets = [(listening, served) for listening, served in self._sockets if served != host]
            connections = [connection for connection in self._connections if connection.host == host]
        _close(sockets, connections)

    def cut_all(self) -> None:
        """Break every connection, but go on accepting."""
        with self._lock:
            connections = list(self._connections)
        for connection in connections:
            connection.close()

    def break_link(self, host: str, by: object = None) -> None:
        """Break the connections to a host, and all new ones, until everybody who did so mended it."""
        with self._lock:
            self._broken.setdefault(host, set()).add(by)
            connections = [connection for connection in self._connections if connection.host == host]
        for connection in connections:
            connection.close()

    def mend_link(self, host: str, by: object = None) -> None:
        """The reverse."""
        with self._lock:
            self._broken.get(host, set()).discard(by)

    @property
    def connections(self) -> int:
        return len(self._connections)

    def _accept(self, bound: Bound, serve: Serve, host: str, take: Take | None) -> None:
        while not self._closed:
            self._slots.acquire()
            try:
                accepted, peer = bound.socket.accept()
            except OSError as error:
                self._slots.release()
                if self._closed or bound.socket.fileno() < 0 or error.errno in (errno.EBADF, errno.EINVAL):
                    return
                LOG.warning("accept failed on port %s: %s", bound.port, error)
                continue
            thread = threading.Thread(
                target=self._connection,
                args=(accepted, peer[0], bound.tls, serve, host, take),
                name="xapi-http",
                daemon=True,
            )
            try:
                thread.start()
            except RuntimeError as error:  # no more threads: drop this one, the server lives on
                LOG.error("cannot serve a connection: %s", error)
                accepted.close()
                self._slots.release()

    def _connection(
        self,
        accepted: socket.socket,
        peer: str,
        tls: ssl.SSLContext | None,
        serve: Serve,
        host: str,
        take: Take | None,
    ) -> None:
        connection = HttpConnection(accepted, https=tls is not None, client_address=peer, host=host)
        try:
            if self._broken.get(host):
                connection.cut()
                return
            accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if tls is not None:
                accepted.settimeout(READ_SECONDS)
                connection.socket = tls.wrap_socket(accepted, server_side=True)
            with self._lock:
                shut = all(served != host for _, served in self._sockets)
                if self._closed or shut or self._broken.get(host):
                    return
                self._connections.add(connection)
            if take is None or not take(connection):
                self._requests(connection, serve)
        except (ConnectionClosed, OSError) as error:
            LOG.debug("connection from %s ended: %s", peer, error)
        except Exception:
            LOG.exception("connection from %s failed", peer)
        finally:
            with self._lock:
                self._connections.discard(connection)
            connection.close()
            self._slots.release()

    @staticmethod
    def _requests(connection: HttpConnection, serve: Serve) -> None:
        while True:
            version = "1.1"
            try:
                request = connection.read_request()
                if request is None:
                    return
                version = request.version
                if not serve(request, connection):
                    return
            except HttpError as error:
                connection.reply_error(error, version=version)
                return


def _close(sockets: list[socket.socket], connections: list[HttpConnection]) -> None:
    for listening in sockets:
        with contextlib.suppress(OSError):  # wakes accept(); not every system allows it
            listening.shutdown(socket.SHUT_RDWR)
        listening.close()
    for connection in connections:
        connection.close()
