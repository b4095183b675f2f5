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
"""Serves XenStores on Unix sockets: one thread for all hosts of a pool."""

from __future__ import annotations

import logging
import selectors
import socket
import threading
from pathlib import Path
from typing import Final

from xapikit.host.xenstore.session import PeerSession
from xapikit.host.xenstore.store import XenStore
from xapikit.host.xenstore.wire import BadMessage, take

LOG = logging.getLogger(__name__)

MOST_UNSENT: Final = 1 << 20
"""Bytes that wait for a peer; one that does not read is dropped."""
_READ: Final = 1 << 16


class _Peer:
    def __init__(self, server: XenstoreServer, connection: socket.socket, store: XenStore) -> None:
        self.connection = connection
        self.session = PeerSession(store, self.send)
        self.received = bytearray()
        self._server = server
        self._lock = threading.Lock()
        self._unsent = bytearray()
        self.broken = False

    def send(self, data: bytes) -> None:
        with self._lock:
            self._unsent += data
            self.broken |= len(self._unsent) > MOST_UNSENT
        self._server.wants_to_send(self)

    def flush(self) -> bool:
        """Send what the peer takes now; whether something is left. Raises OSError."""
        with self._lock:
            if self._unsent:
                try:
                    sent = self.connection.send(self._unsent)
                except BlockingIOError:
                    return True
                del self._unsent[:sent]
            return bool(self._unsent)


class XenstoreServer:
    """Stores are added before and after ``start``."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._lock = threading.Lock()
        self._sending: set[_Peer] = set()
        self._wake_read, self._wake_write = socket.socketpair()
        self._wake_read.setblocking(False)
        self._wake_write.setblocking(False)
        self._selector.register(self._wake_read, selectors.EVENT_READ)
        self._files: list[Path] = []
        self._new: list[tuple[socket.socket, XenStore]] = []
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="xenstore", daemon=True)

    def listen(self, path: Path, store: XenStore) -> None:
        """Serve a store on a Unix socket, open to this user only; for dom0, which may do everything."""
        path.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.setblocking(False)
        listener.bind(str(path))
        path.chmod(0o600)
        listener.listen(64)
        with self._lock:
            self._files.append(path)
            self._new.append((listener, store))
        self._wake()

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Close everything; peers see the end of their streams."""
        self._stopping = True
        self._wake()
        if self._thread.is_alive():
            self._thread.join()
        for key in list(self._selector.get_map().values()):
            if isinstance(key.data, _Peer):
                self._drop(key.data)
            elif isinstance(key.fileobj, socket.socket):
                key.fileobj.close()
        for listener, _ in self._new:
            listener.close()
        self._selector.close()
        self._wake_write.close()
        for path in self._files:
            path.unlink(missing_ok=True)

    def wants_to_send(self, peer: _Peer) -> None:
        """Called from any thread."""
        with self._lock:
            self._sending.add(peer)
        if threading.current_thread() is not self._thread:
            self._wake()

    def _wake(self) -> None:
        try:
            self._wake_write.send(b"x")
        except OSError:
            return  # it has been woken often enough, or is closed

    # in the thread -----------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._stopping:
            for key, events in self._selector.select():
                if key.fileobj is self._wake_read:
                    self._wake_read.recv(_READ)
                elif isinstance(key.data, XenStore):
                    assert isinstance(key.fileobj, socket.socket)
                    self._accept(key.fileobj, key.data)
                elif isinstance(key.data, _Peer):
                    self._serve(key.data, events)
            with self._lock:
                sending, self._sending = self._sending, set()
                new, self._new = self._new, []
            for listener, store in new:
                self._selector.register(listener, selectors.EVENT_READ, store)
            for peer in sending:
                self._flush(peer)

    def _accept(self, listener: socket.socket, store: XenStore) -> None:
        try:
            connection, _ = listener.accept()
        except OSError as error:
            LOG.warning("a connection to XenStore was not taken: %s", error)
            return
        connection.setblocking(False)
        self._selector.register(connection, selectors.EVENT_READ, _Peer(self, connection, store))

    def _serve(self, peer: _Peer, events: int) -> None:
        if events & selectors.EVENT_WRITE:
            self._flush(peer)
        if not events & selectors.EVENT_READ:
            return
        try:
            data = peer.connection.recv(_READ)
            peer.received += data
            while (message := take(peer.received)) is not None:
                peer.session.handle(message)
        except BlockingIOError:
            return
        except (OSError, BadMessage):
            data = b""
        if not data:
            self._drop(peer)

    def _flush(self, peer: _Peer) -> None:
        if peer.connection.fileno() < 0:
            return  # dropped meanwhile
        try:
            left = peer.flush()
        except OSError:
            self._drop(peer)
            return
        if peer.broken:
            LOG.warning("a peer of XenStore does not read what it is told: dropped")
            self._drop(peer)
            return
        wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if left else 0)
        if self._selector.get_key(peer.connection).events != wanted:
            self._selector.modify(peer.connection, wanted, peer)

    def _drop(self, peer: _Peer) -> None:
        if peer.connection.fileno() >= 0:
            self._selector.unregister(peer.connection)
            peer.connection.close()
        peer.session.close()
