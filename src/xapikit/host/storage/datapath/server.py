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
"""What a data-path process does: accept NBD clients, obey its control socket, end when nobody needs it."""

from __future__ import annotations

import json
import logging
import os
import selectors
import signal
import socket
import sys
import threading
from pathlib import Path
from typing import Any

from xapikit.host.storage.capacity import Capacity
from xapikit.host.storage.disks import SwitchableDisk
from xapikit.host.storage.nbd import Counters, ProtocolError, Session
from xapikit.host.storage.processes import ProcessIdentity
from xapikit.vhd import VhdError

LOG = logging.getLogger(__name__)

_CONTROL_TIMEOUT = 10.0
_MAX_COMMAND = 1 << 16


class Server:
    """One disk, any number of NBD connections, one command at a time.

    A control connection carries one JSON object per direction: ``{"do": "pause"}`` is answered with
    ``{"ok": true, ...}`` or ``{"ok": false, "error": text}``. Commands: status, pause, resume (``path``), own
    (``owner``), close.
    """

    def __init__(
        self, disk: Path, nbd: Path, control: Path, *, read_only: bool, owner: ProcessIdentity | None = None
    ) -> None:
        """Open the disk, then make the sockets. Raises VhdError and OSError."""
        self._disk = SwitchableDisk(disk.absolute(), writable=not read_only, limits=Capacity(disk.absolute().parent))
        self._read_only = read_only
        self._nbd_path, self._control_path = nbd, control
        self._nbd = _listen(nbd)
        self._control = _listen(control)
        self._counters = Counters()
        self._clients: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._selector = selectors.DefaultSelector()
        self._owner_fd: int | None = None
        self._owned = owner is not None
        self._stopping = False
        self._wake_out, self._wake_in = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._selector.register(self._wake_out, selectors.EVENT_READ, "wake")
        self._selector.register(self._nbd, selectors.EVENT_READ, "nbd")
        self._selector.register(self._control, selectors.EVENT_READ, "control")
        if owner is not None:
            self._own(owner)

    def run(self) -> None:
        """Serve until ``close``, SIGTERM, or until neither owner nor clients are left."""
        signal.set_wakeup_fd(self._wake_in)
        signal.signal(signal.SIGTERM, lambda *_: None)
        signal.signal(signal.SIGINT, lambda *_: None)
        try:
            while not self._stopping:
                # before anything is waited for: the server may have died while this process started
                if self._owned and self._owner_fd is None and not self._clients:
                    LOG.warning("neither the server nor a client is left: closing %s", self._disk.path)
                    return
                for key, _ in self._selector.select():
                    self._handle(key.data)
        finally:
            self._close()

    def _handle(self, what: str) -> None:
        if what == "nbd":
            connection, _ = self._nbd.accept()
            with self._lock:
                self._clients.add(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True, name="nbd").start()
        elif what == "control":
            self._answer()
        elif what == "owner":
            self._disown()
        else:
            woken = os.read(self._wake_out, 4096)
            if woken.strip(b"\0"):  # numbers of signals; zero is a client that went
                self._stopping = True

    # NBD clients -------------------------------------------------------------------------------------------------

    def _serve(self, connection: socket.socket) -> None:
        try:
            Session(connection, lambda _: self._disk, read_only=self._read_only, counters=self._counters).serve()
        except (ProtocolError, OSError) as error:
            if not self._stopping:
                LOG.warning("an NBD connection to %s ended: %s", self._disk.path, error)
        finally:
            with self._lock:
                self._clients.discard(connection)
            connection.close()
            try:
                os.write(self._wake_in, b"\0")
            except (BlockingIOError, OSError):  # the pipe is full of reasons to wake up, or closed at the end
                pass

    # control -----------------------------------------------------------------------------------------------------

    def _answer(self) -> None:
        connection, _ = self._control.accept()
        with connection:
            connection.settimeout(_CONTROL_TIMEOUT)
            try:
                with connection.makefile("rb") as reader:
                    command = json.loads(reader.readline(_MAX_COMMAND))
                try:
                    answer = {"ok": True, **self._obey(command)}
                except (VhdError, OSError, KeyError, TypeError, ValueError) as error:
                    answer = {"ok": False, "error": f"{type(error).__name__}: {error}"}
                connection.sendall(json.dumps(answer).encode() + b"\n")
            except (OSError, ValueError) as error:
                LOG.warning("a command could not be read or answered: %s", error)

    def _obey(self, command: dict[str, Any]) -> dict[str, Any]:
        action = command["do"]
        if action == "pause":
            self._disk.pause()
        elif action == "resume":
            path = Path(command["path"]) if command.get("path") else None
            # another file may lie in another SR, which has limits of its own
            self._disk.resume(path, limits=Capacity(path.parent) if path else None)
        elif action == "own":
            self._disown()
            self._own(ProcessIdentity.parse(command["owner"]))
        elif action == "close":
            self._stopping = True
        elif action != "status":
            raise ValueError(f"unknown command {action!r}")
        return {
            "path": str(self._disk.path),
            "read_only": self._read_only,
            "size": self._disk.size,
            "paused": self._disk.paused,
            "clients": len(self._clients),
            **vars(self._counters),
        }

    def _own(self, owner: ProcessIdentity) -> None:
        self._owned = True
        self._owner_fd = owner.open_pidfd()
        if self._owner_fd is not None:
            self._selector.register(self._owner_fd, selectors.EVENT_READ, "owner")

    def _disown(self) -> None:
        if self._owner_fd is not None:
            self._selector.unregister(self._owner_fd)
            os.close(self._owner_fd)
            self._owner_fd = None

    # end ---------------------------------------------------------------------------------------------------------

    def _close(self) -> None:
        self._stopping = True
        for path in (self._nbd_path, self._control_path):
            path.unlink(missing_ok=True)
        self._nbd.close()
        self._control.close()
        with self._lock:
            clients = list(self._clients)
        for client in clients:
            try:
                client.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        try:
            if not self._disk.paused:
                self._disk.flush()
        except OSError as error:
            print(f"the last flush of {self._disk.path} failed: {error}", file=sys.stderr)
        finally:
            self._disk.close()


def _listen(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(path))
    listener.listen(16)
    return listener
