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
"""Imports that fail: for the reason that a host gives, and with nothing left of them."""

import gzip
import http.client
import os
import random
import socket
import struct
import subprocess
import zlib
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from archive_rig import MIB, Archives, as_older_hosts, document, members, packed, rewritten, with_version
from host.crash import serving
from xapi_caller import Caller
from xapikit.host.storage.transfer.tar import END, header
from xapikit.wire.xmlrpc import encode_fragment

ROUNDS = int(os.environ.get("XVA_FUZZ_ROUNDS", "40"))
EARLY = ["IMPORT_ERROR_PREMATURE_EOF"]
SMALL = bytes(range(256)) * 4096 + bytes(MIB)


@pytest.fixture
def body(archives: Archives) -> bytes:
    return archives.archive(archives.guest(content=SMALL).uuid)


def refused(archives: Archives, body: bytes, query: str = "", **more: Any) -> list[str]:
    """The error of an import that fails and leaves nothing."""
    before = archives.everything()
    _, (status, error) = archives.take(body, query, **more)
    assert status == "failure", error
    assert archives.everything() == before
    assert error[0] != "INTERNAL_ERROR", error
    return [str(word) for word in error]


def test_archives_that_end_early(archives: Archives, body: bytes) -> None:
    lengths = [0, 1, 511, 512, 513, 1024, len(body) // 3, len(body) - len(END) - 2000]
    assert [refused(archives, body[:length]) for length in lengths] == [EARLY] * len(lengths)
    # a client that goes away before it sent what it promised
    assert refused(archives, body[: len(body) // 2], length=len(body)) == EARLY


@pytest.mark.parametrize("compression", ["true", "zstd"])
def test_compressed_archives_that_end_early(archives: Archives, compression: str) -> None:
    packed_body = archives.archive(archives.guest(content=SMALL).uuid, f"use_compression={compression}")
    for length in (3, 100, len(packed_body) // 2):
        assert refused(archives, packed_body[:length]) == EARLY


def test_garbage_is_no_archive(archives: Archives) -> None:
    for garbage in (b"garbage " * 512, bytes(4096), b"\x28\xb5\x2f\xfd" + b"x" * 4096, b"\x1f\x8b\x08\0" + b"y" * 4096):
        assert refused(archives, garbage) == EARLY


def test_a_chunked_body_is_refused(archives: Archives) -> None:
    task = archives.task()
    answer = archives.send("PUT", "/import", f"task_id={task}", length=None, headers="Transfer-Encoding: chunked\r\n")
    assert answer.status == "HTTP/1.1 403 Forbidden"
    assert archives.outcome(task) == ("failure", ["IMPORT_ERROR_CANNOT_HANDLE_CHUNKED"])


@pytest.mark.parametrize("form", [0, 1, 2])
def test_a_wrong_checksum_is_found_and_can_be_overlooked(archives: Archives, body: bytes, form: int) -> None:
    old = as_older_hosts(body, form)
    position = old.index(SMALL[:512])
    broken = old[:position] + b"\xff" + old[position + 1 :]
    error = refused(archives, broken)
    if form == 0:
        assert error == ["IMPORT_ERROR_SOME_CHECKSUMS_FAILED"]
    else:
        assert error[0] == "IMPORT_ERROR" and "checksum failed" in error[1]
    (vm,) = archives.imported(broken, "force=true")
    assert archives.content(archives.disks(vm)[0]) == b"\xff" + SMALL[1:]


def test_archives_of_newer_hosts_are_refused(archives: Archives, body: bytes) -> None:
    assert refused(archives, with_version(body, xapi_major=99)) == ["IMPORT_INCOMPATIBLE_VERSION"]
    assert refused(archives, with_version(body, xapi_minor="x"))[0] == "IMPORT_ERROR"


def test_another_first_file_is_named(archives: Archives, body: bytes) -> None:
    other = packed([("evil.xml", b"x"), *members(body)])
    assert refused(archives, gzip.compress(other)) == ["IMPORT_ERROR_UNEXPECTED_FILE", "ova.xml", "evil.xml"]


NAMES = (
    "../../../../tmp/evil",
    "/etc/passwd",
    "Ref:4/../../evil",
    "Ref:4",
    "Ref:4/-1",
    "Ref:4/x",
    "Ref:44/00000000",
    "\xe9",
)


def test_names_of_members_lead_nowhere(archives: Archives, body: bytes) -> None:
    files = members(body)
    for name in NAMES:
        evil = packed([files[0], (name, SMALL[:MIB]), *files[2:]])
        assert refused(archives, evil)[0] == "IMPORT_ERROR", name


def test_chunks_belong_to_their_disk_and_come_in_order(archives: Archives, body: bytes) -> None:
    files = members(body)
    again = packed([*files[:3], *files[1:3]])
    assert refused(archives, again)[0] == "IMPORT_ERROR"
    beyond = packed([files[0], ("Ref:3/00000000", b""), ("Ref:3/99999999", SMALL[:MIB])])
    assert refused(archives, beyond)[0] == "IMPORT_ERROR"
    large = packed([files[0], ("Ref:3/00000000", bytes(3 * MIB))])
    assert refused(archives, large)[0] == "IMPORT_ERROR"


def test_sizes_are_promises_that_nobody_must_believe(archives: Archives, body: bytes) -> None:
    giant = header("ova.xml", (1 << 33) - 1)
    assert refused(archives, giant + b"x" * 4096)[0] == "IMPORT_ERROR"
    files = members(body)
    text = files[0][1]
    giant = header("ova.xml", len(text)) + text + bytes(-len(text) % 512) + header("Ref:3/00000000", (1 << 33) - 1)
    assert refused(archives, giant)[0] == "IMPORT_ERROR"


def test_bombs_are_unpacked_only_as_far_as_they_are_read(archives: Archives, body: bytes) -> None:
    zeros = header("ova.xml", 1 << 25)
    packer = zlib.compressobj(1, zlib.DEFLATED, 31)
    bomb = packer.compress(zeros) + packer.compress(bytes(1 << 26)) + packer.flush()
    assert refused(archives, bomb)[0] in ("IMPORT_ERROR", *EARLY)
    bomb = subprocess.run(
        ["zstd", "-3", "-c"], input=header("Ref:0", 8) + bytes(1 << 26), capture_output=True, check=True
    ).stdout
    assert refused(archives, bomb) == ["IMPORT_ERROR_UNEXPECTED_FILE", "ova.xml", "Ref:0"]


def test_documents_that_do_not_fit_together(archives: Archives, body: bytes) -> None:
    said = document(body)

    def without(class_name: str) -> bytes:
        kept = [item for item in said["objects"] if item["class"] != class_name]
        return rewritten(body, {**said, "objects": kept})

    def changed(class_name: str, **members: Any) -> bytes:
        objects = [
            {**item, "snapshot": {**item["snapshot"], **members}} if item["class"] == class_name else item
            for item in said["objects"]
        ]
        return rewritten(body, {**said, "objects": objects})

    assert refused(archives, without("VM"))[:1] == ["IMPORT_ERROR_FAILED_TO_FIND_OBJECT"]
    assert refused(archives, without("SR"))[:1] == ["IMPORT_ERROR_FAILED_TO_FIND_OBJECT"]
    assert refused(archives, without("network"))[:1] == ["IMPORT_ERROR_FAILED_TO_FIND_OBJECT"]
    assert refused(archives, changed("VBD", currently_attached=True, VDI="Ref:99")) == [
        "IMPORT_ERROR_ATTACHED_DISKS_NOT_FOUND"
    ]
    assert refused(archives, changed("VM", memory_static_max="much"))[0] == "IMPORT_ERROR"
    assert refused(archives, changed("VM", other_config="none"))[0] == "IMPORT_ERROR"
    assert refused(archives, changed("VM", power_state="Suspended"))[0] == "IMPORT_ERROR_FAILED_TO_FIND_OBJECT"
    assert refused(archives, changed("VIF", device="../0")) == ["INVALID_DEVICE", "../0"]
    assert refused(archives, changed("VDI", virtual_size="-5"))[0].startswith("SR_BACKEND_FAILURE")
    assert refused(archives, rewritten(body, {"version": said["version"]}))[0] == "IMPORT_ERROR"
    assert refused(archives, rewritten(body, [1, 2]))[0] == "IMPORT_ERROR"
    assert (
        refused(archives, packed([("ova.xml", b"<!DOCTYPE x [<!ENTITY a 'b'>]><value>&a;</value>")]))[0]
        == "IMPORT_ERROR"
    )


def test_a_cancelled_import_leaves_nothing(archives: Archives, body: bytes) -> None:
    before = archives.everything()
    task = archives.task()
    where = archives.address
    with socket.create_connection((where.hostname, where.port), timeout=20) as connection:
        head = (
            f"PUT /import?session_id={archives.call.session}&task_id={task} HTTP/1.1\r\nContent-Length: {len(body)}\r\n"
        )
        connection.sendall(head.encode() + b"\r\n" + body[: len(body) // 2])
        archives.store.wait(lambda: len(archives.store.all("VM")) > len(before["VM"]), 20)
        (vm,) = archives.store.all("VM").keys() - before["VM"]
        assert list(archives.store.get("VM", vm)["current_operations"].values()) == ["import"]
        archives.call("task.cancel", task)
        assert archives.outcome(task) == ("cancelled", ["TASK_CANCELLED", task])
    assert archives.everything() == before


def test_a_full_sr_fails_the_import(archives: Archives, body: bytes) -> None:
    archives.xapi.pool.storage.set_limit(archives.sr, 3 * MIB)
    assert refused(archives, body)[0] in ("VDI_IO_ERROR", "SR_BACKEND_FAILURE_44")


def test_a_cancelled_export_ends(archives: Archives) -> None:
    guest = archives.guest(content=SMALL * 8)
    task = archives.task()
    where = archives.address
    with socket.create_connection((where.hostname, where.port), timeout=20) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        query = f"session_id={archives.call.session}&task_id={task}&uuid={guest.uuid}"
        connection.sendall(f"GET /export?{query} HTTP/1.1\r\n\r\n".encode())
        assert connection.recv(4096).startswith(b"HTTP/1.0 200 OK")
        assert list(archives.store.get("VM", guest.vm)["current_operations"].values()) == ["export"]
        archives.call("task.cancel", task)
        archives.outcome(task)
    assert archives.call("task.get_status", task) == "cancelled"
    assert archives.store.get("VM", guest.vm)["current_operations"] == {}
    assert archives.archive(guest.uuid), "the disk is free again"


def test_broken_archives_never_stop_the_host(archives: Archives, body: bytes) -> None:
    """Bytes changed, cut, doubled at random places: refused with nothing left, or imported."""
    chance = random.Random(5)
    text_end = 512 + len(dict(members(body))["ova.xml"])
    refusals = 0
    for _ in range(ROUNDS):
        broken = bytearray(body)
        for _ in range(chance.randint(1, 8)):
            place = chance.randrange(text_end if chance.random() < 0.7 else len(broken))
            match chance.randrange(3):
                case 0:
                    broken[place] = chance.randrange(256)
                case 1:
                    del broken[place : place + chance.randint(1, 600)]
                case 2:
                    broken[place:place] = broken[place : place + chance.randint(1, 600)]
        before = archives.everything()
        _, (status, error) = archives.take(bytes(broken))
        assert error[0] != "INTERNAL_ERROR", error
        if status == "failure":
            refusals += 1
            assert archives.everything() == before
    assert refusals > ROUNDS // 2
    assert archives.imported(body)


def test_wrong_types_anywhere_in_the_document(archives: Archives, body: bytes) -> None:
    chance = random.Random(6)
    said = document(body)
    odd: list[Any] = ["", "x", 5, True, 1.5, [], {}, ["x"], {"a": "b"}, "OpaqueRef:NULL", "Ref:0", "-1", "9" * 30]
    for _ in range(ROUNDS):
        objects = [{**item, "snapshot": dict(item["snapshot"])} for item in said["objects"]]
        for _ in range(chance.randint(1, 4)):
            item = chance.choice(objects)
            item["snapshot"][chance.choice(list(item["snapshot"]))] = chance.choice(odd)
        before = archives.everything()
        _, (status, error) = archives.take(rewritten(body, {**said, "objects": objects}))
        assert error[0] != "INTERNAL_ERROR", error
        if status == "failure":
            assert archives.everything() == before


def test_a_table_of_checksums_that_is_none(archives: Archives, body: bytes) -> None:
    old = members(as_older_hosts(body, 1))
    for table in (b"no table", encode_fragment(["x"]).encode(), struct.pack("<I", 5)):
        assert refused(archives, packed([*old[:-1], ("checksum.xml", table)]))[0] == "IMPORT_ERROR"


def seen(call: Caller) -> dict[str, set[str]]:
    return {name: set(call(f"{name}.get_all")) for name in ("VM", "VBD", "VIF", "VDI", "network", "VM_metrics")}


def test_an_import_that_a_kill_interrupts_leaves_nothing(archives: Archives, body: bytes, tmp_path: Path) -> None:
    """The next start removes what was made; what an earlier import under the same task made stays."""
    options = ("--http", "127.0.0.1:0")
    with serving(tmp_path, *options) as (process, ready):
        where = urlsplit(ready["hosts"][0]["http"])
        password = Path(ready["password_file"]).read_text().strip()
        call = Caller(where.geturl(), password=password)
        task = call("task.create", "import", "")
        target = f"/import?session_id={call.session}&task_id={task}"
        whole = http.client.HTTPConnection(where.netloc, timeout=20)
        whole.request("PUT", target, body)
        whole.getresponse().read()
        whole.close()
        assert call("task.get_status", task) == "success"
        before = seen(call)
        with socket.create_connection((where.hostname, where.port), timeout=20) as connection:
            token = call("event.from", ["vm"], "", 0.0)["token"]
            head = f"PUT {target} HTTP/1.1\r\nContent-Length: {len(body)}\r\n\r\n"
            connection.sendall(head.encode() + body[: len(body) // 2])
            assert call("event.from", ["vm"], token, 20.0)["events"]
            assert len(seen(call)["VM"]) == len(before["VM"]) + 1
            process.kill()
            process.wait(20)
    with serving(tmp_path, *options) as (process, ready):
        assert seen(Caller(ready["hosts"][0]["http"], password=password)) == before
        process.terminate()
        assert process.wait(20) == 0
    assert not list((tmp_path / "imports").iterdir())
    assert len(list((tmp_path / "sr").rglob("*.vhd"))) == 1
