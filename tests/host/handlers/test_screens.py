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
"""Pictures of screens: the test card of a timed guest as a JPEG that a decoder of our own reads back."""

import socket
import struct
import threading

import pytest

from archive_rig import Archives
from jpeg_reader import read_jpeg
from xapikit.host.domains.timed.testcard import PALETTE
from xapikit.host.screens.jpeg import encode
from xapikit.host.screens.rfb import NoPicture, Screen, glance


def screen(width: int, height: int, pixel: int | None = None) -> Screen:
    """Of one colour, or of colours that change slowly."""
    pixels = [
        pixel if pixel is not None else (x * 255 // width) << 16 | (y * 255 // height) << 8 | (x + y) & 63
        for y in range(height)
        for x in range(width)
    ]
    return Screen(width, height, memoryview(struct.pack(f"<{len(pixels)}I", *pixels)).cast("I"))


@pytest.mark.parametrize("size", [(1, 1), (8, 8), (16, 16), (17, 33), (100, 37)])
def test_a_picture_is_what_was_seen(size: tuple[int, int]) -> None:
    seen = screen(*size)
    width, height, pixels = read_jpeg(encode(seen))
    assert (width, height) == size
    wrong = 0
    for given, found in zip(seen.pixels, pixels, strict=True):
        wrong += sum(abs((given >> shift & 255) - value) for shift, value in zip((16, 8, 0), found, strict=True))
    assert wrong / (3 * len(pixels)) < 9


@pytest.mark.parametrize("colour", [0x000000, 0xFFFFFF, 0xFF0000, 0x00FF00, 0x0000FF, 0x123456])
def test_plain_colours_stay_what_they_are(colour: int) -> None:
    _, _, pixels = read_jpeg(encode(screen(20, 20, colour)))
    wanted = tuple(colour >> shift & 255 for shift in (16, 8, 0))
    assert all(abs(a - b) <= 4 for pixel in pixels for a, b in zip(pixel, wanted, strict=True))


def test_the_screen_of_a_running_guest(archives: Archives) -> None:
    guest = archives.guest()
    archives.call("VM.start_on", guest.vm, archives.xapi.pool.coordinator, False, False)
    (console,) = (ref for ref, row in archives.store.all("console").items() if row["protocol"] == "rfb")
    for query in (f"uuid={guest.uuid}", f"ref={guest.vm}", f"ref={console}"):
        answer = archives.send("GET", "/vncsnapshot", query)
        assert answer.status == "HTTP/1.1 200 OK" and ".jpg" in answer.headers["content-disposition"]
        assert int(answer.headers["content-length"]) == len(answer.body)
    width, height, pixels = read_jpeg(answer.body)
    assert (width, height) == (640, 400)
    for number in range(8):  # the colour bars
        found = pixels[20 * width + number * 80 + 40]
        assert all(abs(a - b) <= 6 for a, b in zip(found, PALETTE[number + 1], strict=True))


def test_where_there_is_no_screen(archives: Archives) -> None:
    guest = archives.guest()
    assert archives.send("GET", "/vncsnapshot", f"uuid={guest.uuid}").status == "HTTP/1.1 404 Not Found"
    assert archives.send("GET", "/vncsnapshot", "uuid=nope").status == "HTTP/1.1 500 Internal Error"
    assert archives.send("GET", "/vncsnapshot", "").status == "HTTP/1.1 500 Internal Error"
    archives.call("VM.start_on", guest.vm, archives.xapi.pool.coordinator, False, False)
    elsewhere = archives.send("GET", "/vncsnapshot", f"uuid={guest.uuid}", url=archives.xapi.urls[1])
    assert elsewhere.status == "HTTP/1.1 404 Not Found"


HELLO = b"RFB 003.008\n\1\1\0\0\0\0"


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"SSH-2.0-nope\r\n",
        b"RFB 003.008\n" + b"\1\2",
        b"RFB 003.008\n" + b"\1\1" + b"\0\0\0\1",
        b"RFB 003.003\n" + b"\0\0\0\0",
        HELLO + struct.pack(">HH", 0, 5) + bytes(20),
        HELLO + struct.pack(">HH", 4, 4) + bytes(16) + b"\xff\xff\xff\xff",
        b"RFB 003.008\n\1\1\0\0\0\0"
        + struct.pack(">HH", 4, 4)
        + bytes(20)
        + b"\0\0\0\1"
        + struct.pack(">HHHHi", 3, 3, 9, 9, 0),
        HELLO + struct.pack(">HH", 4, 4) + bytes(20) + b"\x09",
    ],
)
def test_servers_that_show_nothing(said: bytes) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.sendall(said)
        ours.shutdown(socket.SHUT_WR)
        with pytest.raises(NoPicture):
            glance(theirs)


def test_what_else_a_server_says_is_passed_over() -> None:
    ours, theirs = socket.socketpair()
    colour = b"\x56\x34\x12\x00"

    def serve() -> None:
        ours.sendall(
            b"RFB 003.003\n" + b"\0\0\0\1" + struct.pack(">HH", 4, 2) + bytes(16) + struct.pack(">I", 2) + b"vm"
        )
        ours.sendall(b"\2" + b"\3\0\0\0" + struct.pack(">I", 3) + b"cut" + b"\1\0\0\0\0\1" + bytes(6))
        for y in range(2):  # in two updates
            ours.sendall(b"\0\0\0\1" + struct.pack(">HHHHi", 0, y, 4, 1, 0) + colour * 4)

    with ours, theirs:
        thread = threading.Thread(target=serve)
        thread.start()
        seen = glance(theirs)
        thread.join()
    assert (seen.width, seen.height, set(seen.pixels)) == (4, 2, {0x123456})
