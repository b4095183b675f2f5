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
"""A glance at a screen: an RFB client (RFC 6143, security None, Raw encoding) that takes one whole picture."""

from __future__ import annotations

import socket
import struct
import time
from dataclasses import dataclass
from typing import Final

GLANCE_SECONDS: Final = 30.0
"""How long a screen may take to show itself; a host gives its own client as long."""
_LARGEST_SIDE: Final = 16384
_LARGEST_TEXT: Final = 1 << 20
# 32 bits per pixel, little endian, 0x00RRGGBB
_FORMAT: Final = struct.pack("<BBBBHHHBBB3x", 32, 24, 0, 1, 0xFF00, 0xFF00, 0xFF00, 16, 8, 0)


class NoPicture(Exception):
    """The other side is no RFB server that shows its screen to everybody, or too slow."""


@dataclass(frozen=True)
class Screen:
    """Pixels ``0x00RRGGBB``, row after row."""

    width: int
    height: int
    pixels: memoryview


def glance(stream: socket.socket) -> Screen:
    """Take a picture. Raises NoPicture; the caller closes the stream."""
    try:
        return _Client(stream).take()
    except (OSError, struct.error, ValueError) as error:
        raise NoPicture(str(error)) from error


class _Client:
    def __init__(self, stream: socket.socket) -> None:
        self._stream = stream
        self._deadline = time.monotonic() + GLANCE_SECONDS

    def take(self) -> Screen:
        self._handshake()
        self._stream.sendall(b"\1")  # others may look, too
        width, height = struct.unpack(">HH", self._read(4))
        if not 0 < width <= _LARGEST_SIDE or not 0 < height <= _LARGEST_SIDE:
            raise NoPicture(f"a screen of {width}x{height}")
        self._read(16)
        self._read(self._length())
        self._stream.sendall(b"\0\0\0\0" + _FORMAT + struct.pack(">BxHi", 2, 1, 0))
        self._stream.sendall(struct.pack(">BBHHHH", 3, 0, 0, 0, width, height))
        picture = memoryview(bytearray(4 * width * height))
        missing = width * height
        while missing > 0:
            missing -= self._message(picture, width, height)
        return Screen(width, height, picture.cast("I"))

    def _handshake(self) -> None:
        greeting = self._read(12)
        if not greeting.startswith(b"RFB ") or not greeting[8:11].isdigit():
            raise NoPicture("no RFB server")
        minor = min(int(greeting[8:11]), 8)
        self._stream.sendall(b"RFB 003.008\n" if minor == 8 else b"RFB 003.007\n" if minor == 7 else b"RFB 003.003\n")
        if minor < 7:
            offered = [struct.unpack(">I", self._read(4))[0]]
        else:
            offered = list(self._read(self._read(1)[0]))
        if 1 not in offered:
            raise NoPicture(f"security types {offered}: the screen is not for everybody")
        if minor >= 7:
            self._stream.sendall(b"\1")
        if minor == 8 and self._read(4) != bytes(4):
            raise NoPicture("refused")

    def _message(self, picture: memoryview, width: int, height: int) -> int:
        """Read one message; how many pixels it brought."""
        kind = self._read(1)[0]
        match kind:
            case 0:
                (count,) = struct.unpack(">xH", self._read(3))
                return sum(self._rectangle(picture, width, height) for _ in range(count))
            case 1:
                _, colours = struct.unpack(">xHH", self._read(5))
                self._read(6 * colours)
            case 2:
                pass  # a bell
            case 3:
                self._read(3)
                self._read(self._length())
            case _:
                raise NoPicture(f"unknown message {kind}")
        return 0

    def _rectangle(self, picture: memoryview, width: int, height: int) -> int:
        x, y, w, h, encoding = struct.unpack(">HHHHi", self._read(12))
        if encoding or x + w > width or y + h > height:
            raise NoPicture(f"a rectangle of {w}x{h} at {x},{y} in encoding {encoding}")
        for row in range(y, y + h):
            start = 4 * (row * width + x)
            self._fill(picture[start : start + 4 * w])
        return int(w * h)

    def _length(self) -> int:
        length: int = struct.unpack(">I", self._read(4))[0]
        if length > _LARGEST_TEXT:
            raise NoPicture(f"a text of {length} bytes")
        return length

    def _read(self, length: int) -> bytes:
        data = bytearray(length)
        self._fill(memoryview(data))
        return bytes(data)

    def _fill(self, view: memoryview) -> None:
        while view:
            left = self._deadline - time.monotonic()
            if left <= 0:
                raise NoPicture(f"no picture within {GLANCE_SECONDS:g} s")
            self._stream.settimeout(left)
            count = self._stream.recv_into(view)
            if not count:
                raise NoPicture("the screen went away")
            view = view[count:]
