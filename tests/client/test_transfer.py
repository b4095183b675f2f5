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
"""Disk contents flow at the pace of the slower side, the task alone tells the outcome, nothing is left behind."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from client.small_pool import SmallPool, running
from client.small_server import SmallServer, make_certificate
from xapikit.client import XapiClient, errors, transfer

DATA = bytes(range(256)) * 4096  # 1 MiB
OK = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"


class Disk:
    """``/import_raw_vdi`` and ``/export_raw_vdi`` of a small pool, as a real host answers them."""

    def __init__(self, pool: SmallPool, server: SmallServer | None = None) -> None:
        self.pool = pool
        self.content = b""
        self.error: list[str] = []
        self.read_at_most = 1 << 60
        self.requests: list[dict[str, list[str]]] = []
        self.headers: list[dict[str, str]] = []
        server = server or pool.server
        server.http["PUT /import_raw_vdi"] = self.put
        server.http["GET /export_raw_vdi"] = self.get

    def admit(self, target: str, headers: dict[str, str], stream: Any) -> str:
        query = parse_qs(urlsplit(target).query)
        self.requests.append(query)
        self.headers.append(headers)
        if headers.get("cookie", "").removeprefix("session_id=") not in self.pool.server.sessions:
            stream.write(b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n")
            return ""
        return query["task_id"][0]

    def put(self, target: str, headers: dict[str, str], stream: Any) -> None:
        task = self.admit(target, headers, stream)
        if not task:
            return
        stream.write(OK)  # before a byte was read
        wanted = min(int(headers["content-length"]), self.read_at_most)
        pieces = []
        while wanted and (piece := stream.read(min(wanted, 65536))):
            pieces.append(piece)
            wanted -= len(piece)
        self.content = b"".join(pieces)
        if self.error:
            self.pool.end(task, status="failure", error=self.error)
        else:
            self.pool.end(task, result=parse_qs(urlsplit(target).query)["vdi"][0])

    def get(self, target: str, headers: dict[str, str], stream: Any) -> None:
        task = self.admit(target, headers, stream)
        if not task:
            return
        stream.write(OK + self.content)
        if self.error:
            stream.write(b"HTTP/1.1 500 Internal Error\r\n\r\n")
            self.pool.end(task, status="failure", error=self.error)
        else:
            self.pool.end(task)


def pieces(size: int = 100_000) -> Iterator[bytes]:
    for start in range(0, len(DATA), size):
        yield DATA[start : start + size]


def test_an_import_arrives_whole_in_three_calls() -> None:
    with running() as (pool, client):
        disk = Disk(pool)
        told: list[int] = []
        before = pool.server.calls.copy()
        client.import_vdi("OpaqueRef:vdi", pieces(), len(DATA), progress=told.append)
        assert disk.content == DATA
        assert told[-1] == len(DATA) and told == sorted(told)
        assert disk.requests[0]["format"] == ["raw"] and "session_id" not in disk.requests[0]
        assert disk.headers[0]["content-length"] == str(len(DATA))
        made = pool.server.calls - before
        del made["event.from"]
        assert made == {"task.create": 1, "task.destroy": 1}
        assert not pool.rows["task"]


def test_imports_go_over_tls(tmp_path: Path) -> None:
    certificate, digest = make_certificate(tmp_path)
    with running(certificate, digest) as (pool, client):
        disk = Disk(pool)
        client.import_vdi("OpaqueRef:vdi", pieces(), len(DATA))
        assert disk.content == DATA
        with client.export_vdi("OpaqueRef:vdi") as chunks:
            assert b"".join(chunks) == DATA
        started = time.monotonic()
        client.import_vdi("OpaqueRef:vdi", pieces(), None, format="vhd")
        assert disk.content == DATA
        assert time.monotonic() - started < 5, "waited for the server to say goodbye"


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_cut_off_task_create_leaves_no_second_task(when: str) -> None:
    with running() as (pool, client):
        disk = Disk(pool)
        pool.server.cut("task.create", when)
        client.import_vdi("OpaqueRef:vdi", pieces(), len(DATA))
        assert disk.content == DATA
        assert not pool.rows["task"]


def test_a_vhd_of_unknown_length_ends_where_its_source_ends() -> None:
    with running() as (pool, client):
        disk = Disk(pool)
        client.import_vdi("OpaqueRef:vdi", pieces(), None, format="vhd")
        assert disk.content == DATA
        assert disk.headers[0]["content-length"] == str(transfer.UNKNOWN_LENGTH)


def test_the_task_tells_the_outcome_not_the_status() -> None:
    with running() as (pool, client):
        disk = Disk(pool)
        disk.error = ["VDI_IO_ERROR", "Device I/O errors"]
        with pytest.raises(errors.VdiIoError):
            client.import_vdi("OpaqueRef:vdi", pieces(), len(DATA))
        with pytest.raises(errors.VdiIoError), client.export_vdi("OpaqueRef:vdi") as chunks:
            list(chunks)
        assert not pool.rows["task"]


def test_a_server_that_stops_reading_is_told_by_its_task() -> None:
    with running() as (pool, client):
        disk = Disk(pool)
        disk.read_at_most = 65536
        disk.error = ["SR_FULL", "1", "0"]
        endless = (b"x" * 65536 for _ in range(100_000))
        with pytest.raises(errors.SrFull):
            client.import_vdi("OpaqueRef:vdi", endless, 65536 * 100_000)


def test_a_source_that_fails_ends_the_transfer_and_its_error_is_the_one_raised() -> None:
    def broken() -> Iterator[bytes]:
        yield DATA[:1000]
        raise LookupError("the image service went away")

    with running() as (pool, client):
        disk = Disk(pool)
        with pytest.raises(LookupError):
            client.import_vdi("OpaqueRef:vdi", broken(), len(DATA))
        assert disk.content == DATA[:1000]
        assert not pool.rows["task"]


@pytest.mark.parametrize(("announced", "text"), [(len(DATA) + 1, "ended after"), (len(DATA) - 1, "more than")])
def test_a_source_of_another_length_than_announced_is_an_error(announced: int, text: str) -> None:
    with running() as (pool, client):
        Disk(pool)
        with pytest.raises(errors.TransferFailed, match=text):
            client.import_vdi("OpaqueRef:vdi", pieces(), announced)
        assert not pool.rows["task"]


def test_a_lost_session_is_renewed_before_the_first_byte() -> None:
    with running() as (pool, client):
        disk = Disk(pool)
        real = pool.server.http["PUT /import_raw_vdi"]

        def forget(target: str, headers: dict[str, str], stream: Any) -> None:
            pool.server.sessions.clear()
            pool.server.http["PUT /import_raw_vdi"] = real
            real(target, headers, stream)

        pool.server.http["PUT /import_raw_vdi"] = forget
        client.import_vdi("OpaqueRef:vdi", pieces(), len(DATA))
        assert disk.content == DATA
        assert len(disk.requests) == 2


def test_a_redirect_leads_to_the_host_that_has_the_disk() -> None:
    other = SmallServer()
    with running(addresses={"10.1.1.1": "http://127.0.0.1:1"}) as (pool, client), other:
        disk = Disk(pool, other)

        def redirect(target: str, headers: dict[str, str], stream: Any) -> None:
            # as real hosts do: no length, and the connection stays open
            stream.write(f"HTTP/1.1 302 Found\r\nConnection: close\r\nLocation: {other.url}{target}\r\n\r\n".encode())
            stream.read(1)

        for request in ("PUT /import_raw_vdi", "GET /export_raw_vdi"):
            pool.server.http[request] = redirect
        client.import_vdi("OpaqueRef:vdi", pieces(), len(DATA))
        assert disk.content == DATA
        with client.export_vdi("OpaqueRef:vdi", format="vhd", base="OpaqueRef:base") as chunks:
            assert b"".join(chunks) == DATA
        assert disk.requests[1]["base"] == ["OpaqueRef:base"]
        assert not pool.rows["task"]


def test_a_refused_request_leaves_no_task() -> None:
    with running() as (pool, client):

        def refuse(target: str, headers: dict[str, str], stream: Any) -> None:
            stream.write(b"HTTP/1.0 404 Not Found\r\n\r\n")
            pool.end(parse_qs(urlsplit(target).query)["task_id"][0], status="failure", error=["INTERNAL_ERROR", "no"])

        pool.server.http["PUT /import_raw_vdi"] = refuse
        with pytest.raises(errors.InternalError):
            client.import_vdi("OpaqueRef:vdi", pieces(), len(DATA))

        def forbid(target: str, headers: dict[str, str], stream: Any) -> None:
            stream.write(b"HTTP/1.1 401 Unauthorized\r\n\r\n")

        pool.server.http["GET /export_raw_vdi"] = forbid
        with pytest.raises(errors.HttpError, match="401"), client.export_vdi("OpaqueRef:vdi"):
            pass
        assert not pool.rows["task"]


def test_an_export_left_early_is_given_up() -> None:
    with running() as (pool, client):
        disk = Disk(pool)
        disk.content = DATA * 64
        ended = threading.Event()

        def until_cut(target: str, headers: dict[str, str], stream: Any) -> None:
            task = disk.admit(target, headers, stream)
            try:
                stream.write(OK + disk.content)
            except OSError:
                pool.end(task, status="failure", error=["VDI_IO_ERROR", "Device I/O errors"])
                ended.set()

        pool.server.http["GET /export_raw_vdi"] = until_cut
        with client.export_vdi("OpaqueRef:vdi") as chunks:
            assert next(chunks)
        assert ended.wait(5)
        assert not pool.rows["task"]


def test_a_console_is_a_socket_that_misses_no_byte(tmp_path: Path) -> None:
    certificate, digest = make_certificate(tmp_path)
    for tls in (False, True):
        with running(*((certificate, digest) if tls else ())) as (pool, client):

            def console(target: str, headers: dict[str, str], stream: Any) -> None:
                pool.server.requests.append(target)
                if "uuid=dead" in target:
                    stream.write(b"HTTP/1.0 500 Internal Error\r\n\r\n")
                    return
                stream.write(b"HTTP/1.1 200 OK\r\nConnection: keep-alive\r\n\r\nRFB 003.008\n")
                stream.write(stream.read(12))

            pool.server.http["CONNECT /console"] = console
            location = f"{pool.server.url}/console?uuid=abc"
            with client.open_console(location) as connected:
                connected.settimeout(5)
                assert connected.recv(12) == b"RFB 003.008\n"
                connected.sendall(b"RFB 003.003\n")
                assert connected.recv(12) == b"RFB 003.003\n"
            assert "session" not in pool.server.requests[-1]
            with pytest.raises(errors.ConsoleRefused) as refusal:
                client.open_console(f"{pool.server.url}/console?uuid=dead")
            assert refusal.value.status == 500
    with pytest.raises(ValueError, match="location"):
        XapiClient("https://h", username="u", password="p", originator="o").open_console("vnc://x")
