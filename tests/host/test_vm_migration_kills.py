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
"""One of two servers is killed while a VM moves between their pools: exactly one has it afterwards, and can use it.

``XAPI_MOVE_ROUNDS=100`` makes the long form of it.
"""

import http.client
import os
import random
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from bootsector import writer_disk, written
from host.crash import END_SECONDS, serving
from host.test_vm_power import RECORD, disk, plugged
from xapi_caller import Caller, CallFailed
from xapikit import vhd
from xapikit.host.domains.qemu import accel

ROUNDS = int(os.environ.get("XAPI_MOVE_ROUNDS", "2"))
MIB = 1 << 20
SETTLE_SECONDS = 60.0
qemu = pytest.mark.skipif(accel.program() is None, reason="QEMU is not installed (apt-get install qemu-system-x86)")


@dataclass
class Pool:
    """A server process, its state and a caller."""

    state: Path
    process: subprocess.Popen[str]
    port: str
    call: Caller

    @property
    def host(self) -> str:
        return str(self.call("host.get_all")[0])

    @property
    def network(self) -> str:
        rows = self.call("network.get_all_records")
        return next(ref for ref, row in rows.items() if row["bridge"] == "xenbr0")

    def with_uuid(self, uuid: str) -> str | None:
        """The VM, if this pool has it."""
        with suppress(CallFailed):
            return str(self.call("VM.get_by_uuid", uuid))
        return None

    def leftovers(self) -> list[str]:
        """Disks that belong to no VM, and notes of moves that are not over."""
        rows = self.call("VDI.get_all_records")
        loose = [row["uuid"] for row in rows.values() if row["managed"] and not row["VBDs"] and row["type"] == "user"]
        open_ = [path.name for path in (self.state / "moves").glob("*") if '"committed"' not in path.read_text()]
        return [*loose, *open_]


@contextmanager
def pool(state: Path, kind: str, port: str = "0", *, hosts: int = 1) -> Iterator[Pool]:
    options = (
        "--hosts",
        str(hosts),
        "--domains",
        kind,
        "--option",
        "qemu_accelerator=tcg",
        "--http",
        f"127.0.0.1:{port}",
    )
    with serving(state, *options) as (process, ready):
        url = ready["hosts"][0]["http"]
        caller = Caller(url, password=Path(ready["password_file"]).read_text().strip())
        yield Pool(state, process, url.rpartition(":")[2].strip("/"), caller)
        caller.close()


def send(source: Pool, vm: str, dest: dict[str, str], disks: dict[str, str], networks: dict[str, str]) -> None:
    """A move, on a connection of its own that may break."""
    caller = Caller(source.call.url, password=None)
    caller.session = source.call.session
    with suppress(CallFailed, OSError, http.client.HTTPException, ValueError):
        caller("VM.migrate_send", vm, dest, True, disks, networks, {})
    caller.close()


def settled(pools: tuple[Pool, Pool], uuid: str) -> int:
    """Wait until nothing is in doubt any more; the number of the pool that has the VM."""
    waited = 0.0
    while waited < SETTLE_SECONDS:
        rows = [p.call("VM.get_record", vm) if (vm := p.with_uuid(uuid)) else None for p in pools]
        owners = [number for number, row in enumerate(rows) if row is not None]
        busy = any(row and row["current_operations"] for row in rows) or any(p.leftovers() for p in pools)
        if len(owners) == 1 and not busy:
            return owners[0]
        # changes of the pool where it may go away wake this up
        pools[0].call("event.from", ["vm", "vdi"], pools[0].call("event.from", ["vm"], "", 0.0)["token"], 0.5)
        waited += 0.5
    raise AssertionError((owners, [row and row["current_operations"] for row in rows], [p.leftovers() for p in pools]))


def content(owner: Pool, vm: str) -> bytes:
    """The disk of a VM without a guest."""
    (vbd,) = owner.call("VM.get_VBDs", vm)
    row = owner.call("VDI.get_record", owner.call("VBD.get_VDI", vbd))
    (path,) = owner.state.rglob(f"{row['uuid']}.vhd")
    with vhd.open_chain(path) as chain:
        return chain.pread(0, chain.size)


def started(source: Pool, image: bytes) -> tuple[str, str]:
    """A running VM with a disk and a snapshot; its reference and uuid."""
    vm = source.call("VM.create", {**RECORD, "memory_dynamic_max": 1 << 25, "memory_dynamic_min": 1 << 25,
                                   "memory_static_min": 1 << 25})  # fmt: skip
    vdi = disk(source.call, len(image))
    plugged(source.call, vm, vdi)
    vif = {"device": "0", "network": source.network, "VM": vm, "MAC": "", "MTU": "0", "other_config": {},
           "qos_algorithm_type": "", "qos_algorithm_params": {}}  # fmt: skip
    source.call("VIF.create", vif)
    (path,) = source.state.rglob(f"{source.call('VDI.get_uuid', vdi)}.vhd")
    with vhd.open_chain(path, writable=True) as chain:
        chain.pwrite(0, image)
    source.call("VM.snapshot", vm, "s", [])
    source.call("VM.start", vm, False, False)
    return vm, str(source.call("VM.get_uuid", vm))


class Two:
    """Two pools, each in a server that may be killed and started again."""

    def __init__(self, directory: Path, kind: str) -> None:
        self._directory, self._kind = directory, kind
        self._stacks = [ExitStack(), ExitStack()]
        self.pools = [self._start(number, "0") for number in (0, 1)]

    def _start(self, number: int, port: str) -> Pool:
        return self._stacks[number].enter_context(pool(self._directory / "ab"[number], self._kind, port))

    def kill(self, number: int) -> None:
        self.pools[number].process.kill()
        self.pools[number].process.wait(END_SECONDS)

    def start_again(self, number: int) -> None:
        self._stacks[number].close()
        self.pools[number] = self._start(number, self.pools[number].port)

    def close(self) -> None:
        for stack in self._stacks:
            stack.close()


def kill_while_moving(two: Two, rounds: int, image: bytes, longest: float) -> tuple[Pool, str]:
    """Move a VM to and fro and kill one of the servers each time; the pool that has it in the end, and the VM."""
    chance = random.Random(rounds)
    vm, uuid = started(two.pools[0], image)
    owner = 0
    for _ in range(rounds):
        source, target = two.pools[owner], two.pools[1 - owner]
        dest = target.call("host.migrate_receive", target.host, target.network, {})
        networks = dict.fromkeys(source.call("VM.get_VIFs", vm), target.network)
        mover = threading.Thread(target=send, args=(source, vm, dest, {}, networks))
        mover.start()
        threading.Event().wait(chance.uniform(0.05, longest))  # nobody sets it: the kill comes at a random moment
        victim = chance.choice((0, 1))
        two.kill(victim)
        two.start_again(victim)  # the other one may be asking for it
        mover.join(SETTLE_SECONDS)
        assert not mover.is_alive()
        owner = settled((two.pools[0], two.pools[1]), uuid)
        vm = two.pools[owner].with_uuid(uuid) or ""
        call = two.pools[owner].call
        if call("VM.get_power_state", vm) == "Halted":
            call("VM.start", vm, False, False)
        assert call("VM.get_power_state", vm) == "Running"
        assert len(call("VM.get_snapshots", vm)) == 1 and len(call("VM.get_consoles", vm)) == 2
    return two.pools[owner], vm


def killed_inside(state: Path, kind: str, rounds: int, image: bytes, longest: float) -> None:
    """Move a VM between the hosts of a pool, with its disk, and kill the server each time: the VM runs on one host
    with a disk that this host sees, and nothing else is left."""
    chance = random.Random(rounds)
    vm, uuid = "", ""
    for number in range(rounds + 1):
        with pool(state, kind, hosts=2) as here:
            call = here.call
            hosts = call("host.get_all")
            pbds = call("PBD.get_all_records").values()
            ext = {ref for ref, row in call("SR.get_all_records").items() if row["type"] == "ext"}
            srs = {pbd["host"]: pbd["SR"] for pbd in pbds if pbd["SR"] in ext}
            if not number:
                vm, uuid = started(here, image)
            row = call("VM.get_record", vm)
            assert (row["uuid"], row["power_state"], row["current_operations"]) == (uuid, "Running", {})
            assert row["scheduled_to_be_resident_on"] == "OpaqueRef:NULL" and len(row["consoles"]) == 2
            vdi = call("VBD.get_VDI", row["VBDs"][0])
            assert call("VDI.get_SR", vdi) == srs[row["resident_on"]] and not here.leftovers()
            locks = [key for key in call("VDI.get_sm_config", vdi) if key.startswith("host_")]
            assert locks == [f"host_{row['resident_on']}"]
            if kind == "qemu":
                for directory in ("qemu", "disk"):
                    assert len(list((state / "run" / directory).glob("*.json"))) == 1, directory
            if number == rounds:
                call("VM.hard_shutdown", vm)
                found = content(here, vm)
                assert found == image if kind == "timed" else written(found) > 0
                return
            target = next(host for host in hosts if host != row["resident_on"])
            dest = call("host.migrate_receive", target, here.network, {})
            mover = threading.Thread(target=send, args=(here, vm, dest, {vdi: srs[target]}, {}))
            mover.start()
            threading.Event().wait(chance.uniform(0.02, longest))  # nobody sets it: the kill comes at a random moment
            here.process.kill()
            here.process.wait(END_SECONDS)
            mover.join(SETTLE_SECONDS)
            assert not mover.is_alive()


@pytest.fixture
def two(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Two]:
    made = Two(tmp_path, request.param)
    yield made
    made.close()


@pytest.mark.timeout(60 + 15 * ROUNDS)
@pytest.mark.parametrize("two", ["timed"], indirect=True)
def test_exactly_one_pool_has_a_vm_whose_move_was_cut_by_a_kill(two: Two) -> None:
    image = b"".join(bytes([number]) * MIB for number in range(1, 9))
    owner, vm = kill_while_moving(two, ROUNDS, image, 0.5)
    owner.call("VM.hard_shutdown", vm)
    assert content(owner, vm) == image


@pytest.mark.timeout(60 + 10 * ROUNDS)
def test_a_vm_runs_on_one_host_when_its_move_was_cut_by_a_kill(tmp_path: Path) -> None:
    image = b"".join(bytes([number]) * MIB for number in range(1, 9))
    killed_inside(tmp_path / "a", "timed", ROUNDS, image, 0.4)


@pytest.mark.slow
@qemu
@pytest.mark.timeout(60 + 20 * ROUNDS)
def test_a_guest_runs_on_one_host_when_its_move_was_cut_by_a_kill(tmp_path: Path) -> None:
    killed_inside(tmp_path / "a", "qemu", ROUNDS, writer_disk(), 2.5)
    assert not list(tmp_path.glob("*/run/qemu/*.json")), "no guest is left"


@pytest.mark.slow
@qemu
@pytest.mark.timeout(60 + 30 * ROUNDS)
@pytest.mark.parametrize("two", ["qemu"], indirect=True)
def test_exactly_one_pool_has_a_guest_whose_move_was_cut_by_a_kill(two: Two, tmp_path: Path) -> None:
    owner, vm = kill_while_moving(two, ROUNDS, writer_disk(), 3.0)
    owner.call("VM.hard_shutdown", vm)
    assert written(content(owner, vm)) > 0
    assert not list(tmp_path.glob("*/run/qemu/*.json")), "no guest is left"
