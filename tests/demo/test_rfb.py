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
"""The VNC client takes whole pictures from servers of its own making, and says what is wrong with others."""

import base64
import hashlib
import socket
import struct
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from nova_xapi.demo import rfb
from nova_xapi.demo.png import png

RED, BLUE = b"\xff\0\0", b"\0\0\xff"


def exactly(connection: socket.socket, count: int) -> bytes:
    return rfb.SocketStream(connection).recv_exactly(count)


@contextmanager
def server(serve: Callable[[socket.socket], None]) -> Iterator[int]:
    """A thread that serves one connection; yields its port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(20)

        def run() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.settimeout(20)
                serve(connection)

        thread = threading.Thread(target=run)
        thread.start()
        yield listener.getsockname()[1]
        thread.join(20)
        assert not thread.is_alive()


def greet(send: Callable[[bytes], None], receive: Callable[[int], bytes], width: int, height: int) -> None:
    send(b"RFB 003.008\n")
    assert receive(12) == b"RFB 003.008\n"
    send(b"\x01\x01")
    assert receive(1) == b"\x01"
    send(b"\0\0\0\0")
    assert receive(1) == b"\x01", "a shared connection"
    send(struct.pack(">HH16sI", width, height, rfb.PIXEL_FORMAT, 5) + b"guest")
    assert receive(20)[0] == 0
    assert receive(12)[0] == 2


def raw(x: int, y: int, width: int, height: int, pixel: bytes) -> bytes:
    return struct.pack(">HHHHi", x, y, width, height, rfb.RAW) + (pixel + b"\0") * (width * height)


def client(port: int) -> rfb.RfbClient:
    return rfb.RfbClient(rfb.SocketStream(socket.create_connection(("127.0.0.1", port), timeout=20)))


def test_a_picture_is_put_together_from_its_rectangles() -> None:
    def serve(connection: socket.socket) -> None:
        greet(connection.sendall, lambda count: exactly(connection, count), 4, 2)
        assert exactly(connection, 10) == struct.pack(">BBHHHH", 3, 0, 0, 0, 4, 2)
        connection.sendall(b"\x02")  # bell
        connection.sendall(struct.pack(">BxxxI", 3, 2) + b"hi")  # clipboard
        connection.sendall(struct.pack(">BxH", 0, 2) + raw(0, 0, 4, 1, RED) + raw(0, 1, 2, 1, RED))
        connection.sendall(struct.pack(">BxH", 0, 1) + raw(2, 1, 2, 1, BLUE))

    with server(serve) as port:
        picture = client(port).picture(20)
    assert picture == rfb.Picture(4, 2, RED * 6 + BLUE * 2)
    assert picture.colours() == 2
    assert picture.drawn() == 0.25


def test_a_screen_that_changes_its_size_is_asked_for_again() -> None:
    def serve(connection: socket.socket) -> None:
        greet(connection.sendall, lambda count: exactly(connection, count), 640, 480)
        exactly(connection, 10)
        connection.sendall(struct.pack(">BxH", 0, 1) + struct.pack(">HHHHi", 0, 0, 2, 2, rfb.DESKTOP_SIZE))
        assert exactly(connection, 10) == struct.pack(">BBHHHH", 3, 0, 0, 0, 2, 2)
        connection.sendall(struct.pack(">BxH", 0, 1) + raw(0, 0, 2, 2, BLUE))

    with server(serve) as port:
        picture = client(port).picture(20)
    assert picture == rfb.Picture(2, 2, BLUE * 4)
    assert picture.drawn() == 0, "one colour is blank"


@pytest.mark.parametrize(
    ("said", "message"),
    [
        (b"HTTP/1.1 400", "no RFB server"),
        (b"RFB 003.003\n", "wanted is RFB 003.008"),
        (b"RFB 003.008\n\0" + struct.pack(">I", 9) + b"too tired", "too tired"),
        (b"RFB 003.008\n\x01\x02", "security types"),
        (b"RFB 003.008\n\x01\x01\0\0\0\x01" + struct.pack(">I", 4) + b"nope", "nope"),
        (b"RFB 003.0", "closed the connection"),
    ],
)
def test_a_server_that_refuses_is_understood(said: bytes, message: str) -> None:
    def serve(connection: socket.socket) -> None:
        connection.sendall(said)
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(100):
            pass

    with server(serve) as port, pytest.raises(rfb.RfbError, match=message):
        stream = rfb.SocketStream(socket.create_connection(("127.0.0.1", port), timeout=20))
        try:
            rfb.RfbClient(stream)
        finally:
            stream.close()


def test_a_rectangle_outside_of_the_screen_is_refused() -> None:
    def serve(connection: socket.socket) -> None:
        greet(connection.sendall, lambda count: exactly(connection, count), 2, 2)
        exactly(connection, 10)
        connection.sendall(struct.pack(">BxH", 0, 1) + raw(1, 1, 2, 2, RED))

    with server(serve) as port, pytest.raises(rfb.RfbError, match="leaves the screen"):
        client(port).picture(20)


def frame(data: bytes) -> bytes:
    return b"\x82" + (bytes([len(data)]) if len(data) < 126 else b"\x7e" + struct.pack(">H", len(data))) + data


def unmasked(connection: socket.socket) -> bytes:
    head = exactly(connection, 2)
    length = head[1] & 0x7F
    if length == 126:
        (length,) = struct.unpack(">H", exactly(connection, 2))
    mask = exactly(connection, 4)
    return bytes(byte ^ mask[at % 4] for at, byte in enumerate(exactly(connection, length)))


def test_a_picture_comes_through_a_websocket_that_wants_the_token() -> None:
    def serve(connection: socket.socket) -> None:
        request = b""
        while not request.endswith(b"\r\n\r\n"):
            request += connection.recv(1)
        assert request.startswith(b"GET /?token=secret HTTP/1.1\r\n")
        headers = dict(line.split(": ", 1) for line in request.decode().splitlines()[1:] if ": " in line)
        headers = {name.lower(): value for name, value in headers.items()}
        assert headers["sec-websocket-protocol"] == "binary"
        key = (headers["sec-websocket-key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()
        accept = base64.b64encode(hashlib.sha1(key).digest()).decode()  # noqa: S324
        connection.sendall(
            f"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Accept: {accept}\r\nSec-WebSocket-Protocol: binary\r\n\r\n".encode()
        )
        received = bytearray()

        def receive(count: int) -> bytes:
            while len(received) < count:
                received.extend(unmasked(connection))
            data = bytes(received[:count])
            del received[:count]
            return data

        greet(lambda data: connection.sendall(frame(data)), receive, 8, 8)
        receive(10)
        update = struct.pack(">BxH", 0, 1) + raw(0, 0, 8, 8, RED)
        # messages are no units of RFB
        for at in range(0, len(update), 100):
            connection.sendall(frame(update[at : at + 100]))
        connection.recv(100)

    with server(serve) as port:
        picture = rfb.look(f"http://127.0.0.1:{port}/vnc_lite.html?path=%3Ftoken%3Dsecret", timeout=20)
    assert picture == rfb.Picture(8, 8, RED * 64)


def test_a_refused_websocket_is_told_without_its_token() -> None:
    def serve(connection: socket.socket) -> None:
        connection.recv(4096)
        connection.sendall(b"HTTP/1.1 403 Forbidden\r\n\r\n")

    with server(serve) as port, pytest.raises(rfb.RfbError) as caught:
        rfb.look(f"http://127.0.0.1:{port}/vnc_lite.html?path=%3Ftoken%3Dsecret", timeout=20)
    assert "403" in caught.value.message
    assert "secret" not in caught.value.message


def test_an_address_without_a_token_is_no_console() -> None:
    with pytest.raises(rfb.RfbError, match="no token"):
        rfb.websocket_url("http://127.0.0.1:6080/vnc_lite.html")


def test_a_png_holds_the_pixels() -> None:
    data = png(2, 2, RED + BLUE + BLUE + RED)
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    assert struct.unpack(">II", data[16:24]) == (2, 2)
    start = data.index(b"IDAT") + 4
    (length,) = struct.unpack(">I", data[start - 8 : start - 4])
    assert zlib.decompress(data[start : start + length]) == b"\0" + RED + BLUE + b"\0" + BLUE + RED
    with pytest.raises(ValueError, match="12 bytes, got 3"):
        png(2, 2, RED)
