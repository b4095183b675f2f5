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
"""An RFB 3.8 server for one client that shows one still picture: security None, Raw encoding.

What qemu's server answers in the place of a guest's screen: versions 3.3, 3.7 and 3.8 are understood, keys and
pointer are read and forgotten.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass

from xapikit.host.domains.timed.testcard import PALETTE, Picture

HANDSHAKE_SECONDS = 30.0
MAX_TEXT = 1 << 20
"""Longest clipboard text that is read (and forgotten); a longer one ends the connection."""


@dataclass(frozen=True)
class PixelFormat:
    """How a client wants its pixels; true colour only."""

    bits: int
    depth: int
    big_endian: bool
    maxima: tuple[int, int, int]
    shifts: tuple[int, int, int]

    def pack(self) -> bytes:
        return struct.pack(">BBBBHHHBBB3x", self.bits, self.depth, self.big_endian, True, *self.maxima, *self.shifts)

    @classmethod
    def unpack(cls, data: bytes) -> PixelFormat:
        """Read the 16 bytes of SetPixelFormat. Raises ValueError for what is not true colour."""
        bits, depth, big, true_colour, r, g, b, rs, gs, bs = struct.unpack(">BBBBHHHBBB3x", data)
        if bits not in (8, 16, 32) or not true_colour or 0 in (r, g, b):
            raise ValueError(f"{bits} bits per pixel, true colour {true_colour}")
        return cls(bits, depth, bool(big), (r, g, b), (rs, gs, bs))

    def colours(self) -> tuple[bytes, ...]:
        """The palette of the picture as pixels of this format."""
        order = "big" if self.big_endian else "little"
        size, limit = self.bits // 8, (1 << self.bits) - 1
        return tuple(
            (
                sum(
                    (part * top // 255) << shift for part, top, shift in zip(rgb, self.maxima, self.shifts, strict=True)
                )
                & limit
            ).to_bytes(size, order)  # type: ignore[arg-type]
            for rgb in PALETTE
        )


DEFAULT_FORMAT = PixelFormat(32, 24, False, (255, 255, 255), (16, 8, 0))


def serve(draw: Callable[[], tuple[str, Picture]]) -> socket.socket:
    """A connected stream with an RFB server behind it; ``draw`` gives the title and the picture."""
    ours, theirs = socket.socketpair()

    def run() -> None:
        with ours, contextlib.suppress(OSError, ValueError, struct.error):
            ours.settimeout(HANDSHAKE_SECONDS)
            _Session(ours, *draw()).run()

    threading.Thread(target=run, name="rfb", daemon=True).start()
    return theirs


class _Session:
    def __init__(self, client: socket.socket, title: str, picture: Picture) -> None:
        self._client = client
        self._title = title.encode()
        self._picture = picture
        self._format = DEFAULT_FORMAT

    def run(self) -> None:
        self._client.sendall(b"RFB 003.008\n")
        minor = int(self._read(12)[8:11])
        if minor >= 7:
            self._client.sendall(b"\x01\x01")  # one security type: None
            if self._read(1) != b"\x01":
                return
            if minor >= 8:
                self._client.sendall(bytes(4))  # SecurityResult: fine
        else:
            self._client.sendall(struct.pack(">I", 1))
        self._read(1)  # ClientInit: shared or not, all clients share
        size = struct.pack(">HH", self._picture.width, self._picture.height)
        self._client.sendall(size + DEFAULT_FORMAT.pack() + struct.pack(">I", len(self._title)) + self._title)
        self._client.settimeout(None)
        while kind := self._client.recv(1):
            self._message(kind[0])

    def _message(self, kind: int) -> None:
        match kind:
            case 0:
                self._format = PixelFormat.unpack(self._read(19)[3:])
            case 2:
                (count,) = struct.unpack(">xH", self._read(3))
                self._read(4 * count)
            case 3:
                self._update(*struct.unpack(">BHHHH", self._read(9)))
            case 4:
                self._read(7)
            case 5:
                self._read(5)
            case 6:
                (length,) = struct.unpack(">3xI", self._read(7))
                if length > MAX_TEXT:
                    raise ValueError("clipboard text too long")
                self._read(length)
            case _:
                raise ValueError(f"unknown client message {kind}")

    def _update(self, incremental: int, x: int, y: int, width: int, height: int) -> None:
        width = min(width, self._picture.width - x)
        height = min(height, self._picture.height - y)
        if incremental or width <= 0 or height <= 0:
            return  # the picture stands still: there is nothing new
        head = struct.pack(">BxHHHHHi", 0, 1, x, y, width, height, 0)
        self._client.sendall(head + self._picture.encode(self._format.colours(), x, y, width, height))

    def _read(self, length: int) -> bytes:
        data = bytearray()
        while len(data) < length:
            part = self._client.recv(length - len(data))
            if not part:
                raise OSError("the client went away")
            data += part
        return bytes(data)
