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
"""Bytes between a client and a guest's console, both ways, in one thread: a TLS connection must not be used by two."""

from __future__ import annotations

import base64
import contextlib
import selectors
import socket
import ssl
import struct
from dataclasses import dataclass, field
from typing import Protocol

CHUNK = 65536
MOST_WAITING = 1 << 20
"""Bytes that one side may owe the other before it is not read any more."""
LARGEST_FRAME = 1 << 20


class Framing(Protocol):
    """How the stream is wrapped on the client's side."""

    def unwrap(self, data: bytes) -> bytes:
        """What the client sends to the guest. Raises ValueError for nonsense, EOFError for an orderly end."""
        ...

    def wrap(self, data: bytes) -> bytes:
        """What the guest sends, as the client gets it."""
        ...

    def answers(self) -> bytes:
        """What the framing itself has to say to the client."""
        ...


class Plain:
    """No wrapping: after the reply to CONNECT the stream is bare."""

    def unwrap(self, data: bytes) -> bytes:
        return data

    def wrap(self, data: bytes) -> bytes:
        return data

    def answers(self) -> bytes:
        return b""


class WebSocket:
    """RFC 6455, server side; ``base64`` for the sub-protocol of that name (text frames)."""

    def __init__(self, *, base64_text: bool) -> None:
        self._base64 = base64_text
        self._input = bytearray()
        self._answers = bytearray()

    def wrap(self, data: bytes) -> bytes:
        if self._base64:
            return _frame(1, base64.b64encode(data))
        return _frame(2, data)

    def answers(self) -> bytes:
        said = bytes(self._answers)
        self._answers.clear()
        return said

    def unwrap(self, data: bytes) -> bytes:
        self._input += data
        found = bytearray()
        while (frame := self._next()) is not None:
            kind, payload = frame
            if kind in (0, 1, 2):
                found += base64.b64decode(payload) if self._base64 else payload
            elif kind == 8:
                self._answers += _frame(8, payload[:2])
                raise EOFError
            elif kind == 9:
                self._answers += _frame(10, payload)
        return bytes(found)

    def _next(self) -> tuple[int, bytes] | None:
        buffer = self._input
        if len(buffer) < 2:
            return None
        length, start = buffer[1] & 127, 2
        if length == 126:
            if len(buffer) < 4:
                return None
            (length,), start = struct.unpack_from(">H", buffer, 2), 4
        elif length == 127:
            if len(buffer) < 10:
                return None
            (length,), start = struct.unpack_from(">Q", buffer, 2), 10
        if not buffer[1] & 128:
            raise ValueError("a client's frame must be masked")
        if length > LARGEST_FRAME:
            raise ValueError(f"a frame of {length} bytes")
        if len(buffer) < start + 4 + length:
            return None
        mask = bytes(buffer[start : start + 4])
        masked = bytes(buffer[start + 4 : start + 4 + length])
        payload = bytes(byte ^ mask[i % 4] for i, byte in enumerate(masked))
        kind = buffer[0] & 15
        del buffer[: start + 4 + length]
        return kind, payload


def _frame(kind: int, payload: bytes) -> bytes:
    if len(payload) < 126:
        head = struct.pack(">BB", 128 | kind, len(payload))
    elif len(payload) < 65536:
        head = struct.pack(">BBH", 128 | kind, 126, len(payload))
    else:
        head = struct.pack(">BBQ", 128 | kind, 127, len(payload))
    return head + payload


@dataclass
class _Side:
    socket: socket.socket
    waiting: bytearray = field(default_factory=bytearray)
    """What is still to be sent to it."""
    ended: bool = False
    """It sends no more."""


def relay(
    client: socket.socket, guest: socket.socket, framing: Framing, early: bytes = b"", *, to_the_end: bool = False
) -> None:
    """Carry bytes until either side ends, or with ``to_the_end`` until the guest's does: a client that has said all
    may still wait for the answer. ``early`` is what the client sent already. Closes neither socket."""
    sides = _Side(client), _Side(guest)
    client.setblocking(False)
    guest.setblocking(False)
    with selectors.DefaultSelector() as selector, contextlib.suppress(OSError, ValueError):
        for side in sides:
            selector.register(side.socket, selectors.EVENT_READ, side)
        if early:
            _from_client(early, sides, framing)
        while True:
            done = sides[1].ended or (sides[0].ended and not to_the_end)
            for side in sides:
                _send(side)
            if done and not any(side.waiting for side in sides):
                return
            for side, other in (sides, sides[::-1]):
                full = len(other.waiting) > MOST_WAITING or side.ended
                wanted = (0 if full else selectors.EVENT_READ) | (selectors.EVENT_WRITE if side.waiting else 0)
                _attend(selector, side, wanted)
            # decrypted bytes that wait inside the TLS layer make no socket readable
            ready = selector.select(0 if _pending(client) else None)
            readable = {id(key.data) for key, events in ready if events & selectors.EVENT_READ}
            if id(sides[0]) in readable or _pending(client):
                data = _receive(sides[0])
                if data:
                    _from_client(data, sides, framing)
            if id(sides[1]) in readable:
                data = _receive(sides[1])
                if data:
                    sides[0].waiting += framing.wrap(data)


def _attend(selector: selectors.BaseSelector, side: _Side, wanted: int) -> None:
    """Wait for what is wanted of a side, for nothing of one that has ended and is owed nothing."""
    known = side.socket in selector.get_map()
    if wanted and known:
        selector.modify(side.socket, wanted, side)
    elif wanted:
        selector.register(side.socket, wanted, side)
    elif known:
        selector.unregister(side.socket)


def _from_client(data: bytes, sides: tuple[_Side, _Side], framing: Framing) -> None:
    client, guest = sides
    try:
        guest.waiting += framing.unwrap(data)
    except EOFError:
        client.ended = True
    client.waiting += framing.answers()


def _pending(connection: socket.socket) -> bool:
    return isinstance(connection, ssl.SSLSocket) and connection.pending() > 0


def _receive(side: _Side) -> bytes:
    try:
        data = side.socket.recv(CHUNK)
    except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
        return b""
    side.ended = not data
    return data


def _send(side: _Side) -> None:
    if side.waiting:
        try:
            sent = side.socket.send(bytes(side.waiting[:CHUNK]))
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return
        del side.waiting[:sent]
