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
"""Timed guests: consoles that show something, requests they obey, ends that are reported."""

from __future__ import annotations

import queue
import socket
import struct

import pytest

from xapikit.host.domains.model import Domain, DomainConfig, DomainFailed, End, Ended
from xapikit.host.domains.timed import TimedKind
from xapikit.host.domains.timed.kind import Delays

SECONDS = 10.0
CONFIG = DomainConfig(
    vm="0000-1", name="wörld 1", domid=7, host="h", memory_bytes=1 << 28, vcpus=1, vcpus_max=2,
    platform={},
)  # fmt: skip


class Guests:
    def __init__(self) -> None:
        self.kind = TimedKind(Delays().scaled(0))
        self.ends: queue.Queue[Ended] = queue.Queue()

    def start(self, config: DomainConfig = CONFIG) -> Domain:
        return self.kind.start(config, paused=False, on_end=lambda _, ended: self.ends.put(ended))


def exactly(line: socket.socket, length: int) -> bytes:
    data = b""
    while len(data) < length:
        part = line.recv(length - len(data))
        assert part, "the server closed the connection"
        data += part
    return data


def test_a_guest_obeys_requests_and_its_end_is_reported() -> None:
    guests = Guests()
    domain = guests.start()
    assert domain.request_shutdown()
    assert guests.ends.get(timeout=SECONDS).end is End.HALTED
    assert not domain.is_alive()
    again = guests.start()
    again.request_reboot()
    assert guests.ends.get(timeout=SECONDS).end is End.REBOOTED
    killed = guests.start()
    killed.destroy()
    assert guests.ends.empty()
    with pytest.raises(DomainFailed):
        killed.open_console("rfb")


def test_the_text_console_shows_the_boot_and_echoes() -> None:
    domain = Guests().start()
    with domain.open_console("vt100") as line:
        line.settimeout(SECONDS)
        seen = b""
        while b"login: " not in seen:
            seen += line.recv(4096)
        assert "Booting wörld 1".encode() in seen
        line.sendall(b"me\r")
        while b"nobody is here" not in seen:
            seen += line.recv(4096)
        domain.destroy()
        while line.recv(4096):
            pass  # the stream ends with the guest


@pytest.mark.parametrize("version", [b"RFB 003.003\n", b"RFB 003.007\n", b"RFB 003.008\n"])
def test_a_vnc_client_of_any_version_gets_a_picture(version: bytes) -> None:
    with Guests().start().open_console("rfb") as line:
        line.settimeout(SECONDS)
        assert exactly(line, 12) == b"RFB 003.008\n"
        line.sendall(version)
        if version == b"RFB 003.003\n":
            assert exactly(line, 4) == struct.pack(">I", 1)
        else:
            assert exactly(line, 2) == b"\x01\x01"
            line.sendall(b"\x01")
            if version == b"RFB 003.008\n":
                assert exactly(line, 4) == bytes(4)
        line.sendall(b"\x01")
        width, height = struct.unpack(">HH", exactly(line, 4))
        exactly(line, 16)
        (length,) = struct.unpack(">I", exactly(line, 4))
        assert exactly(line, length).decode() == "wörld 1 (domain 7)"
        # keys, pointer, encodings and clipboard are taken, then 16 bits per pixel are asked for
        line.sendall(struct.pack(">BxHi", 2, 1, 0) + struct.pack(">BB2xI", 4, 1, 65) + struct.pack(">BBHH", 5, 0, 1, 1))
        line.sendall(struct.pack(">B3xI", 6, 3) + b"abc")
        line.sendall(struct.pack(">B3x", 0) + struct.pack(">BBBBHHHBBB3x", 16, 16, 0, 1, 31, 63, 31, 11, 5, 0))
        line.sendall(struct.pack(">BBHHHH", 3, 0, 0, 0, width, height))
        kind, count = struct.unpack(">BxH", exactly(line, 4))
        assert (kind, count) == (0, 1)
        x, y, w, h, encoding = struct.unpack(">HHHHi", exactly(line, 12))
        assert (x, y, w, h, encoding) == (0, 0, width, height, 0)
        pixels = exactly(line, 2 * width * height)
        assert len({pixels[i : i + 2] for i in range(0, len(pixels), 2)}) == 9, "colour bars and text"


def test_hostile_vnc_clients_only_end_their_own_connection() -> None:
    domain = Guests().start()
    for nonsense in (b"GET / HTTP/1.0\r\n\r\n", b"RFB 003.008\n\x01\x01\xff", b"RFB 003.008\n\x02"):
        with domain.open_console("rfb") as line:
            line.settimeout(SECONDS)
            line.sendall(nonsense)
            try:
                while line.recv(4096):
                    pass
            except ConnectionResetError:
                pass
    with domain.open_console("rfb") as line:
        line.settimeout(SECONDS)
        assert exactly(line, 12) == b"RFB 003.008\n"
