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
"""The NBD servers of a pool's hosts: they listen from when a network of the pool has the purpose for the first time."""

from __future__ import annotations

import contextlib
import errno
import logging
import socket
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from xapikit.host.errors import ApiError
from xapikit.host.nbd.access import INSECURE, Export, addresses, forget_readers
from xapikit.host.server.listener import bind
from xapikit.host.storage.nbd import Counters, ProtocolError, Session

if TYPE_CHECKING:
    from xapikit.host.pool import Pool
    from xapikit.host.server.certificate import ServerCertificate

LOG = logging.getLogger(__name__)

MAX_CONNECTIONS = 128
"""Of one host; further ones are turned away."""
HANDSHAKE_SECONDS = 30.0
IDLE_SECONDS = 24 * 3600.0
"""A client that says nothing for so long is gone, as its session is."""


class Nbd:
    """All of them. A :class:`xapikit.host.pool.Part`.

    The setting ``nbd_port`` is the port, 10809 on real hosts; without it the one that was free at first.
    """

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._file = pool.state / "run" / "nbd-port"
        self._lock = threading.Lock()
        self._listening: dict[str, socket.socket] = {}
        self._sessions: dict[Session, str] = {}
        """Each with the host that serves it."""
        self._certificate: ServerCertificate | None = None
        self._watch = pool.store.watch(("network", "PIF", "host"))
        self._thread: threading.Thread | None = None
        self._stopped = False
        # before storage gives the disks of attached VBDs their locks back
        forget_readers(pool)

    # life --------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        self._thread = threading.Thread(target=self._follow, name="nbd-networks", daemon=True)
        self._thread.start()

    def stop(self, *, stop_guests: bool) -> None:
        """Turn all clients away."""
        with self._lock:
            self._stopped = True
            hosts = list(self._listening)
        self._watch.wake()
        for host in hosts:
            self.cut(host)
        if self._thread is not None:
            self._thread.join()

    def cut(self, host: str) -> None:
        """A host goes off, or out of the pool: nobody listens there any more, and its clients are cut."""
        with self._lock:
            listening = self._listening.pop(host, None)
            sessions = [session for session, served in self._sessions.items() if served == host]
        if listening is not None:
            with contextlib.suppress(OSError):  # wakes accept(); not every system allows it
                listening.shutdown(socket.SHUT_RDWR)
            listening.close()
        for session in sessions:
            session.cut()

    def _follow(self) -> None:
        """Begin to listen where a network gets the purpose, and end where a host leaves the pool."""
        with self._watch:
            while not self._stopped:
                hosts = self._pool.store.all("host")
                with self._lock:
                    gone = self._listening.keys() - hosts.keys()
                for host in gone:
                    self.cut(host)
                for host in hosts:
                    if addresses(self._pool.store, host):
                        self.port(host)
                self._watch.wait(None)

    # where -------------------------------------------------------------------------------------------------------

    @property
    def certificate(self) -> ServerCertificate:
        """That of the hosts; made now when nothing needed it before."""
        from xapikit.host.server.certificate import server_certificate

        with self._lock:
            if self._certificate is None:
                known = [where.address for where in self._pool.hosts.values()]
                made = self._pool.certificate or server_certificate(self._pool.state / "server.pem", known)
                self._certificate = made
            return self._certificate

    def port(self, host: str) -> int | None:
        """The port of a host, which listens there from now on; None for one that is off or cannot."""
        with self._lock:
            listening = self._listening.get(host)
            if listening is None:
                where = self._pool.hosts.get(host)
                if self._stopped or where is None or not self._pool.machines.is_on(host):
                    return None
                try:
                    listening = self._listening[host] = self._bind(where.address)
                except OSError as error:
                    LOG.error("no NBD on the host at %s: %s", where.address, error)
                    return None
                threading.Thread(target=self._accept, args=(listening, host), name="nbd-accept", daemon=True).start()
            return int(listening.getsockname()[1])

    def _bind(self, address: str) -> socket.socket:
        wanted = int(self._pool.settings.options.get("nbd_port") or 0)
        if wanted:
            return bind(address, wanted).socket
        try:
            made = bind(address, _noted(self._file))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            made = bind(address, 0)
        _note(self._file, made.port)
        return made.socket

    # clients -----------------------------------------------------------------------------------------------------

    def _accept(self, listening: socket.socket, host: str) -> None:
        while not self._stopped:
            try:
                accepted, peer = listening.accept()
            except OSError as error:
                if self._stopped or listening.fileno() < 0 or error.errno in (errno.EBADF, errno.EINVAL):
                    return
                LOG.warning("accept failed: %s", error)
                continue
            thread = threading.Thread(
                target=self._connection, args=(accepted, host, peer[0]), name="nbd-client", daemon=True
            )
            try:
                thread.start()
            except RuntimeError as error:  # no more threads: drop this one, the server lives on
                LOG.error("cannot serve an NBD client: %s", error)
                accepted.close()

    def _connection(self, accepted: socket.socket, host: str, peer: str) -> None:
        try:
            purpose = addresses(self._pool.store, host).get(accepted.getsockname()[0])
        except OSError:  # it is gone already
            purpose = None
        if purpose is None or not self._pool.machines.is_on(host):
            LOG.info("NBD client %s turned away: its network is not for NBD", peer)
            accepted.close()
            return
        export = Export(self._pool, host)
        tls = None if purpose == INSECURE else self.certificate.context()
        session = Session(accepted, export.open, read_only=True, counters=Counters(), tls=tls, listed=False)
        with contextlib.ExitStack() as end:
            end.callback(export.close)
            end.callback(session.close)
            with self._lock:
                if self._stopped or len(self._sessions) >= MAX_CONNECTIONS:
                    return
                self._sessions[session] = host
            end.callback(self._leave, session)
            try:
                self._serve(session, export)
            except (ProtocolError, ApiError, OSError) as error:
                LOG.info("NBD client %s: %s", peer, error)
            except Exception:
                LOG.exception("an NBD client was not served")

    def _leave(self, session: Session) -> None:
        with self._lock:
            self._sessions.pop(session, None)

    def _serve(self, session: Session, export: Export) -> None:
        connection = session.socket
        connection.settimeout(HANDSHAKE_SECONDS)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if session.handshake():
            session.socket.settimeout(IDLE_SECONDS)
            with self._pool.sessions.wakes(export.session, session.cut):
                self._pool.sessions.check(export.session)  # it may have ended before anybody was to be woken
                session.transmit()


def _noted(path: Path) -> int:
    try:
        return int(path.read_text())
    except (FileNotFoundError, ValueError):
        return 0


def _note(path: Path, port: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(str(port))
