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
"""Nova's proxy gets a picture of any guest of this service through one port, and nobody else gets anything."""

import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from nova import exception
from nova.console.securityproxy.rfb import RFBSecurityProxy

from driver_rig import Rig
from nova_xapi.demo.rfb import RfbClient, SocketStream
from nova_xapi.errors import HostRefused


def connect(console: Any, path: str | None = None) -> tuple[socket.socket, bytes]:
    """As Nova's proxy does it: a bare CONNECT, then the status line of the answer; the socket is behind the headers."""
    sock = socket.create_connection((console.host, console.port), timeout=30)
    sock.sendall(f"CONNECT {console.internal_access_path if path is None else path} HTTP/1.1\r\n\r\n".encode())
    while True:
        data = sock.recv(4096, socket.MSG_PEEK)
        end = data.find(b"\r\n\r\n")
        if end >= 0:
            sock.recv(end + 4)
            return sock, data.split(b"\r\n")[0]
        assert data, "the proxy would wait for ever for the end of the headers"


def opened(console: Any) -> RfbClient:
    sock, status = connect(console)
    assert b"200" in status
    client = RfbClient(SocketStream(sock))
    return client


def ended(sock: socket.socket) -> bool:
    """Whether the other side ends the connection within the socket's timeout."""
    try:
        while sock.recv(65536):
            pass
    except ConnectionResetError:
        pass
    except TimeoutError:
        return False
    return True


@pytest.fixture(scope="module")
def rig() -> Iterator[Rig]:
    with Rig(hosts=2, https=True) as made:
        yield made


@pytest.fixture(scope="module")
def driver(rig: Rig) -> Any:
    return rig.driver("consoles")


@pytest.fixture
def server(rig: Rig, driver: Any) -> Iterator[Any]:
    made = rig.spawn(driver, rig.image())
    yield made
    driver.destroy(rig.context, made, [])


def test_a_screenshot_is_not_blank(rig: Rig, driver: Any, server: Any) -> None:
    picture = opened(driver.get_vnc_console(rig.context, server)).picture(30)
    assert picture.drawn() > 0.01 and picture.colours() > 1


def test_novas_security_proxy_is_content(rig: Rig, driver: Any, server: Any) -> None:
    sock, status = connect(driver.get_vnc_console(rig.context, server))

    class Tenant:
        replies = [b"RFB 003.008\n", b"\x01"]

        def sendall(self, _: bytes) -> None:
            pass

        def recv(self, _: int) -> bytes:
            return self.replies.pop(0)

    with sock:
        assert b"200" in status
        assert RFBSecurityProxy().connect(Tenant(), sock) is sock
        assert sock.recv(4) == bytes(4)
        sock.sendall(b"\x01")
        assert len(sock.recv(24)) == 24, "the server's init message"


def test_the_console_is_the_same_each_time_it_is_asked_for(rig: Rig, driver: Any, server: Any) -> None:
    first, second = (driver.get_vnc_console(rig.context, server).__dict__ for _ in range(2))
    assert first == second and len(first["internal_access_path"]) <= 255
    other = rig.spawn(driver, rig.image())
    try:
        third = driver.get_vnc_console(rig.context, other).__dict__
        assert third["port"] == first["port"]
        assert third["internal_access_path"].split("/")[-1] != first["internal_access_path"].split("/")[-1]
    finally:
        driver.destroy(rig.context, other, [])


def test_no_session_of_the_host_is_given_away(rig: Rig, driver: Any, server: Any) -> None:
    console = driver.get_vnc_console(rig.context, server)
    assert "OpaqueRef" not in console.internal_access_path
    assert driver.service.conn.client.session() not in console.internal_access_path


@pytest.mark.parametrize(
    ("change", "status"),
    [
        (lambda path: path[:-1] + ("0" if path[-1] != "0" else "1"), b"403"),
        (lambda path: path.replace(path.split("/")[2], "3c7d0dcb-7d4e-4b9c-9e34-6b5d8d9b2c11"), b"403"),
        (lambda _: "/", b"400"),
        (lambda _: "/console?ref=OpaqueRef:x&session_id=y", b"400"),
        (lambda path: path + "x" * 10_000, b"4"),
    ],
)
def test_other_paths_are_refused_with_an_answer(rig: Rig, driver: Any, server: Any, change: Any, status: bytes) -> None:
    console = driver.get_vnc_console(rig.context, server)
    sock, line = connect(console, change(console.internal_access_path))
    with sock:
        assert status in line and b" 200 " not in line
        assert ended(sock)


def test_a_halted_server_has_no_console_and_gets_one_again(rig: Rig, driver: Any, server: Any) -> None:
    console = driver.get_vnc_console(rig.context, server)
    driver.power_off(server)
    sock, line = connect(console)
    sock.close()
    assert b"503" in line
    driver.power_on(rig.context, server, [])
    assert opened(console).picture(30).drawn() > 0.01, "the same path serves the new domain"


def test_a_session_ends_with_the_guest(rig: Rig, driver: Any, server: Any) -> None:
    sock, _ = connect(driver.get_vnc_console(rig.context, server))
    with sock:
        RfbClient(SocketStream(sock)).picture(30)
        driver.power_off(server)
        assert ended(sock)
    assert no_session(driver)


def no_session(driver: Any) -> bool:
    """Sessions are counted out by their own threads."""
    never = threading.Event()
    return any(not driver.service.relay.sessions or never.wait(0.1) for _ in range(200))


def test_a_deleted_server_has_no_console(rig: Rig, driver: Any) -> None:
    server = rig.spawn(driver, rig.image())
    console = driver.get_vnc_console(rig.context, server)
    driver.destroy(rig.context, server, [])
    sock, line = connect(console)
    sock.close()
    assert b"404" in line
    with pytest.raises(exception.InstanceNotFound):
        driver.get_vnc_console(rig.context, server)


def test_many_sessions_at_once(rig: Rig, driver: Any, server: Any) -> None:
    console = driver.get_vnc_console(rig.context, server)
    with ThreadPoolExecutor(12) as threads:
        pictures = list(threads.map(lambda _: opened(console).picture(60).drawn(), range(24)))
    assert len(pictures) == 24 and min(pictures) > 0.01


def test_the_guest_on_the_other_host_is_reached_there(rig: Rig) -> None:
    other = rig.driver("consoles-of-the-other-host", host=1)
    server = rig.spawn(other, rig.image())
    try:
        assert opened(other.get_vnc_console(rig.context, server)).picture(30).drawn() > 0.01
    finally:
        other.destroy(rig.context, server, [])
        rig.stop("consoles-of-the-other-host")


def test_stopping_the_service_ends_sessions_and_frees_the_port(rig: Rig) -> None:
    driver = rig.driver("stopping")
    server = rig.spawn(driver, rig.image())
    console = driver.get_vnc_console(rig.context, server)
    sock, _ = connect(console)
    with sock:
        driver.destroy(rig.context, server, [])
        rig.stop("stopping")
        assert ended(sock)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((console.host, console.port), timeout=10)


def test_paths_given_out_before_a_restart_of_the_service_open_consoles_after_it(rig: Rig) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    driver = rig.driver("restarting", console_relay_port=port)
    server = rig.spawn(driver, rig.image())
    console = driver.get_vnc_console(rig.context, server)
    rig.stop("restarting")
    again = rig.driver("restarting", console_relay_port=port)
    try:
        assert again.get_vnc_console(rig.context, server).__dict__ == console.__dict__
        assert opened(console).picture(30).drawn() > 0.01
        secret = again.service.recorder.directory / "relay-secret"
        assert secret.stat().st_mode & 0o777 == 0o600
    finally:
        again.destroy(rig.context, server, [])
        rig.stop("restarting")


def test_a_port_that_is_taken_keeps_the_service_from_starting(rig: Rig) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(HostRefused, match=f"cannot listen on 127.0.0.1 port {port}"):
            rig.driver("blocked", console_relay_port=port)
