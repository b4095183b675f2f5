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
"""The transfer handlers answer, write and fail exactly as recorded from a real host."""

import hashlib
import os
import socket
import struct
import subprocess
import tarfile
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from transfer_rig import SIZE, Handlers, noise
from xapikit import vhd
from xapikit.host import EmbeddedHost
from xapikit.host.storage.transfer.tar import xxh64

MIB = 1 << 20


@pytest.fixture
def http(xapi_pool: EmbeddedHost) -> Handlers:
    return Handlers(xapi_pool)


IO_ERROR = ["VDI_IO_ERROR", "Device I/O errors"]


def test_a_raw_round_trip(http: Handlers) -> None:
    vdi, data = http.create(), noise(SIZE)
    answer, outcome = http.put(f"vdi={vdi}", data)
    assert answer.status == "HTTP/1.1 200 OK" and answer.body == b""
    assert answer.headers["content-type"] == "application/octet-stream" and answer.headers["connection"] == "close"
    assert outcome == ("success", f"<value>{vdi}</value>")
    uuid = http.call("VDI.get_uuid", vdi)
    answer, outcome = http.get(f"vdi={uuid}&format=RAW")
    assert outcome == ("success", "") and answer.body == data
    assert answer.headers["content-disposition"] == f'attachment; filename="{uuid}.raw"'
    assert answer.headers["content-type"] == "application/octet-stream"
    assert http.call("VDI.get_physical_utilisation", vdi) >= SIZE
    assert http.call("VDI.get_sm_config", vdi) == {"vdi_type": "vhd"}, "no lock is left"


def test_the_task_header_is_written_without_a_blank(http: Handlers) -> None:
    vdi, task = http.create(), http.task()
    with socket.create_connection((http.address.hostname, http.address.port), timeout=20) as connection:
        connection.sendall(
            f"GET /export_raw_vdi?session_id={http.call.session}&vdi={vdi}&task_id={task} HTTP/1.1\r\n\r\n".encode()
        )
        assert f"\r\ntask-id:{task}\r\n".encode() in connection.recv(2000)


@pytest.mark.parametrize("form", ["vhd", "tar", "qcow2"])
def test_other_formats_carry_the_same_disk(http: Handlers, form: str, tmp_path: Path) -> None:
    vdi = http.create()
    data = noise(3 * MIB + 512) + bytes(2 * MIB) + noise(SIZE - 5 * MIB - 512, 2)
    http.put(f"vdi={vdi}", data)
    answer, outcome = http.get(f"vdi={vdi}&format={form}")
    types = {"vhd": "application/vhd", "tar": "application/x-tar", "qcow2": "application/x-qemu-disk"}
    assert answer.headers["content-type"] == types[form] and outcome == ("success", "")
    if form != "qcow2":
        second = http.create()
        _, outcome = http.put(f"vdi={second}&format={form}", answer.body)
        assert outcome == ("success", f"<value>{second}</value>") and http.content(second) == data
    if form != "tar":
        file, out = tmp_path / "disk", tmp_path / "raw"
        file.write_bytes(answer.body)
        source = "vpc" if form == "vhd" else "qcow2"
        if form == "qcow2":
            subprocess.run(["qemu-img", "check", "-q", "-f", source, file], check=True, timeout=60)
        subprocess.run(["qemu-img", "convert", "-f", source, "-O", "raw", file, out], check=True, timeout=60)
        assert out.read_bytes() == data
    else:
        with tarfile.open(fileobj=BytesIO(answer.body)) as archive:
            names = archive.getnames()
            assert names[:2] == ["vdi/00000000", "vdi/00000000.xxhash"] and names[-1] == "vdi/00000007.xxhash"
            assert "vdi/00000004" not in names, "zeros are left out"


def test_xxh64_is_that_of_its_specification() -> None:
    assert xxh64(b"") == 0xEF46DB3751D8E999
    assert xxh64(b"abc") == 0x44BC2CF5AD770999
    assert xxh64(b"Nobody inspects the spammish repetition") == 0xFBCEA83C8A378BF1


def test_a_tar_with_a_wrong_checksum_is_refused(http: Handlers) -> None:
    vdi = http.create(2 * MIB)
    http.put(f"vdi={vdi}", noise(2 * MIB))
    answer, _ = http.get(f"vdi={vdi}&format=tar")
    broken = bytearray(answer.body)
    broken[600] ^= 1
    _, outcome = http.put(f"vdi={http.create()}&format=tar", bytes(broken))
    assert outcome == ("failure", IO_ERROR)


def test_own_framing_writes_at_offsets_and_leaves_the_rest(http: Handlers) -> None:
    vdi, data = http.create(), noise(SIZE)
    http.put(f"vdi={vdi}", data)
    frame = struct.pack("<QI", 8192, 512) + b"x" * 512 + struct.pack("<QI", 0, 0)
    _, outcome = http.put(f"vdi={vdi}&chunked=true", frame)
    assert outcome == ("success", f"<value>{vdi}</value>")
    assert http.content(vdi) == data[:8192] + b"x" * 512 + data[8704:]
    for frame in (struct.pack("<QI", 0, 100) + bytes(100), struct.pack("<QI", SIZE, 512) + bytes(512), b"short"):
        assert http.put(f"vdi={vdi}&chunked", frame)[1] == ("failure", IO_ERROR)


def test_a_short_body_changes_only_what_it_covers(http: Handlers) -> None:
    vdi, data = http.create(), noise(SIZE)
    http.put(f"vdi={vdi}", data)
    assert http.put(f"vdi={vdi}", b"y" * 4096)[1][0] == "success"
    assert http.put(f"vdi={vdi}", b"z" * 512, length=100_000)[1][0] == "success", "an early end is success for raw"
    assert http.content(vdi) == b"z" * 512 + b"y" * 3584 + data[4096:]


def test_a_body_can_make_its_vdi(http: Handlers) -> None:
    data = noise(MIB)
    _, (status, result) = http.put(f"sr_id={http.sr}", data)
    vdi = result.removeprefix("<value>").removesuffix("</value>")
    row = http.call("VDI.get_record", vdi)
    assert status == "success" and row["name_label"] == "Imported VDI" and row["virtual_size"] == 2 * MIB
    assert http.content(vdi) == data + bytes(MIB)


@pytest.mark.parametrize(
    ("query", "body", "more"),
    [
        ("", noise(SIZE + 4096), {}),
        ("", b"", {}),
        ("", b"x" * 512, {"length": None}),
        ("&format=vhd", bytes(4096), {}),
        ("&format=vhd", b"conectix" + bytes(4096), {}),
        ("&format=tar", b"x" * 4096, {}),
    ],
    ids=["longer than the disk", "empty", "no length", "not a VHD", "broken VHD", "not a tar"],
)
def test_what_does_not_fit_is_an_io_error_of_the_task(
    http: Handlers, query: str, body: bytes, more: dict[str, Any]
) -> None:
    vdi = http.create()
    answer, outcome = http.put(f"vdi={vdi}{query}", body, **more)
    assert answer.status == "HTTP/1.1 200 OK", "the status was out before the body was read"
    assert answer.body.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert b"HTTP/1.1 500 Internal Error\r\ncontent-length: 266\r\n" in answer.body
    assert answer.body.endswith(b"VDI_IO_ERROR: [ Device I/O errors ]</body></html>")
    assert outcome == ("failure", IO_ERROR)
    http.call("VDI.destroy", vdi)


def test_arguments_that_mean_nothing(http: Handlers) -> None:
    vdi = http.create()
    answer, outcome = http.put("", timeout=2)
    assert answer.status == "HTTP/1.1 400 Bad Request" and outcome == ("failure", ["VDI_MISSING"])
    for name in ("OpaqueRef:nope", "nope"):
        answer, outcome = http.put(f"vdi={name}")
        assert answer.status == "HTTP/1.1 500 Internal Error"
        assert f"Db_exn.Read_missing_uuid(&quot;VDI&quot;, &quot;&quot;, &quot;{name}&quot;)".encode() in answer.body
        message = f"UUID_INVALID: [ VDI; {name} ]"
        assert outcome == ("failure", ["RBAC_PERMISSION_DENIED", "http/put_import_raw_vdi", message])
        assert http.get(f"vdi={name}")[1][1][1:] == ["http/get_export_raw_vdi", message]
    for form in ("bogus", ""):
        for answer, outcome in (http.put(f"vdi={vdi}&format={form}"), http.get(f"vdi={vdi}&format={form}")):
            assert answer.status == "HTTP/1.0 404 Not Found" and answer.body == b""
            assert outcome == ("failure", ["INTERNAL_ERROR", f"Unknown format {form}"])
    answer, outcome = http.put(f"vdi={vdi}", length=None, headers="Transfer-Encoding: chunked\r\n")
    assert answer.status == "HTTP/1.0 404 Not Found"
    assert outcome == ("failure", ["INTERNAL_ERROR", "Cannot handle encoding: chunked"])
    answer, outcome = http.get("")
    missing = 'INTERNAL_ERROR: [ Failure("Missing vdi query parameter") ]'
    assert outcome == ("failure", ["RBAC_PERMISSION_DENIED", "http/get_export_raw_vdi", missing])
    assert answer.headers["content-length"] == "279"
    answer, outcome = http.get(f"vdi={vdi}&format=vhd&base=OpaqueRef:nope")
    assert answer.status == "HTTP/1.1 200 OK" and answer.body.startswith(b"HTTP/1.1 500 Internal Error\r\n")
    assert outcome == ("failure", ["UUID_INVALID", "VDI", "OpaqueRef:nope"])


def test_a_made_up_length_ends_with_the_image(http: Handlers) -> None:
    vdi, data = http.create(), noise(SIZE)
    stream = b"".join(bytes(part) for part in vhd.stream.from_raw([data], SIZE))
    _, outcome = http.put(f"vdi={vdi}&format=vhd", stream, length=1 << 50)
    assert outcome[0] == "success" and http.content(vdi) == data


def test_a_delta_onto_a_clone_of_its_base_gives_the_disk(http: Handlers) -> None:
    vdi, data = http.create(), noise(SIZE)
    http.put(f"vdi={vdi}", data)
    base = http.call("VDI.snapshot", vdi)
    http.put(f"vdi={vdi}&chunked", struct.pack("<QI", 4 * MIB, 4096) + b"n" * 4096 + bytes(12))
    uuid = http.call("VDI.get_uuid", base)
    answer, outcome = http.get(f"vdi={vdi}&format=vhd&base={uuid}")
    assert outcome == ("success", "") and len(answer.body) < 3 * MIB
    target = http.call("VDI.clone", base)
    assert http.put(f"vdi={target}&format=vhd", answer.body)[1][0] == "success"
    assert http.content(target) == data[: 4 * MIB] + b"n" * 4096 + data[4 * MIB + 4096 :]


def test_the_host_that_has_the_sr_gets_the_request(http: Handlers) -> None:
    other = http.xapi.hosts[1]
    sr = next(
        ref for ref, row in http.xapi.pool.store.all("SR").items()
        if row["type"] == "ext" and http.xapi.pool.storage.hosts_with(ref) == [other.ref]
    )  # fmt: skip
    vdi, task, data = http.create(4 * MIB, sr), http.task(), noise(4 * MIB)
    path = f"task_id={task}&vdi={vdi}"
    answer = http.send("GET", "/export_raw_vdi", path, timeout=2)
    assert answer.status == "HTTP/1.1 302 Found" and answer.body == b"" and "content-length" not in answer.headers
    assert answer.headers["location"] == f"{other.url}/export_raw_vdi?session_id={http.call.session}&{path}"
    assert http.call("task.get_status", task) == "pending"
    answer = http.send("PUT", "/import_raw_vdi", path, data, url=other.url)
    assert answer.status == "HTTP/1.1 200 OK" and http.outcome(task)[0] == "success"
    assert http.send("GET", "/export_raw_vdi", f"vdi={vdi}", url=other.url).body == data


def test_a_disk_in_use_is_neither_written_nor_read(http: Handlers) -> None:
    vdi = http.create()
    use = http.xapi.pool.storage.attach(vdi, False, holder="vbd")
    assert http.put(f"vdi={vdi}", b"x" * 512)[1] == ("failure", ["VDI_IN_USE", vdi, "attach"])
    assert http.get(f"vdi={vdi}")[1] == ("failure", ["VDI_IN_USE", vdi, "attach"])
    http.xapi.pool.storage.detach(use.vdi, holder="vbd")
    assert http.put(f"vdi={vdi}", b"x" * 512)[1][0] == "success"


def test_an_sr_that_fills_up_during_an_import_fails_it(http: Handlers) -> None:
    http.xapi.pool.storage.set_limit(http.sr, 5 * MIB)
    vdi = http.create()
    assert http.put(f"vdi={vdi}", noise(SIZE))[1] == ("failure", IO_ERROR)
    assert http.put(f"sr_id={http.sr}", noise(SIZE))[1][0] == "failure"
    assert http.call("SR.get_VDIs", http.sr) == [vdi], "a VDI made for a failed body goes"
    http.call("VDI.destroy", vdi)
    http.xapi.pool.storage.set_limit(http.sr, None)
    assert http.put(f"vdi={http.create()}", noise(SIZE))[1][0] == "success"


def test_a_cancelled_import_ends_and_lets_the_disk_go(http: Handlers) -> None:
    vdi, task = http.create(), http.task()
    with socket.create_connection((http.address.hostname, http.address.port), timeout=20) as connection:
        head = f"PUT /import_raw_vdi?session_id={http.call.session}&vdi={vdi}&task_id={task} HTTP/1.1\r\n"
        connection.sendall(f"{head}Content-Length: {SIZE}\r\n\r\n".encode() + b"x" * 4096)
        assert connection.recv(1000).startswith(b"HTTP/1.1 200 OK")
        store = http.xapi.pool.store
        store.wait(lambda: f"host_{http.xapi.hosts[0].ref}" in store.get("VDI", vdi)["sm_config"], 10)
        assert http.call.error("VDI.destroy", vdi) == ["VDI_IN_USE", vdi, "destroy"]
        http.call("task.cancel", task)
        status, error = http.outcome(task)
        assert status == "cancelled" and error == ["TASK_CANCELLED", task]
    http.call("VDI.destroy", vdi)


def test_a_client_that_vanishes_leaves_no_lock(http: Handlers) -> None:
    vdi, task = http.create(), http.task()
    with socket.create_connection((http.address.hostname, http.address.port), timeout=20) as connection:
        head = f"PUT /import_raw_vdi?session_id={http.call.session}&vdi={vdi}&task_id={task} HTTP/1.1\r\n"
        connection.sendall(f"{head}Content-Length: {SIZE}\r\n\r\n".encode() + b"x" * 4096)
        assert connection.recv(1000).startswith(b"HTTP/1.1 200 OK")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    assert http.outcome(task)[0] == "failure"
    http.call("VDI.destroy", vdi)


def test_a_disk_in_an_iso_sr_takes_raw_bytes(http: Handlers) -> None:
    store = http.xapi.pool.store
    sr = next(
        ref for ref, row in store.all("SR").items()
        if row["name_label"] == "ISO library" and http.xapi.pool.storage.hosts_with(ref) == [http.xapi.hosts[0].ref]
    )  # fmt: skip
    vdi, data = http.create(MIB, sr), noise(MIB)
    assert http.put(f"vdi={vdi}", data)[1][0] == "success" and http.content(vdi) == data
    use = http.xapi.pool.storage.attach(vdi, True, holder="cd")
    assert use.file is not None and use.file.read_bytes() == data and use.socket is None
    http.xapi.pool.storage.detach(vdi, holder="cd")
    answer, _ = http.get(f"vdi={vdi}&format=vhd")
    assert b"".join(bytes(p) for p in vhd.stream.to_raw([answer.body]))[:MIB] == data
    http.call("VDI.destroy", vdi)


def test_an_image_dropped_into_the_library_is_a_cd(http: Handlers) -> None:
    store = http.xapi.pool.store
    name, digest = "debian 12 (netinst).iso", hashlib.sha256(b"iso" * 1000).hexdigest()
    directory = http.xapi.settings.state / "iso" / "host1"
    (directory / name).write_bytes(b"iso" * 1000)
    (directory / "leak.iso").symlink_to("/etc/passwd")
    for unspeakable in (b"line\nbreak.iso", b"latin\xe9.iso", b"bell\a.iso"):
        Path(os.fsdecode(bytes(directory) + b"/" + unspeakable)).write_bytes(b"x")
    for ref, row in store.all("SR").items():
        if row["type"] == "iso":
            http.call("SR.scan", ref)
    (found,) = (record for record in http.call("VDI.get_all_records").values() if record["SR"])
    assert found["name_label"] == found["location"] == name and found["read_only"]
    assert found["allowed_operations"] == ["copy", "destroy", "forget"]
    vdi = http.call("VDI.get_by_uuid", found["uuid"])
    assert hashlib.sha256(http.content(vdi)).hexdigest() == digest
    assert http.call.error("VDI.clone", vdi) == ["SR_OPERATION_NOT_SUPPORTED", found["SR"]]
