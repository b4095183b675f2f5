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
"""What two pools say to each other while a VM moves: questions and answers, and streams of bytes, over one connection.

Everything is a frame: one byte for its kind, four bytes of length (big endian), and so many bytes. The pool that has
the VM asks, the other one answers each question once; a stream follows the question that announces it.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

from xapikit.host.errors import ApiError
from xapikit.host.storage.disks import Buffer

_MESSAGE, _PIECE, _END, _GIVEN_UP = b"j", b"p", b"e", b"x"
_LARGEST: Final = 64 << 20
"""Bytes of one frame; a description of a VM with hundreds of snapshots stays far below."""
_PIECE_BYTES: Final = 4 << 20


class ChannelLost(Exception):
    """The other pool is not there any more, or does not speak as it should."""


class Channel:
    """One end of a connection. ``read`` gives exactly so many bytes, fewer only at the end of input."""

    def __init__(
        self, read: Callable[[int], bytes], write: Callable[[Buffer], object], close: Callable[[], object]
    ) -> None:
        self._read = read
        self._write = write
        self._close = close
        self._turn = threading.RLock()

    def close(self) -> None:
        self._close()

    # asking ------------------------------------------------------------------------------------------------------

    def ask(self, do: str, pieces: Iterable[Buffer] | None = None, **members: Any) -> dict[str, Any]:
        """Ask for something, with a stream if there are ``pieces``; returns the answer.

        Raises ApiError as the other pool gave it, ChannelLost, and what the source of the pieces raises: the other
        pool is told that the stream is not complete then.
        """
        with self._turn:
            self.say({"do": do, **members})
            if pieces is not None:
                self.stream(pieces)
            return self.answer()

    def stream(self, pieces: Iterable[Buffer]) -> None:
        """Send a stream to its end."""
        try:
            for piece in pieces:
                self.piece(piece)
        except ChannelLost:
            raise
        except BaseException:
            self._send(_GIVEN_UP, b"")
            self.hear()  # it says that the stream was not complete
            raise
        self.end()

    def piece(self, data: Buffer) -> None:
        """The next bytes of a stream."""
        view = memoryview(data)
        for start in range(0, len(view), _PIECE_BYTES):
            self._send(_PIECE, view[start : start + _PIECE_BYTES])

    def end(self, *, complete: bool = True) -> None:
        """That was the stream, or it is not going on."""
        self._send(_END if complete else _GIVEN_UP, b"")

    def answer(self) -> dict[str, Any]:
        """What the other pool says to the last question. Raises ApiError as it was told."""
        found = self.hear()
        error = found.get("error")
        if error is not None:
            if not isinstance(error, list) or not error or not all(isinstance(word, str) for word in error):
                raise ChannelLost("an error is a list of texts")
            raise ApiError(*error)
        return found

    # both --------------------------------------------------------------------------------------------------------

    def say(self, message: dict[str, Any]) -> None:
        self._send(_MESSAGE, json.dumps(message).encode())

    def hear(self) -> dict[str, Any]:
        kind, data = self._frame()
        if kind != _MESSAGE:
            raise ChannelLost("a message was expected")
        try:
            found = json.loads(data)
        except (ValueError, RecursionError) as error:
            raise ChannelLost(f"not a message: {error}") from error
        if not isinstance(found, dict):
            raise ChannelLost("a message is an object")
        return found

    def pieces(self) -> Iterator[bytes]:
        """The stream that follows a question. Raises ChannelLost, and ``StreamGivenUp`` when it is not complete."""
        while True:
            kind, data = self._frame()
            if kind == _PIECE:
                yield data
            elif kind == _END:
                return
            elif kind == _GIVEN_UP:
                raise StreamGivenUp
            else:
                raise ChannelLost("a piece of a stream was expected")

    # frames ------------------------------------------------------------------------------------------------------

    def _send(self, kind: bytes, data: Buffer) -> None:
        try:
            self._write(kind + len(data).to_bytes(4, "big"))
            if len(data):
                self._write(data)
        except OSError as error:
            raise ChannelLost(str(error)) from error

    def _frame(self) -> tuple[bytes, bytes]:
        head = self._exactly(5)
        length = int.from_bytes(head[1:], "big")
        if length > _LARGEST:
            raise ChannelLost(f"a frame of {length} bytes")
        return head[:1], self._exactly(length)

    def _exactly(self, length: int) -> bytes:
        try:
            data = self._read(length) if length else b""
        except OSError as error:
            raise ChannelLost(str(error)) from error
        if len(data) < length:
            raise ChannelLost("the connection ended")
        return data


class StreamGivenUp(Exception):
    """Whoever sends a stream says that there is no more of it."""


class Incoming:
    """A stream of a channel as something to read from; what nobody wanted is taken at the end, so that the next
    question can be heard."""

    def __init__(self, channel: Channel) -> None:
        self._pieces = channel.pieces()
        self._rest = memoryview(b"")

    def read(self, size: int, /) -> bytes:
        while not len(self._rest):
            piece = next(self._pieces, None)
            if piece is None:
                return b""
            self._rest = memoryview(piece)
        data, self._rest = bytes(self._rest[:size]), self._rest[size:]
        return data

    def __iter__(self) -> Iterator[bytes]:
        return self._pieces

    def drain(self) -> None:
        """Take what is left, whatever the sender thinks of it."""
        try:
            for _ in self._pieces:
                pass
        except StreamGivenUp:
            pass
