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
"""VMs move from one pool to another with their disks, snapshots and guests, or stay as they were."""

import http.client
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import pytest

from host.test_vm_power import RECORD, disk, domain, messages, plugged, read_until
from xapi_caller import Caller
from xapikit import vhd
from xapikit.host import EmbeddedHost

MIB = 1 << 20


@dataclass
class Side:
    """One pool of a move."""

    xapi: EmbeddedHost
    call: Caller

    @property
    def host(self) -> str:
        return self.xapi.hosts[0].ref

    @property
    def network(self) -> str:
        (ref,) = (ref for ref, row in self.xapi.pool.store.all("network").items() if row["bridge"] == "xenbr0")
        return str(ref)

    @property
    def sr(self) -> str:
        return str(self.call("pool.get_default_SR", self.call("pool.get_all")[0]))

    def receive(self) -> dict[str, str]:
        dest: dict[str, str] = self.call("host.migrate_receive", self.host, self.network, {})
        return dest

    def content(self, vdi: str) -> bytes:
        """All bytes of a disk, through its chain."""
        with vhd.open_chain(self.xapi.pool.storage.path_of(vdi)) as chain:
            return chain.pread(0, chain.size)

    def write(self, vdi: str, offset: int, data: bytes) -> None:
        """What a guest would write."""
        with vhd.open_chain(self.xapi.pool.storage.path_of(vdi), writable=True) as chain:
            chain.pwrite(offset, data)

    def inventory(self) -> dict[str, Any]:
        """What must be as before when a move failed: VMs, devices, disks on their own, files, notes."""
        store, state = self.xapi.pool.store, self.xapi.settings.state
        rows = {name: set(store.all(name)) for name in ("VM", "VBD", "VIF", "network", "VM_metrics", "console")}
        rows["VDI"] = {ref for ref, row in store.all("VDI").items() if row["managed"]}
        return {
            **rows,
            "notes": list((state / "moves").glob("*")),
            "uses": len(self.xapi.pool.storage.attachments.all()),
        }


@pytest.fixture
def pools() -> Iterator[tuple[Side, Side]]:
    with EmbeddedHost(hosts=1) as one, EmbeddedHost(hosts=2) as two:
        sides = [Side(xapi, Caller(xapi.urls[0], password=xapi.password)) for xapi in (one, two)]
        yield sides[0], sides[1]
        for side in sides:
            side.call.close()


def machine(side: Side, **fields: Any) -> str:
    """A VM with one NIC."""
    vm: str = side.call("VM.create", {**RECORD, **fields})
    vif = {"device": "0", "network": side.network, "VM": vm, "MAC": "", "MTU": "0", "other_config": {},
           "qos_algorithm_type": "", "qos_algorithm_params": {}}  # fmt: skip
    side.call("VIF.create", vif)
    return vm


def vif_map(source: Side, vm: str, target: Side) -> dict[str, str]:
    return dict.fromkeys(source.call("VM.get_VIFs", vm), target.network)


def test_a_halted_vm_moves_with_its_disks_and_snapshots_byte_for_byte(pools: tuple[Side, Side]) -> None:
    here, there = pools
    vm = machine(here)
    first, second = disk(here.call, 8 * MIB), disk(here.call, 6 * MIB)
    plugged(here.call, vm, first)
    plugged(here.call, vm, second, "1")
    here.write(first, 0, b"first" * 1000)
    here.write(second, 5 * MIB, b"other" * 1000)
    old = here.call("VM.snapshot", vm, "old", [])
    here.write(first, 4 * MIB, b"newer" * 1000)
    new = here.call("VM.snapshot", vm, "new", [])
    here.write(first, 0, bytes(512))
    uuids = {ref: here.call("VM.get_uuid", ref) for ref in (vm, old, new)}
    contents = {
        (uuids[ref], here.call("VBD.get_userdevice", vbd)): here.content(here.call("VBD.get_VDI", vbd))
        for ref in uuids
        for vbd in here.call("VM.get_VBDs", ref)
    }
    macs = {here.call("VIF.get_MAC", vif) for vif in here.call("VM.get_VIFs", vm)}
    here.call("VM.assert_can_migrate", vm, there.receive(), False, {first: there.sr}, vif_map(here, vm, there), {}, {})
    arrived = here.call("VM.migrate_send", vm, there.receive(), False, {first: there.sr}, vif_map(here, vm, there), {})

    assert here.call.error("VM.get_record", vm) == ["HANDLE_INVALID", "VM", vm]
    assert not [row for row in here.call("VDI.get_all_records").values() if row["SR"] == here.sr and row["managed"]]
    row = there.call("VM.get_record", arrived)
    assert row["uuid"] == uuids[vm] and row["power_state"] == "Halted" and row["current_operations"] == {}
    assert "import_task" not in row["other_config"]
    assert {there.call("VIF.get_MAC", vif) for vif in row["VIFs"]} == macs
    assert {there.call("VIF.get_network", vif) for vif in row["VIFs"]} == {there.network}
    snapshots = {there.call("VM.get_uuid", ref): ref for ref in row["snapshots"]}
    assert set(snapshots) == {uuids[old], uuids[new]}
    assert row["parent"] == snapshots[uuids[new]]
    for ref in (arrived, *snapshots.values()):
        for vbd in there.call("VM.get_VBDs", ref):
            vdi = there.call("VBD.get_VDI", vbd)
            key = (there.call("VM.get_uuid", ref), there.call("VBD.get_userdevice", vbd))
            assert there.content(vdi) == contents.pop(key)
            record = there.call("VDI.get_record", vdi)
            assert not record["sm_config"].keys() & {"base_mirror", "mirror_pool"} and record["is_a_snapshot"] == (
                ref != arrived
            )
            if ref != arrived:
                assert there.call("VDI.get_SR", record["snapshot_of"]) == there.sr
    assert not contents
    assert "VM_MIGRATED" in messages(there.call, arrived)
    there.call("VM.start", arrived, False, False)
    there.call("VM.revert", snapshots[uuids[old]])


def test_a_running_vm_goes_on_in_the_other_pool(pools: tuple[Side, Side]) -> None:
    here, there = pools
    vm = machine(here)
    vdi = disk(here.call, 40 * MIB)
    vbd = plugged(here.call, vm, vdi)
    for block in range(20):
        here.write(vdi, block * 2 * MIB, bytes([block]) * 4096)
    expected, uuid, vbd_uuid = here.content(vdi), here.call("VM.get_uuid", vm), here.call("VBD.get_uuid", vbd)
    here.call("VM.start", vm, False, False)
    with domain(here.xapi, vm).open_console("vt100") as line:
        read_until(line, b"login:")
        line.sendall(b"somebody was here")
        read_until(line, b"was here")
    arrived = here.call("VM.migrate_send", vm, there.receive(), True, {vdi: there.sr}, vif_map(here, vm, there), {})
    assert here.call.error("VM.get_record", vm) == ["HANDLE_INVALID", "VM", vm]
    assert here.xapi.pool.domains.peek(vm) is None and not here.xapi.pool.storage.attachments.all()
    row = there.call("VM.get_record", arrived)
    assert (row["uuid"], row["power_state"], row["resident_on"]) == (uuid, "Running", there.host)
    assert row["current_operations"] == {} and row["scheduled_to_be_resident_on"] == "OpaqueRef:NULL"
    assert row["memory_target"] and len(row["consoles"]) == 2
    assert there.call("VM_guest_metrics.get_live", row["guest_metrics"])
    (moved,) = row["VBDs"]
    assert there.call("VBD.get_uuid", moved) == vbd_uuid and there.call("VBD.get_currently_attached", moved)
    assert there.content(there.call("VBD.get_VDI", moved)) == expected
    with domain(there.xapi, arrived).open_console("vt100") as line:
        assert b"somebody was here" in read_until(line, b"was here")
    there.call("VM.clean_shutdown", arrived)
    there.call("VM.start", arrived, False, False)
    # and back, into the pool where it came from, paused this time
    there.call("VM.pause", arrived)
    assert there.call.error("VM.migrate_send", arrived, here.receive(), True, {}, {}, {})[0] == "VM_BAD_POWER_STATE"


def test_a_suspended_vm_moves_and_resumes(pools: tuple[Side, Side]) -> None:
    here, there = pools
    vm = machine(here)
    plugged(here.call, vm, disk(here.call))
    here.call("VM.start", vm, False, False)
    here.call("VM.suspend", vm)
    arrived = here.call("VM.migrate_send", vm, there.receive(), False, {}, vif_map(here, vm, there), {})
    assert there.call("VM.get_power_state", arrived) == "Suspended"
    there.call("VM.resume", arrived, False, False)
    assert there.call("VM.get_power_state", arrived) == "Running"


def test_a_copy_is_another_vm_and_the_original_stays(pools: tuple[Side, Side]) -> None:
    here, there = pools
    vm = machine(here)
    vdi = disk(here.call)
    plugged(here.call, vm, vdi)
    here.write(vdi, 0, b"content")
    before = here.inventory()
    made = here.call("VM.migrate_send", vm, there.receive(), False, {vdi: there.sr}, vif_map(here, vm, there),
                     {"copy": "true"})  # fmt: skip
    assert here.inventory() == before
    assert there.call("VM.get_uuid", made) != here.call("VM.get_uuid", vm)
    (vbd,) = there.call("VM.get_VBDs", made)
    assert there.content(there.call("VBD.get_VDI", vbd)) == here.content(vdi)
    assert not list((there.xapi.settings.state / "moves").glob("*"))
    here.call("VM.start", vm, False, False)
    refused = here.call.error("VM.migrate_send", vm, there.receive(), True, {}, {}, {"copy": "true"})
    assert refused == ["VM_BAD_POWER_STATE", vm, "halted", "running"]


def test_what_speaks_against_a_move_is_told_before_anything_moves(pools: tuple[Side, Side]) -> None:
    here, there = pools
    vm = machine(here)
    vdi = disk(here.call)
    plugged(here.call, vm, vdi)
    here.call("VM.start", vm, False, False)
    nets, before = vif_map(here, vm, there), (here.inventory(), there.inventory())
    (vif,) = here.call("VM.get_VIFs", vm)

    def error(dest: dict[str, str], disks: dict[str, str], networks: dict[str, str]) -> list[str]:
        told = here.call.error("VM.assert_can_migrate", vm, dest, True, disks, networks, {}, {})
        assert here.call.error("VM.migrate_send", vm, dest, True, disks, networks, {}) == told
        return told

    dest = there.receive()
    assert error({**dest, "xenops": ""} | {"SM": ""}, {}, nets) == ["CANNOT_CONTACT_HOST", there.host]
    assert error({k: v for k, v in dest.items() if k != "SM"}, {}, nets) == ["INTERNAL_ERROR", "Not_found"]
    assert error(dest, {}, {}) == ["VIF_NOT_IN_MAP", vif]
    assert error(dest, {vdi: "OpaqueRef:no"}, nets) == ["HANDLE_INVALID", "SR", "OpaqueRef:no"]
    assert error(dest, {}, {vif: "OpaqueRef:no"})[:2] == ["HANDLE_INVALID", "network"]
    assert error({**dest, "session_id": "OpaqueRef:no"}, {}, nets) == ["SESSION_INVALID", "OpaqueRef:no"]
    remote = [pbd["SR"] for pbd in there.xapi.pool.store.find("PBD", host=there.xapi.hosts[1].ref).values()
              if there.xapi.pool.store.get("SR", pbd["SR"])["type"] == "ext"]  # fmt: skip
    assert error(dest, {vdi: remote[0]}, nets) == ["VM_REQUIRES_SR", vm, remote[0]]
    iso = next(ref for ref, row in there.xapi.pool.store.all("SR").items() if row["type"] == "iso")
    assert error(dest, {vdi: iso}, nets)[0] in ("SR_DOES_NOT_SUPPORT_MIGRATION", "VM_REQUIRES_SR")
    there.call("host.disable", there.host)
    assert error(dest, {}, nets) == ["HOST_DISABLED", there.host]
    there.call("host.enable", there.host)
    free = there.call("host.compute_free_memory", there.host)
    hog = there.call("VM.create", RECORD)
    there.call("VM.set_memory", hog, free - (200 << 20))
    there.call("VM.start_on", hog, there.host, False, False)
    assert error(dest, {}, nets)[0] == "HOST_NOT_ENOUGH_FREE_MEMORY"
    there.call("VM.hard_shutdown", hog)
    there.call("VM.destroy", hog)
    here.call("VM.assert_can_migrate", vm, dest, True, {}, nets, {}, {})
    assert (here.inventory(), there.inventory()) == before
    assert here.call("VM.get_power_state", vm) == "Running"


def test_a_move_that_fails_in_the_middle_leaves_nothing_there_and_the_guest_here(pools: tuple[Side, Side]) -> None:
    here, there = pools
    vm = machine(here)
    vdi = disk(here.call, 16 * MIB)
    vbd = plugged(here.call, vm, vdi)
    here.write(vdi, 0, b"x" * 12 * MIB)
    here.call("VM.snapshot", vm, "s", [])
    here.call("VM.start", vm, False, False)
    before = here.inventory(), there.inventory()
    there.xapi.pool.storage.set_limit(there.sr, 4 * MIB)
    told = here.call.error("VM.migrate_send", vm, there.receive(), True, {}, vif_map(here, vm, there), {})
    assert told[0] == "VM_MIGRATE_FAILED" and told[1:4] == [vm, here.host, there.host]
    assert (here.inventory(), there.inventory()) == before
    row = here.call("VM.get_record", vm)
    assert row["power_state"] == "Running" and row["resident_on"] == here.host and row["current_operations"] == {}
    assert here.call("VBD.get_VDI", vbd) == vdi and here.call("VBD.get_currently_attached", vbd)
    assert not domain(here.xapi, vm).paused
    there.xapi.pool.storage.set_limit(there.sr, None)
    here.call("VM.migrate_send", vm, there.receive(), True, {}, vif_map(here, vm, there), {})


def test_a_cancelled_move_leaves_nothing_there(pools: tuple[Side, Side]) -> None:
    here, there = pools
    vm = machine(here)
    vdi = disk(here.call, 64 * MIB)
    plugged(here.call, vm, vdi)
    here.write(vdi, 0, b"x" * 60 * MIB)
    here.call("VM.start", vm, False, False)
    before = here.inventory(), there.inventory()
    there.xapi.pool.storage.set_speed(there.sr, 10 * MIB)
    task = here.call("Async.VM.migrate_send", vm, there.receive(), True, {}, vif_map(here, vm, there), {})
    store = here.xapi.pool.store
    assert store.wait(lambda: store.get("task", task)["progress"] > 0.1, 30)
    here.call("task.cancel", task)
    assert store.wait(lambda: store.get("task", task)["status"] == "cancelled", 30)
    there.xapi.pool.storage.set_speed(there.sr, None)
    assert there.xapi.pool.store.wait(lambda: there.inventory() == before[1], 30)
    assert here.inventory() == before[0]
    assert here.call("VM.get_power_state", vm) == "Running" and not domain(here.xapi, vm).paused


def slow_moves(here: Side, there: Side, count: int) -> list[tuple[str, str]]:
    """Moves that take long, each of a VM of its own: task and VM."""
    there.xapi.pool.storage.set_speed(there.sr, 8 * MIB)
    found = []
    for _ in range(count):
        vm = machine(here)
        vdi = disk(here.call, 32 * MIB)
        plugged(here.call, vm, vdi)
        here.write(vdi, 0, b"x" * 30 * MIB)
        task = here.call("Async.VM.migrate_send", vm, there.receive(), False, {}, vif_map(here, vm, there), {})
        store = here.xapi.pool.store
        assert store.wait(lambda: "mirror" in store.get("VDI", vdi)["current_operations"].values(), 30)  # noqa: B023
        found.append((task, vm))
    return found


def test_three_moves_with_disks_leave_a_host_at_a_time(pools: tuple[Side, Side]) -> None:
    here, there = pools
    before = there.inventory()
    moves = slow_moves(here, there, 3)
    fourth = machine(here)
    plugged(here.call, fourth, disk(here.call))
    refused = here.call.error("VM.migrate_send", fourth, there.receive(), False, {}, vif_map(here, fourth, there), {})
    assert refused == ["TOO_MANY_STORAGE_MIGRATES", "3"]
    for task, _ in moves:
        here.call("task.cancel", task)
    store = here.xapi.pool.store
    assert store.wait(lambda: all(store.get("task", task)["status"] == "cancelled" for task, _ in moves), 60)
    there.xapi.pool.storage.set_speed(there.sr, None)
    assert there.xapi.pool.store.wait(lambda: there.inventory() == before, 60)
    arrived = here.call("VM.migrate_send", fourth, there.receive(), False, {}, vif_map(here, fourth, there), {})
    assert there.call("VM.get_power_state", arrived) == "Halted"


@pytest.mark.parametrize("which", ["source", "destination"])
def test_a_toolstack_that_restarts_in_the_middle_leaves_nothing(pools: tuple[Side, Side], which: str) -> None:
    here, there = pools
    before = there.inventory()
    ((task, vm),) = slow_moves(here, there, 1)
    side = here if which == "source" else there
    side.xapi.restart()
    side.call = Caller(side.xapi.urls[0], password=side.xapi.password)
    store = here.xapi.pool.store
    if which == "destination":
        assert store.wait(lambda: store.get("task", task)["status"] == "failure", 60)
        assert store.get("task", task)["error_info"][0] == "VM_MIGRATE_FAILED"
    assert there.xapi.pool.store.wait(lambda: there.inventory() == before, 60)
    assert store.wait(lambda: not store.get("VM", vm)["current_operations"], 60)
    there.xapi.pool.storage.set_speed(there.sr, None)
    here.call("VM.start", vm, False, False)


def test_a_move_over_https_accepts_the_named_certificate_only() -> None:
    with EmbeddedHost() as one, EmbeddedHost(https=True) as two:
        here, there = (Side(xapi, Caller(xapi.hosts[0].http_url or "", password=xapi.password)) for xapi in (one, two))
        vm = here.call("VM.create", RECORD)
        dest = there.receive()
        assert dest["xenops"].startswith("https://") and "fingerprint=" in dest["xenops"]
        wrong = {name: url[:-1] + ("0" if url[-1] != "0" else "1") for name, url in dest.items() if "finger" in url}
        assert here.call.error("VM.migrate_send", vm, dest | wrong, False, {}, {}, {})[0] == "CANNOT_CONTACT_HOST"
        assert there.call("VM.get_uuid", here.call("VM.migrate_send", vm, dest, False, {}, {}, {}))
        for side in (here, there):
            side.call.close()


def test_the_outcome_of_a_move_is_told_to_who_knows_its_secret(pools: tuple[Side, Side]) -> None:
    _, there = pools
    connection = http.client.HTTPConnection(urlsplit(there.xapi.urls[0]).netloc, timeout=10)
    connection.request("GET", "/services/xenops?migration=../../etc", headers={"x-migration-key": "x"})
    reply = connection.getresponse()
    assert (reply.status, reply.read()) == (200, b'{"state": "undone"}')
    connection.close()


def test_a_disk_with_the_mark_of_another_pool_is_left_alone(pools: tuple[Side, Side]) -> None:
    here, _ = pools
    marks = {"base_mirror": "a/b", "mirror_pool": "c"}
    record = {"name_label": "d", "SR": here.sr, "virtual_size": MIB, "type": "user", "sharable": False,
              "read_only": False, "other_config": {}, "sm_config": marks}  # fmt: skip
    vdi = here.call("VDI.create", record)
    here.xapi.restart()
    here.call = Caller(here.xapi.urls[0], password=here.xapi.password)
    assert here.call("VDI.get_name_label", vdi) == "d"
