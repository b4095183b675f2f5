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
"""Random work on disks, attached ones among them, against a model: bytes, sizes, chains, changed blocks and numbers
always agree.

``XAPI_DISK_STEPS=3000`` makes the long form of it.
"""

import base64
import os
import random
import subprocess
from typing import Any

from xapi_caller import Caller
from xapikit import vhd
from xapikit.host import EmbeddedHost
from xapikit.host.storage.capacity import used_bytes

STEPS = int(os.environ.get("XAPI_DISK_STEPS", "250"))
MIB = 1 << 20
CELL = 64 * 1024


class Family:
    """The tracked disks of one chain of changed-block logs, oldest first, and what each was written to since the one
    before it."""

    def __init__(self, vdi: str) -> None:
        self.members = [vdi]
        self.since: dict[str, set[int]] = {vdi: set()}

    def snapshot(self, vdi: str, made: str) -> None:
        self.members.insert(self.members.index(vdi), made)
        self.since[made], self.since[vdi] = self.since[vdi], set()

    def leave(self, vdi: str) -> None:
        place = self.members.index(vdi)
        del self.members[place]
        written = self.since.pop(vdi)
        if place < len(self.members):
            self.since[self.members[place]] |= written

    def changed(self) -> dict[tuple[str, str], set[int]]:
        """Cells that differ, for all pairs of members."""
        found: dict[tuple[str, str], set[int]] = {}
        for start, first in enumerate(self.members):
            written: set[int] = set()
            for last in self.members[start + 1 :]:
                written = written | self.since[last]
                found[first, last] = written
        return found


class World:
    """Disks and what they should hold: one byte value per cell of 64 KiB, which is also a block of tracking."""

    def __init__(self, xapi: EmbeddedHost, seed: int) -> None:
        self.xapi = xapi
        self.storage: Any = xapi.pool.storage
        self.call = Caller(xapi.urls[0], password=xapi.password)
        self.sr: str = xapi.pool.row["default_SR"]
        self.host = xapi.hosts[0].ref
        self.choose = random.Random(seed)
        self.disks: dict[str, bytearray] = {}
        self.attached: set[str] = set()
        self.snapshots: set[str] = set()
        self.families: dict[str, Family] = {}
        """Those of tracked disks, by each member."""
        self.logs: set[str] = set()
        """Snapshots of which only the log is left."""

    def step(self) -> None:
        action = self.choose.choice(
            ["create", "write", "write", "write", "snapshot", "clone", "destroy", "resize", "copy", "attach", "scan",
             "track", "snapshot", "data_destroy"]
        )  # fmt: skip
        getattr(self, action)(self.choose.choice(sorted(self.disks)) if self.disks else self.create(""))

    def create(self, _: str) -> str:
        size = self.choose.choice([2, 4, 6]) * MIB
        record = {"SR": self.sr, "virtual_size": size, "type": "user", "sharable": False, "read_only": False}
        vdi: str = self.call("VDI.create", {**record, "other_config": {}})
        self.disks[vdi] = bytearray(size // CELL)
        return vdi

    def write(self, vdi: str) -> None:
        cell = self.choose.randrange(len(self.disks[vdi]))
        value = self.choose.randrange(256)
        data = bytes([value]) * CELL
        if vdi in self.attached:
            # as a guest does: over the data path
            use = self.storage.attached(vdi, holder="guest")
            assert use.data_path.status()["paused"] is False
            self._nbd_write(use.nbd_uri, cell * CELL, value)
        else:
            with self.storage.opened(vdi, read_only=False, holder="test", host=self.host) as disk:
                disk.pwrite(cell * CELL, data)
        self.disks[vdi][cell] = value
        if vdi in self.families:
            self.families[vdi].since[vdi].add(cell)

    @staticmethod
    def _nbd_write(uri: str, offset: int, value: int) -> None:
        line = ["qemu-io", "-f", "raw", "-c", f"write -P {value} {offset} {CELL}", uri]
        done = subprocess.run(line, capture_output=True, text=True, timeout=30, check=False)
        assert "rror" not in done.stdout + done.stderr, done

    def snapshot(self, vdi: str) -> None:
        made = self.call("VDI.snapshot", vdi)
        self.disks[made] = bytearray(self.disks[vdi])
        self.snapshots.add(made)
        if vdi in self.families:
            self.families[made] = self.families[vdi]
            self.families[made].snapshot(vdi, made)

    def track(self, vdi: str) -> None:
        if vdi in self.snapshots:
            assert self.call.error("VDI.enable_cbt", vdi)[0] == "OPERATION_NOT_ALLOWED"
        elif vdi not in self.families:
            self.call("VDI.enable_cbt", vdi)
            self.families[vdi] = Family(vdi)
        elif self.choose.random() < 0.3:
            self.call("VDI.disable_cbt", vdi)
            self.families.pop(vdi).leave(vdi)

    def data_destroy(self, vdi: str) -> None:
        if vdi not in self.attached and vdi in self.snapshots and vdi in self.families:
            self.call("VDI.data_destroy", vdi)
            del self.disks[vdi]
            self.logs.add(vdi)
        elif self.logs:
            log = self.choose.choice(sorted(self.logs))
            self.call("VDI.destroy", log)
            self.logs.remove(log)
            self.families.pop(log).leave(log)

    def clone(self, vdi: str) -> None:
        self.disks[self.call("VDI.clone", vdi)] = bytearray(self.disks[vdi])

    def copy(self, vdi: str) -> None:
        if vdi not in self.attached:
            self.disks[self.call("VDI.copy", vdi, self.sr)] = bytearray(self.disks[vdi])

    def destroy(self, vdi: str) -> None:
        if vdi in self.attached:
            assert self.call.error("VDI.destroy", vdi)[0] == "VDI_IN_USE"
            return
        self.call("VDI.destroy", vdi)
        del self.disks[vdi]
        if vdi in self.families:
            self.families.pop(vdi).leave(vdi)

    def resize(self, vdi: str) -> None:
        if vdi not in self.attached and len(self.disks[vdi]) * CELL < 16 * MIB:
            self.call("VDI.resize", vdi, len(self.disks[vdi]) * CELL + 2 * MIB)
            self.disks[vdi] += bytes(2 * MIB // CELL)

    def attach(self, vdi: str) -> None:
        if vdi in self.attached:
            self.storage.detach(vdi, holder="guest")
            self.attached.remove(vdi)
        elif len(self.attached) < 2:
            self.storage.attach(vdi, False, holder="guest")
            self.attached.add(vdi)

    def scan(self, _: str) -> None:
        self.call("SR.scan", self.sr)

    def check(self) -> None:
        for vdi in sorted(self.attached):
            self.attach(vdi)
        assert self.storage.collector.wait_idle(60)
        store = self.xapi.pool.store
        directory = self.storage.plugged(self.sr).directory
        rows = {ref: store.get("VDI", ref) for ref in store.get("SR", self.sr)["VDIs"]}
        assert {ref for ref, row in rows.items() if row["managed"]} == self.disks.keys() | self.logs
        assert {ref for ref, row in rows.items() if row["cbt_enabled"]} == self.families.keys()
        logs = {f"{rows[ref]['uuid']}.cbtlog" for ref in self.families}
        for ref in self.logs:
            assert rows.pop(ref)["type"] == "cbt_metadata"
        assert {path.name for path in directory.iterdir()} == {f"{row['uuid']}.vhd" for row in rows.values()} | logs
        self._check_changes()
        children: dict[str, int] = {}
        for row in rows.values():
            info = vhd.info(directory / f"{row['uuid']}.vhd")
            parent = row["sm_config"].get("vhd-parent")
            assert info.parent_name == (f"{parent}.vhd" if parent else None)
            assert info.hidden == (not row["managed"]) and info.virtual_size == row["virtual_size"]
            if parent:
                children[parent] = children.get(parent, 0) + 1
        bases = {row["uuid"] for row in rows.values() if not row["managed"]}
        assert children.keys() == bases and min(children.values(), default=2) >= 2, "every base copy is needed"
        for vdi, cells in self.disks.items():
            with vhd.open_chain(directory / f"{rows[vdi]['uuid']}.vhd") as disk:
                assert disk.size == len(cells) * CELL
                for cell, value in enumerate(cells):
                    assert disk.pread(cell * CELL, CELL) == bytes([value]) * CELL
        self.call("SR.update", self.sr)
        sr = store.get("SR", self.sr)
        assert sr["virtual_allocation"] == sum(row["virtual_size"] for row in rows.values() if row["managed"])
        assert sr["physical_utilisation"] == used_bytes(directory)

    def _check_changes(self) -> None:
        for family in set(self.families.values()):
            for (first, last), cells in family.changed().items():
                bitmap = base64.b64decode(self.call("VDI.list_changed_blocks", first, last))
                told = {cell for cell in range(len(bitmap) * 8) if bitmap[cell // 8] & 0x80 >> cell % 8}
                assert told == cells


def test_disks_hold_what_was_written_whatever_happens_around_them(xapi_host: EmbeddedHost) -> None:
    world = World(xapi_host, STEPS)
    for number in range(STEPS):
        world.step()
        while len(world.disks) > 25:
            victim = world.choose.choice(sorted(world.disks))
            if victim in world.attached:
                world.attach(victim)
            world.destroy(victim)
        if number % 100 == 99:
            world.check()
    world.check()
