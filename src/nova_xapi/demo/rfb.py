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
"""A VNC client that looks: connect, take one full picture, leave. RFB 3.8 with security type None and raw encoding.

It talks over anything that has `recv_exactly` and `send`; `WebSocketStream` is how Nova's proxy wants to be talked to.
"""

from __future__ import annotations

import socket
import struct
import time
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import parse_qs, unquote, urlsplit

from nova_xapi.demo.errors import DemoError

# a WebSocket's frame that says good-bye
CLOSE = 8
RAW = 0
DESKTOP_SIZE = -223
# 32 bits per pixel, depth 24, little endian, true colour, 8 bits each, shifts of red 0, green 8, blue 16: bytes R G B x
PIXEL_FORMAT = struct.pack(">BBBBHHHBBB3x", 32, 24, 0, 1, 255, 255, 255, 0, 8, 16)


class RfbError(DemoError):
    """The other side does not speak RFB as expected, refused, or went away."""


class Stream(Protocol):
    """Bytes both ways. Both raise OSError or RfbError when the connection is gone or times out."""

    def recv_exactly(self, count: int) -> bytes: ...

    def send(self, data: bytes) -> None: ...

    def close(self) -> None: ...


@dataclass(frozen=True)
class Picture:
    """A screen: `rgb` has 3 bytes per pixel, rows from the top."""

    width: int
    height: int
    rgb: bytes

    def colours(self) -> int:
        """How many different colours there are."""
        return len({self.rgb[at : at + 3] for at in range(0, len(self.rgb), 3)})

    def drawn(self) -> float:
        """The part of the pixels (0..1) that differ from the most frequent colour: 0 for a blank screen."""
        counts: dict[bytes, int] = {}
        for at in range(0, len(self.rgb), 3):
            pixel = self.rgb[at : at + 3]
            counts[pixel] = counts.get(pixel, 0) + 1
        total = self.width * self.height
        return 1 - max(counts.values(), default=0) / total if total else 0.0


class SocketStream:
    """A connected TCP socket, for servers that speak RFB without WebSocket."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection

    def recv_exactly(self, count: int) -> bytes:
        data = bytearray()
        while len(data) < count:
            part = self.connection.recv(count - len(data))
            if not part:
                raise RfbError(f"the server closed the connection after {len(data)} of {count} bytes")
            data += part
        return bytes(data)

    def send(self, data: bytes) -> None:
        self.connection.sendall(data)

    def close(self) -> None:
        self.connection.close()


class WebSocketStream:
    """Binary messages of a WebSocket as a stream of bytes."""

    def __init__(self, url: str, timeout: float) -> None:
        """Connect to ws://HOST:PORT/PATH. `timeout` (s) is for each read and write. Raises RfbError when refused."""
        import websocket

        self.failures = (websocket.WebSocketException, OSError)
        self.buffer = bytearray()
        self.url = redacted(url)
        try:
            self.socket = websocket.create_connection(url, timeout=timeout, subprotocols=["binary"])
        except self.failures as error:
            raise RfbError(f"no WebSocket at {self.url}: {error}") from error

    def recv_exactly(self, count: int) -> bytes:
        while len(self.buffer) < count:
            got = f"{len(self.buffer)} of {count} bytes"
            try:
                opcode, message = self.socket.recv_data()
            except self.failures as error:
                raise RfbError(f"the console proxy {self.url} failed after {got}: {error}") from error
            if opcode == CLOSE:
                raise RfbError(
                    f"the console proxy {self.url} closed after {got}: {message[2:].decode(errors='replace')}"
                )
            self.buffer += message
        data = bytes(self.buffer[:count])
        del self.buffer[:count]
        return data

    def send(self, data: bytes) -> None:
        try:
            self.socket.send_binary(data)
        except self.failures as error:
            raise RfbError(f"the console proxy {self.url} failed: {error}") from error

    def close(self) -> None:
        self.socket.close()


def redacted(url: str) -> str:
    """The URL without what opens a console."""
    return url.partition("?")[0]


def websocket_url(console_url: str) -> str:
    """The WebSocket address behind a noVNC page's URL (http://H:P/vnc_lite.html?path=%3Ftoken%3DT)."""
    parts = urlsplit(console_url)
    path = unquote(parse_qs(parts.query).get("path", [""])[0])
    if "token=" not in path:
        raise RfbError(f"the console's address {redacted(console_url)} has no token")
    scheme = "wss" if parts.scheme == "https" else "ws"
    return f"{scheme}://{parts.netloc}/{path.removeprefix('/')}"


class RfbClient:
    """One connection, from the handshake on. `name` is the desktop's."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.width = self.height = 0
        self.name = ""
        self.handshake()

    def handshake(self) -> None:
        version = self.stream.recv_exactly(12)
        if not version.startswith(b"RFB 003."):
            raise RfbError(f"this is no RFB server: it says {version!r}")
        if version < b"RFB 003.008\n":
            raise RfbError(f"the server speaks {version.decode().strip()}, wanted is RFB 003.008")
        self.stream.send(b"RFB 003.008\n")
        count = self.stream.recv_exactly(1)[0]
        if count == 0:
            raise RfbError(f"the server refused: {self.reason()}")
        kinds = self.stream.recv_exactly(count)
        if 1 not in kinds:
            raise RfbError(f"the server offers the security types {list(kinds)}, not 1 (none)")
        self.stream.send(b"\x01")
        if struct.unpack(">I", self.stream.recv_exactly(4))[0] != 0:
            raise RfbError(f"the server refused: {self.reason()}")
        # shared: others keep their connection
        self.stream.send(b"\x01")
        self.width, self.height, length = struct.unpack(">HH16xI", self.stream.recv_exactly(24))
        self.name = self.stream.recv_exactly(length).decode(errors="replace")
        self.stream.send(b"\0\0\0\0" + PIXEL_FORMAT)
        self.stream.send(struct.pack(">BxHii", 2, 2, RAW, DESKTOP_SIZE))

    def reason(self) -> str:
        (length,) = struct.unpack(">I", self.stream.recv_exactly(4))
        return self.stream.recv_exactly(min(length, 4096)).decode(errors="replace")

    def picture(self, timeout: float) -> Picture:
        """The whole screen. Raises RfbError when it has not come whole within `timeout` (s)."""
        deadline = time.monotonic() + timeout
        screen = bytearray(self.width * self.height * 3)
        missing = self.width * self.height
        self.request()
        while missing > 0:
            if time.monotonic() > deadline:
                raise RfbError(f"no whole picture within {timeout:.0f} s")
            kind = self.stream.recv_exactly(1)[0]
            if kind == 0:
                (rectangles,) = struct.unpack(">xH", self.stream.recv_exactly(3))
                for _ in range(rectangles):
                    x, y, width, height, encoding = struct.unpack(">HHHHi", self.stream.recv_exactly(12))
                    if encoding == DESKTOP_SIZE:
                        self.width, self.height = width, height
                        screen = bytearray(width * height * 3)
                        missing = width * height
                        self.request()
                    elif encoding == RAW:
                        self.place(screen, x, y, width, height)
                        missing -= width * height
                    else:
                        raise RfbError(f"the server sent encoding {encoding}, which was not asked for")
            elif kind == 1:  # colour map
                (colours,) = struct.unpack(">xHH", self.stream.recv_exactly(5))[1:]
                self.stream.recv_exactly(6 * colours)
            elif kind == 3:  # clipboard
                (length,) = struct.unpack(">3xI", self.stream.recv_exactly(7))
                self.stream.recv_exactly(length)
            elif kind != 2:  # 2 is the bell
                raise RfbError(f"the server sent message {kind}, which this client does not know")
        return Picture(self.width, self.height, bytes(screen))

    def request(self) -> None:
        self.stream.send(struct.pack(">BBHHHH", 3, 0, 0, 0, self.width, self.height))

    def place(self, screen: bytearray, x: int, y: int, width: int, height: int) -> None:
        """Put a raw rectangle into the screen, 4 bytes per pixel to 3."""
        pixels = self.stream.recv_exactly(width * height * 4)
        if x + width > self.width or y + height > self.height:
            raise RfbError(f"a rectangle {width}x{height} at {x},{y} leaves the screen {self.width}x{self.height}")
        for row in range(height):
            line = pixels[row * width * 4 : (row + 1) * width * 4]
            start = ((y + row) * self.width + x) * 3
            rgb = bytearray(width * 3)
            rgb[0::3], rgb[1::3], rgb[2::3] = line[0::4], line[1::4], line[2::4]
            screen[start : start + width * 3] = rgb


def look(console_url: str, timeout: float = 20) -> Picture:
    """One picture of a console through Nova's proxy. Raises RfbError or OSError."""
    stream = WebSocketStream(websocket_url(console_url), timeout)
    try:
        return RfbClient(stream).picture(timeout)
    finally:
        stream.close()
