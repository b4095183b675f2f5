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
"""VMs move between the hosts of a pool, with or without their disks."""

from collections.abc import Iterator

import pytest

from host.test_vm_power import RECORD, disk, messages, plugged
from xapi_caller import Caller
from xapikit.host import EmbeddedHost


@pytest.fixture
def pool() -> Iterator[EmbeddedHost]:
    with EmbeddedHost(hosts=2) as xapi:
        yield xapi


@pytest.fixture
def call(pool: EmbeddedHost) -> Iterator[Caller]:
    caller = Caller(pool.urls[0], password=pool.password)
    yield caller
    caller.close()


def local_srs(pool: EmbeddedHost) -> list[str]:
    """The local disk SR of each host, in the order of the hosts."""
    store = pool.pool.store
    found = []
    for host in store.all("host"):
        srs = [pbd["SR"] for pbd in store.find("PBD", host=host).values()]
        found.append(next(sr for sr in srs if store.get("SR", sr)["type"] == "ext"))
    return found


def test_a_vm_without_local_disks_moves(call: Caller, pool: EmbeddedHost) -> None:
    first, second = (host.ref for host in pool.hosts)
    vm = call("VM.create", RECORD)
    call("VM.start_on", vm, first, False, False)
    before = call("VM.get_record", vm)
    call("VM.pool_migrate", vm, second, {"live": "true"})
    after = call("VM.get_record", vm)
    assert after["resident_on"] == second and after["power_state"] == "Running"
    assert after["domid"] != before["domid"] and after["current_operations"] == {}
    urls = {call("console.get_location", console).rpartition("/")[0] for console in after["consoles"]}
    assert urls == {pool.hosts[1].url}, "consoles are where the VM runs"
    assert "VM_MIGRATED" in messages(call, vm)
    call("VM.pool_migrate", vm, second, {})  # to where it is: nothing to do
    call("host.disable", first)
    assert call.error("VM.pool_migrate", vm, first, {}) == ["HOST_DISABLED", first]


def test_local_disks_keep_a_vm_or_move_with_it(call: Caller, pool: EmbeddedHost) -> None:
    first, second = (host.ref for host in pool.hosts)
    source, target = local_srs(pool)
    vm = call("VM.create", RECORD)
    vdi = disk(call)
    vbd = plugged(call, vm, vdi)
    assert call("VDI.get_SR", vdi) == source
    call("VM.start", vm, False, False)
    assert call("VM.get_resident_on", vm) == first, "only this host has the disk"
    assert call.error("VM.pool_migrate", vm, second, {}) == ["VM_REQUIRES_SR", vm, source]
    network = call("network.get_all")[0]
    dest = call("host.migrate_receive", second, network, {})
    assert call.error("VM.assert_can_migrate", vm, {}, True, {}, {}, {}) == ["INTERNAL_ERROR", "Not_found"]
    call("VM.assert_can_migrate", vm, dest, True, {vdi: target}, {}, {})
    assert call("VM.migrate_send", vm, dest, True, {vdi: target}, {}, {}) == vm
    moved = call("VBD.get_VDI", vbd)
    assert call("VDI.get_SR", moved) == target and moved != vdi
    assert call.error("VDI.get_record", vdi) == ["HANDLE_INVALID", "VDI", vdi]
    assert call("VM.get_resident_on", vm) == second and call("VM.get_power_state", vm) == "Running"
    call("VM.hard_shutdown", vm)
    back = call("host.migrate_receive", first, network, {})
    call("VM.migrate_send", vm, back, False, {moved: source}, {}, {})
    assert call("VDI.get_SR", call("VBD.get_VDI", vbd)) == source
    call("VM.start_on", vm, first, False, False)


def test_a_move_that_fails_leaves_the_vm_running_where_it_was(call: Caller, pool: EmbeddedHost) -> None:
    first, second = (host.ref for host in pool.hosts)
    _, target = local_srs(pool)
    vm = call("VM.create", RECORD)
    vdi = disk(call, 1 << 22)
    vbd = plugged(call, vm, vdi)
    call("VM.start_on", vm, first, False, False)
    dest = call("host.migrate_receive", second, call("network.get_all")[0], {})
    pool.pool.storage.set_limit(target, 0)
    before = {ref for ref, row in call("VDI.get_all_records").items() if row["managed"]}
    error = call.error("VM.migrate_send", vm, dest, True, {vdi: target}, {}, {})
    assert error[0] == "VM_MIGRATE_FAILED"
    assert call("VM.get_power_state", vm) == "Running" and call("VM.get_resident_on", vm) == first
    assert call("VBD.get_VDI", vbd) == vdi and call("VBD.get_currently_attached", vbd)
    assert {ref for ref, row in call("VDI.get_all_records").items() if row["managed"]} == before
    assert call("VM.get_scheduled_to_be_resident_on", vm) == "OpaqueRef:NULL"
