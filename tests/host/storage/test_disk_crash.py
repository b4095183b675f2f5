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
"""``kill -9`` of the server while disks are made, branched, written and removed: files and rows agree afterwards."""

import base64
import http.client
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from host.crash import ROUNDS, Killed, Load
from xapi_caller import Caller, CallFailed
from xapikit import vhd
from xapikit.host import EmbeddedHost

CLIENTS = 3
MIB = 1 << 20


class Disks(Load):
    """Works on disks of its own."""

    def __init__(self, url: str, password: str, seed: str) -> None:
        super().__init__(url, password, seed)
        self.sr: str = self.caller("pool.get_all_records").popitem()[1]["default_SR"]
        self.alive: dict[str, bytes] = {}
        """Acknowledged disks and what their first bytes are."""
        self.snapshots: list[tuple[str, str, bytes]] = []
        """Acknowledged snapshots of tracked disks: the disk, the snapshot, the first bytes at that time."""
        self.tracked: set[str] = set()
        self.destroyed: set[str] = set()
        self.doubtful: set[str] = set()
        """Disks that the call cut short was about."""

    def step(self) -> None:
        action = self.choose.random()
        if not self.alive or action < 0.25:
            record = {"SR": self.sr, "virtual_size": 4 * MIB, "type": "user", "sharable": False, "read_only": False}
            vdi = self.caller("VDI.create", {**record, "other_config": {}})
            self.alive[vdi] = bytes(16)
            if self.choose.random() < 0.5:
                self.caller("VDI.enable_cbt", vdi)
                self.tracked.add(vdi)
            return
        vdi = self.choose.choice(sorted(self.alive))
        if action < 0.5:
            content = self.choose.randbytes(16)
            self.doubtful = {vdi}
            self._write(vdi, content)
            self.alive[vdi] = content
        elif action < 0.75:
            method = self.choose.choice(["VDI.snapshot", "VDI.clone"])
            made = self.caller(method, vdi)
            self.alive[made] = self.alive[vdi]
            if method == "VDI.snapshot" and vdi in self.tracked:
                self.snapshots.append((vdi, made, self.alive[vdi]))
        else:
            self.doubtful = {vdi}
            self.caller("VDI.destroy", vdi)
            del self.alive[vdi]
            self.destroyed.add(vdi)
        self.doubtful = set()

    def _write(self, vdi: str, content: bytes) -> None:
        connection = http.client.HTTPConnection(urlsplit(self.url).netloc, timeout=30)
        try:
            task = self.caller("task.create", "import", "")
            path = f"/import_raw_vdi?session_id={self.caller.session}&vdi={vdi}&task_id={task}"
            connection.request("PUT", path, content.ljust(512, b"\0"))
            connection.getresponse().read()
            while self.caller("task.get_status", task) == "pending":
                self.caller("event.from", [f"task/{task}"], "", 0.1)
            if self.caller("task.get_status", task) != "success":
                raise CallFailed(self.caller("task.get_error_info", task))
            self.caller("task.destroy", task)
        finally:
            connection.close()


@pytest.mark.timeout(60 + 10 * ROUNDS)
def test_disks_survive_kill_and_nothing_half_made_stays(tmp_path: Path) -> None:
    expected: dict[str, bytes] = {}
    doubtful: set[str] = set()
    destroyed: set[str] = set()
    snapshots: list[tuple[str, str, bytes]] = []

    def check(number: int, caller: Caller, loads: list[Disks]) -> None:
        for load in loads:
            expected.update(load.alive)
            doubtful.update(load.doubtful)
            destroyed.update(load.destroyed)
            snapshots.extend(load.snapshots)
        there = {ref: row for ref, row in caller("VDI.get_all_records").items() if row["managed"]}
        assert expected.keys() - doubtful - destroyed <= there.keys()
        assert not destroyed & there.keys()
        # one per client may have been made without a word
        assert len(there.keys() - expected.keys()) <= CLIENTS * number
        assert not [key for row in there.values() for key in row["sm_config"] if key.startswith("host_")]

    killed = Killed[Disks](tmp_path / "pool")
    killed.rounds(ROUNDS, Disks, check, clients=CLIENTS, seconds=(0.2, 1.0))
    with EmbeddedHost(state=killed.state, password=killed.password) as xapi:
        storage, store = xapi.pool.storage, xapi.pool.store
        caller = Caller(xapi.urls[0], password=killed.password)
        sr = xapi.pool.row["default_SR"]
        caller("SR.scan", sr)
        assert storage.collector.wait_idle(30)
        directory = storage.plugged(sr).directory
        rows = {store.get("VDI", ref)["uuid"]: ref for ref in store.get("SR", sr)["VDIs"]}
        logs = {f"{uuid}.cbtlog" for uuid, ref in rows.items() if store.get("VDI", ref)["cbt_enabled"]}
        assert {path.name for path in directory.iterdir()} == {f"{uuid}.vhd" for uuid in rows} | logs
        for uuid, ref in rows.items():
            with vhd.open_chain(directory / f"{uuid}.vhd") as disk:
                if ref in expected and ref not in doubtful:
                    assert disk.pread(0, 16) == expected[ref]
        for vdi, snapshot, content in snapshots:
            if {vdi, snapshot} & (doubtful | destroyed):
                continue
            bitmap = base64.b64decode(caller("VDI.list_changed_blocks", snapshot, vdi))
            assert expected[vdi] == content or bitmap[0] & 0x80, "a block that was written is told"
        caller.close()
    assert len(expected) > ROUNDS
