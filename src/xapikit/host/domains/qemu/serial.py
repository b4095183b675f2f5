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
"""The serial line of a guest: its output is kept also while nobody listens.

QEMU appends all output to a log file by itself. The server follows the line through the socket and keeps the recent
part in memory; after a restart it takes the history from the log.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import threading
from pathlib import Path

from xapikit.host.domains.textconsole import HISTORY_BYTES, TextConsole

LOG = logging.getLogger(__name__)

LOG_LIMIT = 4 * 2**20
"""Bytes after which the log starts again; what was in it goes on in the older file."""
CONNECT_SECONDS = 10.0


class SerialLine:
    """Joins the serial socket of a guest and its text console. The guest must stand still while this is made."""

    def __init__(self, path: Path, log: Path) -> None:
        self._log = log
        self._older = log.with_name(log.name + ".1")
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._socket.settimeout(CONNECT_SECONDS)
            self._socket.connect(str(path))
        except OSError:
            self._socket.close()
            raise
        self._socket.settimeout(None)
        self.console = TextConsole(self._send, history=self._history())
        self._thread = threading.Thread(target=self._follow, name="serial", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop following; the guest goes on and its log too."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def precede(self, printed: bytes) -> None:
        """Take over what the guest printed in another process; here it has printed nothing yet."""
        self.console.precede(printed)
        with self._log.open("ab") as log:  # QEMU appends, too
            log.write(printed)

    def drain(self, seconds: float) -> None:
        """Wait until the end of the output of a guest that has ended is in the console."""
        self._thread.join(seconds)

    def _history(self) -> bytes:
        history = b""
        for file in (self._older, self._log):
            with contextlib.suppress(FileNotFoundError), file.open("rb") as stream:
                stream.seek(max(0, file.stat().st_size - HISTORY_BYTES))
                history += stream.read()
        return history[-HISTORY_BYTES:]

    def _send(self, data: bytes) -> None:
        with contextlib.suppress(OSError):  # the guest is gone: its end is reported elsewhere
            self._socket.sendall(data)

    def _follow(self) -> None:
        with contextlib.suppress(OSError):
            while data := self._socket.recv(65536):
                self.console.write(data)
                self._bound_log()
        self.console.close()

    def _bound_log(self) -> None:
        try:
            if self._log.stat().st_size > LOG_LIMIT:
                self._older.write_bytes(self.console.history())
                os.truncate(self._log, 0)  # QEMU appends, so it goes on at the new end
        except OSError as error:
            LOG.warning("the serial log %s cannot be shortened: %s", self._log, error)
