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
"""Random work on disks, attached ones among them, against a model: bytes, sizes, chains and numbers always agree.

``XAPI_DISK_STEPS=3000`` makes the long form of it.
"""

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


class World:
    """Disks and what they should hold: one byte value per cell of 64 KiB."""

    def __init__(self, xapi: EmbeddedHost, seed: int) -> None:
        self.xapi = xapi
        self.storage: Any = xapi.pool.storage
        self.call = Caller(xapi.urls[0], password=xapi.password)
        self.sr: str = xapi.pool.row["default_SR"]
        self.host = xapi.hosts[0].ref
        self.choose = random.Random(seed)
        self.disks: dict[str, bytearray] = {}
        self.attached: set[str] = set()

    def step(self) -> None:
        action = self.choose.choice(
            ["create", "write", "write", "write", "snapshot", "clone", "destroy", "resize", "copy", "attach", "scan"]
        )
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

    @staticmethod
    def _nbd_write(uri: str, offset: int, value: int) -> None:
        line = ["qemu-io", "-f", "raw", "-c", f"write -P {value} {offset} {CELL}", uri]
        done = subprocess.run(line, capture_output=True, text=True, timeout=30, check=False)
        assert "rror" not in done.stdout + done.stderr, done

    def snapshot(self, vdi: str) -> None:
        self.disks[self.call("VDI.snapshot", vdi)] = bytearray(self.disks[vdi])

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
        assert {ref for ref, row in rows.items() if row["managed"]} == self.disks.keys()
        assert {path.name for path in directory.iterdir()} == {f"{row['uuid']}.vhd" for row in rows.values()}
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
