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
"""RFB openings of every version, and copying between sockets that neither loses bytes nor blocks."""

import contextlib
import os
import select
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from nova.console.securityproxy.rfb import RFBSecurityProxy

from nova_xapi.console import rfb
from nova_xapi.console.pump import LIMIT, abort, pump


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    one, other = socket.socketpair()
    one.settimeout(20)
    other.settimeout(20)
    yield one, other
    one.close()
    other.close()


def in_thread(function: Callable[..., Any], *args: Any) -> Callable[[], Any]:
    """Run it; what is returned waits for its outcome."""
    outcome: list[Any] = []

    def run() -> None:
        try:
            outcome.append(function(*args))
        except Exception as error:
            outcome.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()

    def result() -> Any:
        thread.join(20)
        assert not thread.is_alive()
        if isinstance(outcome[0], Exception):
            raise outcome[0]
        return outcome[0]

    return result


def host(sock: socket.socket, version: bytes, *, types: bytes = b"\x01", reason: bytes = b"") -> bytes:
    """A host's RFB server up to ClientInit; answers what the client chose."""
    sock.sendall(version)
    chosen = sock.recv(12)
    if not chosen:
        return b""
    if chosen == b"RFB 003.003\n":
        sock.sendall((types[0] if types else 0).to_bytes(4, "big"))
    else:
        sock.sendall(bytes([len(types)]) + types)
    if not types:
        sock.sendall(len(reason).to_bytes(4, "big") + reason)
        return chosen
    if chosen != b"RFB 003.003\n":
        assert sock.recv(1) == b"\x01"
    if chosen == b"RFB 003.008\n":
        sock.sendall(len(reason).to_bytes(4, "big") if not reason else (1).to_bytes(4, "big"))
        if reason:
            sock.sendall(len(reason).to_bytes(4, "big") + reason)
    return chosen


@pytest.mark.parametrize(
    ("offered", "agreed"),
    [
        (b"RFB 003.003\n", (3, 3)),
        (b"RFB 003.005\n", (3, 3)),
        (b"RFB 003.007\n", (3, 7)),
        (b"RFB 003.008\n", (3, 8)),
        (b"RFB 003.889\n", (3, 8)),
    ],
)
def test_any_version_of_a_host_is_spoken(
    pair: tuple[socket.socket, socket.socket], offered: bytes, agreed: tuple[int, int]
) -> None:
    theirs = in_thread(host, pair[1], offered)
    assert rfb.as_client(pair[0]) == agreed
    assert theirs() == b"RFB %03d.%03d\n" % agreed
    # nothing is read or written beyond the opening
    pair[0].sendall(b"\x01")
    assert pair[1].recv(10) == b"\x01"


@pytest.mark.parametrize(
    ("version", "types", "reason", "told"),
    [
        (b"RFB 003.008\n", b"", b"too many", "refuses: too many"),
        (b"RFB 003.003\n", b"", b"go away", "refuses: go away"),
        (b"RFB 003.008\n", b"\x01", b"not you", "refuses: not you"),
        (b"HTTP/1.1 200", b"\x01", b"", "does not speak RFB"),
        (b"RFB 002.000\n", b"\x01", b"", "speaks RFB 2.0"),
    ],
)
def test_a_refusal_of_the_host_is_told(
    pair: tuple[socket.socket, socket.socket], version: bytes, types: bytes, reason: bytes, told: str
) -> None:
    theirs = in_thread(lambda: host(pair[1], version, types=types, reason=reason))
    with pytest.raises(rfb.RfbError, match=told):
        rfb.as_client(pair[0])
    abort(pair[0])
    theirs()


def test_a_host_that_demands_a_password_is_told(pair: tuple[socket.socket, socket.socket]) -> None:
    pair[1].sendall(b"RFB 003.008\n\x01\x02")
    with pytest.raises(rfb.RfbError, match="demands security type 2"):
        rfb.as_client(pair[0])


class TenantSocket:
    """The browser's side of Nova's security proxy: takes the version and chooses type None."""

    def __init__(self) -> None:
        self.sent = b""
        self.replies = [b"RFB 003.008\n", b"\x01"]

    def sendall(self, data: bytes) -> None:
        self.sent += data

    def recv(self, _: int) -> bytes:
        return self.replies.pop(0)


def test_novas_own_security_proxy_is_content(pair: tuple[socket.socket, socket.socket]) -> None:
    ours = in_thread(rfb.as_server, pair[0])
    tenant = TenantSocket()
    assert RFBSecurityProxy().connect(tenant, pair[1]) is pair[1]
    ours()
    assert pair[1].recv(4) == bytes(4), "the security result goes on to the browser"
    assert tenant.sent == b"RFB 003.008\n\x01\x01"


@pytest.mark.parametrize("version", [b"RFB 003.003\n", b"RFB 003.007\n"])
def test_an_older_proxy_is_refused(pair: tuple[socket.socket, socket.socket], version: bytes) -> None:
    pair[1].sendall(version)
    with pytest.raises(rfb.RfbError, match=r"not for RFB 3\.8"):
        rfb.as_server(pair[0])


# ------------------------------------------------------------------------------------------------------------- copying


def tls_pair(tmp_path: Path) -> tuple[socket.socket, socket.socket]:
    from xapikit.host.server.certificate import server_certificate

    made = server_certificate(tmp_path / "host.pem", ["127.0.0.1"])
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(made.path)
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.verify_mode = ssl.CERT_NONE
    one, other = socket.socketpair()
    theirs = in_thread(lambda: server.wrap_socket(other, server_side=True))
    ours = client.wrap_socket(one)
    return ours, theirs()


def receive(sock: socket.socket, count: int) -> bytes:
    data = bytearray()
    while len(data) < count:
        piece = sock.recv(1 << 16)
        if not piece:
            break
        data += piece
    return bytes(data)


def exchange(sock: socket.socket, outgoing: bytes, expected: int) -> bytes:
    """Send and receive at the same time, in one thread: a TLS connection is not safe for two."""
    sock.setblocking(False)
    left, got, deadline = memoryview(outgoing), bytearray(), time.monotonic() + 60
    while (left or len(got) < expected) and time.monotonic() < deadline:
        pending = isinstance(sock, ssl.SSLSocket) and sock.pending()
        readable, writable, _ = select.select([sock], [sock] if left else [], [], 0 if pending else 1)
        with contextlib.suppress(BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            if readable or pending:
                got += sock.recv(1 << 16)
        with contextlib.suppress(BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            if writable:
                # the same piece again after SSLWantWrite, as TLS demands
                left = left[sock.send(left[: 1 << 14]) :]
    sock.settimeout(20)
    return bytes(got)


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_both_directions_flow_at_once_and_completely(
    pair: tuple[socket.socket, socket.socket], tmp_path: Path, tls: bool
) -> None:
    near, relay_near = pair
    relay_far, far = tls_pair(tmp_path) if tls else socket.socketpair()
    running = in_thread(pump, relay_near, relay_far)
    down, up = os.urandom(3_000_000), os.urandom(2_000_000)
    sending = in_thread(near.sendall, up)
    taking = in_thread(receive, near, len(down))
    assert exchange(far, down, len(up)) == up
    assert taking() == down
    sending()
    near.shutdown(socket.SHUT_WR)
    running()
    for sock in (relay_far, far):
        sock.close()


def test_what_is_not_taken_is_not_read(pair: tuple[socket.socket, socket.socket]) -> None:
    near, relay_near = pair
    relay_far, far = socket.socketpair()
    running = in_thread(pump, relay_near, relay_far)
    near.settimeout(0.5)
    sent = 0
    with pytest.raises(TimeoutError):
        while sent < 100 * LIMIT:
            sent += near.send(bytes(1 << 16))
    assert sent < 20 * LIMIT
    # the other direction is not held up by that
    far.sendall(b"still here")
    near.settimeout(20)
    assert near.recv(100) == b"still here"
    abort(relay_far)
    with pytest.raises(OSError, match="Broken pipe"):
        running()
    for sock in (relay_far, far):
        sock.close()


def test_the_last_words_arrive_before_the_end(pair: tuple[socket.socket, socket.socket]) -> None:
    near, relay_near = pair
    relay_far, far = socket.socketpair()
    running = in_thread(pump, relay_near, relay_far)
    far.sendall(b"good-bye")
    far.close()
    running()
    relay_near.close()
    assert near.recv(100) == b"good-bye"
    assert near.recv(100) == b""
    relay_far.close()
