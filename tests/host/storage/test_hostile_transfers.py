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
"""Broken VHDs and bodies, and odd names in queries, never stop the server nor lead out of its state directory.

``XAPI_HOSTILE_REQUESTS=5000`` makes the long form of it.
"""

import os
import random
import socket
import struct
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import pytest

from xapi_caller import Caller
from xapikit import vhd
from xapikit.host import EmbeddedHost

REQUESTS = int(os.environ.get("XAPI_HOSTILE_REQUESTS", "150"))
MIB = 1 << 20

NAMES = [
    "../../../../etc/passwd", "/etc/passwd", "..", ".", "%00", "%2e%2e%2f", "OpaqueRef:NULL", "OpaqueRef:", "", "\0",
    "a" * 300, "'; drop table", "null", "-1", "*", "12345678-0000-4000-8000-000000000001", "é", "\u202e",
]  # fmt: skip


def a_vhd(choose: random.Random) -> bytes:
    """A stream that would be fine."""
    raw = bytes(2 * MIB) + choose.randbytes(64 * 1024) + bytes(2 * MIB - 64 * 1024)
    return b"".join(bytes(part) for part in vhd.stream.from_raw([raw], len(raw), blocks=[1]))


def broken(choose: random.Random, good: bytes) -> bytes:
    """The same with something wrong: bits, numbers, lengths."""
    data = bytearray(good)
    for _ in range(choose.choice([1, 1, 1, 2, 20])):
        # where it hurts: footer, header, block table, locators, first bitmap
        at = choose.choice([choose.randrange(512), 512 + choose.randrange(1024), 1536 + choose.randrange(1024)])
        match choose.randrange(4):
            case 0:
                data[at] ^= 1 << choose.randrange(8)
            case 1:
                struct.pack_into(">I", data, min(at, len(data) - 4), choose.choice([0, 1, 0x7FFFFFFF, 0xFFFFFFFE]))
            case 2:
                struct.pack_into(">Q", data, min(at, len(data) - 8), choose.choice([0, 1 << 62, (1 << 64) - 1]))
            case 3:
                del data[at : at + choose.choice([1, 511, 512, 4096])]
    if choose.random() < 0.2:
        del data[choose.randrange(len(data)) :]
    return bytes(data)


def send(xapi: EmbeddedHost, head: str, body: bytes) -> None:
    where = urlsplit(xapi.urls[0])
    with socket.create_connection((where.hostname, where.port), timeout=10) as connection:
        try:
            connection.sendall(head.encode("utf-8", "surrogatepass") + body)
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(1 << 20):
                pass
        except OSError:
            pass


def tree(directory: Path) -> set[str]:
    return {str(path) for path in directory.rglob("*") if path.suffix == ".vhd"}


@pytest.mark.timeout(300 + REQUESTS // 2)
def test_hostile_transfers_leave_the_server_and_its_directory_in_order(
    xapi_factory: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    xapi: EmbeddedHost = xapi_factory(state=tmp_path / "state")
    call = Caller(xapi.urls[0], password=xapi.password)
    sr = xapi.pool.row["default_SR"]
    record = {"SR": sr, "virtual_size": 4 * MIB, "type": "user", "sharable": False, "read_only": False}
    vdi = call("VDI.create", {**record, "other_config": {}})
    before = tree(tmp_path)
    choose = random.Random(REQUESTS)
    good = a_vhd(choose)
    counts = {"broken VHD": 0, "odd query": 0, "odd body": 0}
    for _ in range(REQUESTS):
        kind = choose.choice(list(counts))
        counts[kind] += 1
        if kind == "broken VHD":
            body = broken(choose, good)
            query = f"vdi={vdi}&format=vhd"
        elif kind == "odd body":
            body = choose.randbytes(choose.randrange(3000))
            query = f"vdi={vdi}" + choose.choice(["&chunked=1", "&format=tar", "&format=vhd", "", "&format=qcow2"])
        else:
            body = b""
            name, value = choose.choice(["vdi", "sr_id", "sr_uuid", "base", "format", "task_id"]), choose.choice(NAMES)
            query = f"{choose.choice(['', f'vdi={vdi}&'])}{name}={quote(value) if choose.random() < 0.7 else value}"
            query = query.replace("\0", "%00")
        length = choose.choice([len(body)] * 6 + [0, len(body) + 7, 1 << 40])
        path = f"{choose.choice(['/import_raw_vdi', '/import_raw_vdi/../x', '/import_raw_vdi/%2e%2e'])}"
        head = f"PUT {path}?session_id={call.session}&{query} HTTP/1.1\r\nContent-Length: {length}\r\n\r\n"
        if kind == "odd query" and choose.random() < 0.5:
            head = f"GET /export_raw_vdi?session_id={call.session}&{query} HTTP/1.1\r\n\r\n"
        send(xapi, head, body)
    print(f"{REQUESTS} hostile transfers: {counts}")
    assert min(counts.values()) > REQUESTS // 10, counts
    assert not [record.exc_info for record in caplog.records if record.exc_info], "errors that nobody foresaw"
    # alive, and as it was: a disk that takes a good image and gives it back, no lock, nothing new anywhere
    assert not [key for key in call("VDI.get_sm_config", vdi) if key.startswith("host_")]
    assert call("SR.get_VDIs", sr) == [vdi] and tree(tmp_path) == before and not list(outside.iterdir())
    call("SR.scan", sr)
    send(
        xapi,
        f"PUT /import_raw_vdi?session_id={call.session}&vdi={vdi}&format=vhd HTTP/1.1\r\n"
        f"Content-Length: {len(good)}\r\n\r\n",
        good,
    )
    with vhd.open_chain(xapi.pool.storage.path_of(vdi)) as disk:
        assert (
            disk.pread(2 * MIB, 64 * 1024) == b"".join(bytes(p) for p in vhd.stream.to_raw([good]))[2 * MIB :][:65536]
        )


def test_broken_files_in_an_sr_harm_nobody_else(xapi_factory: Any, tmp_path: Path) -> None:
    xapi: EmbeddedHost = xapi_factory(state=tmp_path / "state")
    call = Caller(xapi.urls[0], password=xapi.password)
    sr = xapi.pool.row["default_SR"]
    directory = xapi.pool.storage.plugged(sr).directory
    choose = random.Random(1)
    good = a_vhd(choose)
    bad = directory / "12345678-0000-4000-8000-000000000001.vhd"
    refused = 0
    for _ in range(REQUESTS // 3):
        bad.write_bytes(broken(choose, good))
        try:
            call("SR.scan", sr)
        except Exception as error:
            assert str(error).startswith("['SR_BACKEND_FAILURE_40'"), error
            refused += 1
        for ref in call("SR.get_VDIs", sr):
            # a file that looks sound may still be short of data: whatever happens is an error of this disk alone
            send(xapi, f"GET /export_raw_vdi?session_id={call.session}&vdi={ref} HTTP/1.1\r\n\r\n", b"")
    assert refused > REQUESTS // 20
    bad.unlink()
    call("SR.scan", sr)
    assert call("SR.get_VDIs", sr) == []
    # links and directories where disks are expected
    (directory / "12345678-0000-4000-8000-000000000002.vhd").symlink_to("/etc/passwd")
    (directory / "12345678-0000-4000-8000-000000000003.vhd").mkdir()
    assert call.error("SR.scan", sr)[0] == "SR_BACKEND_FAILURE_40"
    (directory / "12345678-0000-4000-8000-000000000002.vhd").unlink()
    (directory / "12345678-0000-4000-8000-000000000003.vhd").rmdir()
    call("SR.scan", sr)
