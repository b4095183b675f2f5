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
"""The relay between Nova's noVNC proxy and the consoles of this service's VMs.

The proxy connects in plain TCP, sends a bare ``CONNECT <path>`` and demands RFB 3.8; hosts want TLS, a session and
the host where the VM runs, and may speak an older RFB. One port serves all instances: the path holds the uuid of the
instance and a secret that only this service can make, the same for each call, so that Nova's validation of a token
finds what the token was made with. No reference to a XAPI session leaves this process.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from oslo_log import log as logging

from xapikit.client import CacheEvent, XapiClient
from xapikit.client.errors import ClientError

from . import rfb
from .finder import ALIVE, FindVm, console_of
from .pump import abort, keep_alive, pump
from .secret import load_or_create

LOG = logging.getLogger(__name__)

OPENING_TIMEOUT: Final = 20.0
"""Seconds for each step until the session is open; after that it may be idle for as long as it likes."""
MAX_SESSIONS: Final = 512
_MAX_REQUEST: Final = 8192
_REQUEST: Final = re.compile(r"CONNECT /console/([0-9a-fA-F-]{1,64})/([0-9a-f]{64}) HTTP/1\.[01]")


class _Refused(Exception):
    """``status`` goes to the proxy, the reason to the log."""

    def __init__(self, status: str, reason: str) -> None:
        super().__init__(reason)
        self.status = status


@dataclass(eq=False)
class _Session:
    peer: socket.socket
    instance: str = ""
    vm: str = ""
    #: where the VM ran when the session was opened
    host: str = ""
    sockets: list[socket.socket] = field(default_factory=list)

    def abort(self) -> None:
        for sock in (self.peer, *self.sockets):
            abort(sock)


class Relay:
    """Listens from `start` to `stop`. The event cache of ``client`` must hold VM and console."""

    def __init__(self, client: XapiClient, find_vm: FindVm, *, address: str, port: int = 0, secret_file: Path) -> None:
        """``address``: where the proxy reaches this service. ``port`` 0: any. ``secret_file``: made when it is absent.

        With a fixed port tokens that Nova gave out before a restart of the service open consoles after it, too.
        """
        self._client = client
        self._find_vm = find_vm
        self._address = address
        self._wanted_port = port
        self._secret_file = secret_file
        self._secret = b""
        self._listener: socket.socket | None = None
        self._guard = threading.Lock()
        self._sessions: set[_Session] = set()
        self._stopping = threading.Event()
        self._unsubscribe: Callable[[], None] = _nothing

    def start(self) -> None:
        """Raises OSError when the address is not this machine's, the port is taken, or the secret cannot be kept."""
        self._secret = load_or_create(self._secret_file)
        family = socket.AF_INET6 if ":" in self._address else socket.AF_INET
        self._listener = socket.create_server((self._address, self._wanted_port), family=family, backlog=64)
        self._unsubscribe = self._client.cache.subscribe(self._on_change)
        threading.Thread(target=self._accept, args=(self._listener,), name="console-relay", daemon=True).start()
        LOG.info("console relay listens on %s port %d", self._address, self.port)

    def stop(self) -> None:
        """Close the port and all sessions."""
        self._stopping.set()
        self._unsubscribe()
        if self._listener is not None:
            abort(self._listener)
            self._listener.close()
        with self._guard:
            sessions = list(self._sessions)
        for session in sessions:
            session.abort()

    @property
    def host(self) -> str:
        """What Nova's proxy connects to."""
        return self._address

    @property
    def port(self) -> int:
        """Raises RuntimeError before `start`."""
        if self._listener is None:
            raise RuntimeError("the console relay was not started")
        port: int = self._listener.getsockname()[1]
        return port

    @property
    def sessions(self) -> int:
        """How many are open."""
        with self._guard:
            return len(self._sessions)

    def path(self, instance: str) -> str:
        """The ``internal_access_path`` of an instance (uuid): always the same, and known to nobody else."""
        return f"/console/{instance}/{self._tag(instance)}"

    def _tag(self, instance: str) -> str:
        return hmac.new(self._secret, instance.lower().encode(), hashlib.sha256).hexdigest()

    # -------------------------------------------------------------------------------------------- sessions

    def _accept(self, listener: socket.socket) -> None:
        while not self._stopping.is_set():
            try:
                peer, address = listener.accept()
            except OSError as error:
                if not self._stopping.is_set():
                    # out of descriptors, or a peer that was gone at once: the port must stay served
                    LOG.warning("console relay could not accept a connection: %s", error)
                    self._stopping.wait(0.5)
                continue
            session = _Session(peer)
            with self._guard:
                self._sessions.add(session)
            threading.Thread(
                target=self._serve, args=(session, str(address[0])), name="console-session", daemon=True
            ).start()

    def _serve(self, session: _Session, source: str) -> None:
        peer = session.peer
        try:
            keep_alive(peer)
            peer.settimeout(OPENING_TIMEOUT)
            try:
                target = self._open(session)
            except _Refused as refused:
                LOG.warning("console for %s refused: %s", source, refused)
                # the proxy reads up to the blank line and would wait for ever without one
                peer.sendall(f"HTTP/1.1 {refused.status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())
                return
            LOG.info("console of instance %s opened by %s", session.instance, source)
            peer.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            rfb.as_server(peer)
            pump(peer, target)
            LOG.info("console of instance %s closed", session.instance)
        except (OSError, rfb.RfbError) as error:
            LOG.info("console of instance %s ended: %s", session.instance or "?", error)
        except Exception:
            LOG.exception("console session of instance %s failed", session.instance or "?")
        finally:
            with self._guard:
                self._sessions.discard(session)
            for sock in (peer, *session.sockets):
                sock.close()

    def _open(self, session: _Session) -> socket.socket:
        """Everything that can be refused, in front of the 200: the console at the host, with its RFB opened."""
        session.instance = self._authorized(_read_request(session.peer))
        if self.sessions > MAX_SESSIONS:
            raise _Refused("503 Service Unavailable", f"{MAX_SESSIONS} sessions are open already")
        found = self._find_vm(session.instance)
        if found is None:
            raise _Refused("404 Not Found", f"instance {session.instance} has no VM here")
        vm, record = found
        console = console_of(self._client.cache, vm, "rfb")
        if console is None:
            state = record["power_state"]
            raise _Refused("503 Service Unavailable", f"instance {session.instance} has no console; it is {state}")
        try:
            target = self._client.open_console(console.location, OPENING_TIMEOUT)
        except ClientError as error:
            raise _Refused("502 Bad Gateway", f"instance {session.instance}: {error}") from error
        with self._guard:
            session.sockets.append(target)
            session.vm, session.host = vm, record["resident_on"]
        if console_of(self._client.cache, vm, "rfb") != console or self._stopping.is_set():
            # the change was told before the session could be found by it
            raise _Refused("503 Service Unavailable", f"the console of instance {session.instance} is just going away")
        target.settimeout(OPENING_TIMEOUT)
        keep_alive(target)
        try:
            rfb.as_client(target)
        except (OSError, rfb.RfbError) as error:
            raise _Refused("502 Bad Gateway", f"instance {session.instance}: {error}") from error
        return target

    def _authorized(self, request: str) -> str:
        match = _REQUEST.fullmatch(request)
        if match is None:
            raise _Refused("400 Bad Request", "not a request of Nova's proxy")
        instance, tag = match[1], match[2]
        if not hmac.compare_digest(tag, self._tag(instance)):
            raise _Refused("403 Forbidden", "wrong secret")
        return instance

    def _on_change(self, event: CacheEvent) -> None:
        if event.cls != "VM":
            return
        with self._guard:
            affected = [session for session in self._sessions if session.vm == event.ref]
        for session in affected:
            record = event.new
            if record is None or record["power_state"] not in ALIVE or record["resident_on"] != session.host:
                session.abort()


def _nothing() -> None:
    """Nothing to undo yet."""


def _read_request(peer: socket.socket) -> str:
    """The request line. Headers are read and dropped; nothing behind the blank line is touched."""
    data = b""
    while b"\r\n\r\n" not in data:
        if len(data) > _MAX_REQUEST:
            raise _Refused("431 Request Header Fields Too Large", "endless request")
        piece = peer.recv(4096)
        if not piece:
            raise _Refused("400 Bad Request", "the connection ended inside the request")
        data += piece
    head, _, rest = data.partition(b"\r\n\r\n")
    if rest:
        raise _Refused("400 Bad Request", "data in front of the answer")
    return head.split(b"\r\n")[0].decode("latin-1")
