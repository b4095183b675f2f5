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
"""A guest as an archive: made here, or put together as older hosts, other tools and attackers do."""

import hashlib
import io
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transfer_rig import Answer, Handlers, noise
from xapikit.host import EmbeddedHost
from xapikit.wire.xmlrpc import decode_fragment, encode_fragment

MIB = 1 << 20
CONTENT = noise(2 * MIB) + bytes(3 * MIB) + noise(MIB, 2) + bytes(2 * MIB)
"""A disk with holes inside and at its end."""


@dataclass
class Guest:
    """A halted VM with one disk and one NIC."""

    vm: str
    uuid: str
    vdi: str
    network: str
    mac: str


class Archives(Handlers):
    """Exports and imports by hand, against a pool of two hosts."""

    def __init__(self, xapi: EmbeddedHost) -> None:
        super().__init__(xapi)
        self.store = xapi.pool.store

    def guest(self, name: str = "golden", content: bytes = CONTENT, **fields: Any) -> Guest:
        vm = self.call("VM.clone", self.template(), name)
        self.call("VM.set_is_a_template", vm, False)
        vdi = self.create(len(content))
        assert self.put(f"vdi={vdi}", content)[1][0] == "success"
        self.attach(vm, vdi, "0")
        network = next(iter(self.store.all("network")))
        record = {"device": "0", "network": network, "VM": vm, "MAC": "", "MTU": 1500, "other_config": {}}
        vif = self.call("VIF.create", {**record, "qos_algorithm_type": "", "qos_algorithm_params": {}})
        row = self.store.get("VM", vm)
        return Guest(vm, row["uuid"], vdi, network, self.store.get("VIF", vif)["MAC"])

    def template(self) -> str:
        return next(ref for ref, row in self.store.all("VM").items() if row["name_label"] == "Other install media")

    def attach(self, vm: str, vdi: str, device: str, **members: Any) -> str:
        record = {
            "VM": vm, "VDI": vdi, "userdevice": device, "bootable": device == "0", "mode": "RW", "type": "Disk",
            "unpluggable": True, "empty": False, "other_config": {}, "qos_algorithm_type": "",
            "qos_algorithm_params": {}, **members,
        }  # fmt: skip
        vbd: str = self.call("VBD.create", record)
        return vbd

    def export(self, guest: str, query: str = "", *, path: str = "/export") -> tuple[Answer, tuple[str, Any]]:
        task = self.task()
        answer = self.send("GET", path, f"task_id={task}&uuid={guest}&{query}")
        return answer, self.outcome(task)

    def archive(self, uuid: str, query: str = "") -> bytes:
        answer, (status, result) = self.export(uuid, query)
        assert (answer.status, status) == ("HTTP/1.0 200 OK", "success"), result
        return answer.body

    def take(
        self, body: bytes, query: str = "", *, path: str = "/import", **more: Any
    ) -> tuple[Answer, tuple[str, Any]]:
        task = self.task()
        sr = f"sr_id={self.sr}&" if path == "/import" else ""
        answer = self.send("PUT", path, f"task_id={task}&{sr}{query}", body, **more)
        return answer, self.outcome(task)

    def imported(self, body: bytes, query: str = "", *, path: str = "/import") -> list[str]:
        """References of the VMs that an import made."""
        _, (status, result) = self.take(body, query, path=path)
        assert status == "success", result
        vms = decode_fragment(result)
        assert isinstance(vms, list)
        return [str(vm) for vm in vms]

    def disks(self, vm: str) -> list[str]:
        vbds = (self.store.get("VBD", vbd) for vbd in self.store.get("VM", vm)["VBDs"])
        return [vbd["VDI"] for vbd in vbds if vbd["type"] == "Disk"]

    def everything(self) -> dict[str, set[str]]:
        """References of all that an import could leave behind, and the files of all SRs."""
        classes = ("VM", "VBD", "VIF", "VDI", "network", "VM_metrics", "VM_guest_metrics")
        found = {name: set(self.store.all(name)) for name in classes}
        state = Path(self.xapi.pool.state)
        found["files"] = {str(path) for path in (state / "sr").rglob("*") if path.is_file() and path.suffix == ".vhd"}
        return found


def members(archive: bytes) -> list[tuple[str, bytes]]:
    """Files of a tar, as another reader of tars sees them."""
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        return [(info.name, file.read()) for info in tar if (file := tar.extractfile(info)) is not None]


def packed(files: list[tuple[str, bytes]]) -> bytes:
    """A tar, as another writer of tars makes it."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, content in files:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return made.getvalue()


def document(archive: bytes) -> Any:
    return decode_fragment(dict(members(archive))["ova.xml"].decode())


def rewritten(archive: bytes, changed: Any) -> bytes:
    """The archive with another document."""
    text = encode_fragment(changed).encode()
    return packed([(name, text if name == "ova.xml" else content) for name, content in members(archive)])


def with_version(archive: bytes, **version: Any) -> bytes:
    said = document(archive)
    return rewritten(archive, {**said, "version": {**said["version"], **version}})


def as_older_hosts(archive: bytes, form: int) -> bytes:
    """With SHA-1 checksums behind the chunks, with those and a table at the end (1), with the table alone (0)."""
    table: dict[str, str] = {}
    files: list[tuple[str, bytes]] = []
    for name, content in members(with_version(archive, export_vsn=form)):
        if name.endswith(".xxhash"):
            continue
        files.append((name, content))
        if name != "ova.xml":
            table[name] = hashlib.sha1(content).hexdigest()  # noqa: S324 - what those hosts wrote
            if form > 0:
                files.append((f"{name}.checksum", table[name].encode()))
    if form < 2:
        files.append(("checksum.xml", encode_fragment(table).encode()))
    return packed(files)


def objects(archive: bytes, class_name: str) -> list[Mapping[str, Any]]:
    return [item["snapshot"] for item in document(archive)["objects"] if item["class"] == class_name]
