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
"""The text console of a domain: what the guest printed lately, and any number of clients who follow it.

A real host hands a new vt100 client the live stream only. Here a client first gets the recent output, so that a
console opened a moment after the start does not miss the boot text.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable

HISTORY_BYTES = 256 * 1024
CLIENT_SECONDS = 30.0
"""How long a client may refuse to take output before it is dropped."""


class TextConsole:
    """Output of one guest, as a ring of the last bytes with absolute offsets."""

    def __init__(self, on_input: Callable[[bytes], None], *, history: bytes = b"") -> None:
        self._on_input = on_input
        self._changed = threading.Condition()
        self._ring = bytearray(history[-HISTORY_BYTES:])
        self._end = len(self._ring)
        self._closed = False

    def write(self, data: bytes) -> None:
        """Append what the guest printed."""
        with self._changed:
            self._ring += data
            self._end += len(data)
            if len(self._ring) > 2 * HISTORY_BYTES:  # trimmed now and then, not at each byte
                del self._ring[:-HISTORY_BYTES]
            self._changed.notify_all()

    def history(self) -> bytes:
        """The recent output."""
        with self._changed:
            return bytes(self._ring[-HISTORY_BYTES:])

    def precede(self, data: bytes) -> None:
        """Put what the guest had printed elsewhere before what it prints here, which is nothing yet."""
        with self._changed:
            self._ring[:0] = data
            self._end += len(data)
            self._changed.notify_all()

    def close(self) -> None:
        """The guest is gone: clients get what is left and then the end of the stream."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def wait_for(self, text: bytes, timeout: float) -> bool:
        """Block until the recent output contains ``text``; False after ``timeout`` seconds."""
        with self._changed:
            return self._changed.wait_for(lambda: text in self._ring or self._closed, timeout) and text in self._ring

    def connect(self) -> socket.socket:
        """A new client: the recent output, then the live stream; what it sends goes to the guest."""
        ours, theirs = socket.socketpair()
        ours.settimeout(CLIENT_SECONDS)
        gone = threading.Event()
        for name, target in (("out", self._follow), ("in", self._listen)):
            threading.Thread(target=target, args=(ours, gone), name=f"vt100-{name}", daemon=True).start()
        return theirs

    def _read(self, offset: int, gone: threading.Event) -> tuple[bytes, int, bool]:
        with self._changed:
            self._changed.wait_for(lambda: self._end > offset or self._closed or gone.is_set())
            start = max(offset, self._end - len(self._ring))
            behind = self._end - start
            return bytes(self._ring[len(self._ring) - behind :]), self._end, self._closed

    def _follow(self, client: socket.socket, gone: threading.Event) -> None:
        offset = 0
        with contextlib.suppress(OSError):  # a client that went away
            while not gone.is_set():
                data, offset, closed = self._read(offset, gone)
                if data:
                    client.sendall(data)
                elif closed:
                    client.shutdown(socket.SHUT_WR)
                    return

    def _listen(self, client: socket.socket, gone: threading.Event) -> None:
        reader = client.dup()  # its own time-out: a client may be silent for hours
        reader.settimeout(None)
        with reader, contextlib.suppress(OSError):
            while data := reader.recv(4096):
                self._on_input(data)
        with contextlib.suppress(OSError):
            client.shutdown(socket.SHUT_RDWR)
        gone.set()
        with self._changed:
            self._changed.notify_all()
        client.close()
