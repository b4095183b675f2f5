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
"""A connection that is to break in the middle of a transfer."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from typing import Any


class Frayed:
    """A socket through which only so many more bytes pass, in both directions together; then it breaks.

    What passed reaches the peer, which then sees the end of the stream. Everything else is the socket's.
    """

    def __init__(self, connection: socket.socket, size: int) -> None:
        self._socket = connection
        self._left = size

    def recv(self, size: int, flags: int = 0) -> bytes:
        data = self._socket.recv(self._room(size), flags)
        self._left -= len(data)
        return data

    def recv_into(self, buffer: Any, size: int = 0, flags: int = 0) -> int:
        view = memoryview(buffer).cast("B")
        count = self._socket.recv_into(view, self._room(size or len(view)), flags)
        self._left -= count
        return count

    def send(self, data: Any, flags: int = 0) -> int:
        view = memoryview(data).cast("B")
        count = self._socket.send(view[: self._room(len(view))], flags)
        self._left -= count
        return count

    def sendall(self, data: Any, flags: int = 0) -> None:
        view = memoryview(data).cast("B")
        part = view[: self._left]
        self._socket.sendall(part, flags)
        self._left -= len(part)
        if len(part) < len(view):
            self._break()

    def sendfile(self, file: Any, offset: int = 0, count: int | None = None) -> int:
        file.seek(offset)
        sent = 0
        while data := file.read(min(1 << 16, count - sent) if count is not None else 1 << 16):
            self.sendall(data)
            sent += len(data)
        return sent

    def __getattr__(self, name: str) -> Any:
        return getattr(self._socket, name)

    def _room(self, wanted: int) -> int:
        if self._left <= 0:
            self._break()
        return min(wanted, self._left)

    def _break(self) -> None:
        with contextlib.suppress(OSError):  # the peer was faster
            self._socket.shutdown(socket.SHUT_RDWR)
        raise ConnectionResetError(errno.ECONNRESET, os.strerror(errno.ECONNRESET))
