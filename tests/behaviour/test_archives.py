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
"""Promises about VMs as archives, and about pictures of screens."""

import http.client
import io
import random
import tarfile
from collections.abc import Callable
from typing import Any

import pytest

from behaviour.conftest import MIB, Caller, Maker, Wire
from xapikit.client import XapiClient, errors

CONTENT = random.Random(3).randbytes(MIB) + bytes(4 * MIB) + random.Random(4).randbytes(MIB) + bytes(2 * MIB)


class Archives:
    """Transfers with the coordinator, each under a task of its own."""

    def __init__(self, xapi: Caller, make: Maker, wire: Wire) -> None:
        self.xapi, self.make, self.wire = xapi, make, wire

    def guest(self, name: str = "behaviour-archive") -> tuple[str, str]:
        """A VM and its disk."""
        vm = self.make.vm(name)
        vdi = self.make.disk(len(CONTENT))
        self.xapi.client.import_vdi(vdi, [CONTENT], len(CONTENT))
        self.make.vbd(vm, vdi)
        return vm, vdi

    def _ask(self, method: str, path: str, body: bytes | None = None) -> tuple[http.client.HTTPResponse, str]:
        task = self.make.task()
        session = self.xapi.client.session()
        self.wire.connection.close()
        self.wire.connection.request(method, f"{path}&task_id={task}", body, {"Cookie": f"session_id={session}"})
        reply = self.wire.connection.getresponse()
        if reply.status == 302:
            pytest.skip("the coordinator does not have the disk SR of this test")
        return reply, task

    def get(self, path: str) -> bytes:
        """What a GET brings when its task succeeds."""
        reply, task = self._ask("GET", path)
        assert reply.status == 200
        body = reply.read()
        self._outcome(task, path)
        return body

    def put(self, path: str, body: bytes) -> list[str]:
        """The VMs of an import, which vanish with the test. Raises its error."""
        _, task = self._ask("PUT", path, body)
        vms = self._outcome(task, path)
        assert isinstance(vms, list)
        for vm in vms:
            self.make.later("VM.destroy", vm)
            for vbd in self.xapi("VM.get_VBDs", vm):
                if self.xapi("VBD.get_type", vbd) == "Disk":
                    self.make.later("VDI.destroy", self.xapi("VBD.get_VDI", vbd))
        return [str(vm) for vm in vms]

    def error(self, path: str) -> list[str]:
        """What the task of a refused GET says."""
        reply, task = self._ask("GET", path)
        assert reply.status == 500
        return self.refused(lambda: self._outcome(task, path))

    def _outcome(self, task: str, path: str) -> Any:
        return self.xapi.client.adopt_task(task, path).result(60)

    def refused(self, action: Callable[[], Any]) -> list[str]:
        with pytest.raises(errors.XapiError) as caught:
            action()
        return [caught.value.code, *caught.value.params]


@pytest.fixture
def archives(xapi: Caller, make: Maker, wire: Wire) -> Archives:
    return Archives(xapi, make, wire)


def files(archive: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        return {info.name: file.read() for info in tar if (file := tar.extractfile(info)) is not None}


def contents(client: XapiClient, xapi: Caller, vm: str) -> bytes:
    (vbd,) = xapi("VM.get_VBDs", vm)
    with client.export_vdi(xapi("VBD.get_VDI", vbd)) as chunks:
        return b"".join(chunks)


def test_an_archive_is_a_document_and_the_chunks_of_the_disks(archives: Archives) -> None:
    vm, _ = archives.guest()
    found = files(archives.get(f"/export?ref={vm}"))
    names = list(found)
    assert names[0] == "ova.xml" and found["ova.xml"].startswith(b"<value><struct>")
    chunks = [name for name in names[1:] if not name.endswith((".xxhash", ".checksum"))]
    stem = chunks[0].partition("/")[0]
    assert chunks[0] == f"{stem}/00000000" and chunks[-1] == f"{stem}/{len(CONTENT) // MIB - 1:08d}"
    assert all(found[name] == CONTENT[int(name[-8:]) * MIB :][:MIB] for name in chunks)
    assert len(names) == 1 + 2 * len(chunks)


@pytest.mark.parametrize("compression", ["false", "true"])
def test_an_exported_vm_comes_back_with_its_contents(
    archives: Archives, xapi: Caller, client: XapiClient, compression: str
) -> None:
    vm, _ = archives.guest()
    body = archives.get(f"/export?ref={vm}&use_compression={compression}")
    (copy,) = archives.put(f"/import?sr_id={archives.make.sr()}", body)
    record = xapi("VM.get_record", copy)
    assert record["name_label"] == "behaviour-archive" and record["power_state"] == "Halted"
    assert record["uuid"] != xapi("VM.get_uuid", vm)
    assert contents(client, xapi, copy) == CONTENT


def test_a_restore_keeps_the_uuid_of_a_vm_that_is_gone(archives: Archives, xapi: Caller) -> None:
    vm, _ = archives.guest()
    uuid = xapi("VM.get_uuid", vm)
    body = archives.get(f"/export?ref={vm}")
    where = f"/import?restore=true&sr_id={archives.make.sr()}"
    assert archives.refused(lambda: archives.put(where, body))[0] == "VM_TO_IMPORT_IS_NOT_NEWER_VERSION"
    xapi("VM.destroy", vm)
    (restored,) = archives.put(where, body)
    assert xapi("VM.get_uuid", restored) == uuid


def test_a_damaged_archive_leaves_no_vm(archives: Archives, xapi: Caller) -> None:
    vm, _ = archives.guest("behaviour-damaged")
    body = archives.get(f"/export?ref={vm}")
    where = f"/import?sr_id={archives.make.sr()}"
    position = body.index(CONTENT[:512])
    broken = body[:position] + bytes([body[position] ^ 1]) + body[position + 1 :]
    assert archives.refused(lambda: archives.put(where, broken))[0].startswith("IMPORT_ERROR")
    assert archives.refused(lambda: archives.put(where, body[: len(body) // 2])) == ["IMPORT_ERROR_PREMATURE_EOF"]
    assert xapi("VM.get_by_name_label", "behaviour-damaged") == [vm]


def test_metadata_is_rehearsed_without_a_trace(archives: Archives, xapi: Caller) -> None:
    vm, _ = archives.guest("behaviour-metadata")
    snapshot = xapi("VM.snapshot", vm, "behaviour-snapshot")
    archives.make.later("VM.destroy", snapshot)
    for vbd in xapi("VM.get_VBDs", snapshot):
        archives.make.later("VDI.destroy", xapi("VBD.get_VDI", vbd))
    body = archives.get(f"/export_metadata?ref={vm}")
    found = files(body)
    assert list(found) == ["ova.xml"] and b"behaviour-snapshot" in found["ova.xml"]
    assert archives.put("/import_metadata?dry_run=true", body) == []
    assert xapi("VM.get_by_name_label", "behaviour-metadata") == [vm]


@pytest.mark.usefixtures("runs_vms")
def test_a_running_vm_is_not_exported_and_shows_its_screen(archives: Archives, xapi: Caller) -> None:
    vm, _ = archives.guest()
    (pool,) = xapi("pool.get_all")
    archives.make.later("VM.hard_shutdown", vm)
    xapi("VM.start_on", vm, xapi("pool.get_master", pool), False, False)
    assert archives.error(f"/export?ref={vm}") == ["VM_BAD_POWER_STATE", vm, "halted, suspended", "running"]
    picture = archives.get(f"/vncsnapshot?uuid={xapi('VM.get_uuid', vm)}")
    assert picture.startswith(b"\xff\xd8") and picture.endswith(b"\xff\xd9")
