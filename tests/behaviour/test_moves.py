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
"""Promises about VMs that move between the hosts of a pool."""

from __future__ import annotations

import pytest

from behaviour.conftest import Caller, Maker

pytestmark = pytest.mark.usefixtures("runs_vms")


def enabled(xapi: Caller) -> list[str]:
    """At least two hosts that run VMs."""
    hosts = [host for host, record in xapi("host.get_all_records").items() if record["enabled"]]
    if len(hosts) < 2:
        pytest.skip("VMs move between hosts, and there are not two that are enabled")
    return hosts


def destination(xapi: Caller, host: str) -> dict[str, str]:
    """What the host gives to whoever sends VMs."""
    pif = next(row for row in xapi("PIF.get_all_records").values() if row["host"] == host and row["management"])
    dest: dict[str, str] = xapi("host.migrate_receive", host, pif["network"], {})
    return dest


def test_a_running_vm_moves_to_another_host_and_has_a_new_domain_there(xapi: Caller, make: Maker) -> None:
    first, second = enabled(xapi)[:2]
    vm = make.vm()
    xapi("VM.start_on", vm, first, False, False)
    before = xapi("VM.get_record", vm)
    xapi("VM.pool_migrate", vm, second, {"live": "true"})
    after = xapi("VM.get_record", vm)
    assert (after["power_state"], after["resident_on"]) == ("Running", second)
    assert after["current_operations"] == {} and after["uuid"] == before["uuid"]
    assert not set(after["consoles"]) & set(before["consoles"])
    address = xapi("host.get_address", second)
    assert all(address in xapi("console.get_location", console) for console in after["consoles"])
    xapi("VM.pool_migrate", vm, second, {})  # to where it is: nothing to do
    xapi("VM.hard_shutdown", vm)
    assert xapi.error("VM.pool_migrate", vm, first, {}) == ["VM_BAD_POWER_STATE", vm, "running", "halted"]


def test_what_a_host_gives_to_senders_is_needed_whole(xapi: Caller, make: Maker) -> None:
    vm, host = make.vm(), enabled(xapi)[0]
    dest = destination(xapi, host)
    assert set(dest) >= {"SM", "host", "master", "session_id", "xenops"} and dest["host"] == host
    assert xapi.error("VM.assert_can_migrate", vm, {}, True, {}, {}, {}, {})[0] == "INTERNAL_ERROR"


def test_inside_a_pool_networks_stay(xapi: Caller, make: Maker) -> None:
    vm = make.vm()
    network = make.network()
    vif = make.vif(vm, network)
    dest = destination(xapi, enabled(xapi)[0])
    error = xapi.error("VM.migrate_send", vm, dest, False, {}, {vif: network}, {})
    assert error[0] == "OPERATION_NOT_ALLOWED"


def test_a_disk_on_a_local_sr_keeps_a_running_vm_on_its_host(xapi: Caller, make: Maker) -> None:
    hosts = enabled(xapi)
    vm, vdi = make.vm(), make.disk()
    make.vbd(vm, vdi)
    sr = xapi("VDI.get_SR", vdi)
    seen = {xapi("PBD.get_host", pbd) for pbd in xapi("SR.get_PBDs", sr) if xapi("PBD.get_currently_attached", pbd)}
    blind = [host for host in hosts if host not in seen]
    if not blind:
        pytest.skip("all hosts see the SR")
    xapi("VM.start", vm, False, False)
    assert xapi.error("VM.pool_migrate", vm, blind[0], {"live": "true"}) == ["VM_REQUIRES_SR", vm, sr]
    assert xapi("VM.get_power_state", vm) == "Running"
    xapi("VM.hard_shutdown", vm)
