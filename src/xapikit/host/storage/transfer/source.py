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
"""The body of an upload, read in large pieces."""

from __future__ import annotations

import socket
from collections.abc import Iterator

from xapikit.host.context import TaskHandle

PIECE = 2 << 20
_REPORTS = 50
_FALSE_LENGTH = 1 << 50
"""A length beyond this is no promise: clients that do not know theirs send about a pebibyte."""


class BodyEnded(Exception):
    """The body ended in the middle of something that has a length of its own."""


class Body:
    """``length`` bytes from a connection (Content-Length), after what was read of them already.

    Reports progress on the task (unless its reader does that), and ends as soon as the task is cancelled. Raises
    OSError of a broken connection.
    """

    def __init__(
        self, connection: socket.socket, buffered: bytes, length: int, task: TaskHandle, *, reports: bool = True
    ) -> None:
        self._socket = connection
        self._buffered = memoryview(buffered)[:length]
        self._task = task
        self.length = length
        self.left = length
        self._step = max(length // _REPORTS, PIECE) if reports and length < _FALSE_LENGTH else 0
        self._next_report = self._step

    @property
    def promised(self) -> int | None:
        """The length, None when it is obviously made up."""
        return self.length if self.length < _FALSE_LENGTH else None

    def readinto(self, view: memoryview) -> int:
        """Fill ``view``; fewer bytes only at the end of the body or of what the client sends."""
        done = 0
        want = min(len(view), self.left)
        while done < want:
            if self._buffered:
                count = min(len(self._buffered), want - done)
                view[done : done + count] = self._buffered[:count]
                self._buffered = self._buffered[count:]
            else:
                count = self._socket.recv_into(view[done:want])
                self._task.raise_if_cancelled()
                if count == 0:
                    self.left = 0
                    return done
            done += count
            self.left -= count
        self._report()
        return done

    def _report(self) -> None:
        received = self.length - self.left
        if self._step and received >= self._next_report:
            self._next_report = received + self._step
            self._task.set_progress(min(0.99, received / self.length))

    def exactly(self, length: int) -> bytes:
        """``length`` bytes. Raises BodyEnded."""
        data = bytearray(length)
        if self.readinto(memoryview(data)) < length:
            raise BodyEnded
        return bytes(data)

    def pieces(self) -> Iterator[memoryview]:
        """The whole body; a piece is valid until the next one is asked for."""
        view = memoryview(bytearray(PIECE))
        while True:
            count = self.readinto(view)
            if count:
                yield view[:count]
            if count < len(view):
                return

    def drain(self, limit: int) -> None:
        """Take what the client still sends, up to ``limit`` bytes, so that it reads the answer before a reset."""
        view = memoryview(bytearray(PIECE))
        while limit > 0 and self.left:
            count = self.readinto(view[: min(limit, PIECE)])
            if not count:
                return
            limit -= count
