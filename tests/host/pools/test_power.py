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
"""Hosts that go off and come back: what becomes of their VMs, disks and rows."""

import json
import threading
import urllib.request
from base64 import b64encode
from typing import Any

import pytest

from xapi_caller import Caller
from xapikit.host import EmbeddedHost
from xapikit.host.pytest_plugin import XapiFactory


@pytest.fixture
def xapi(xapi_factory: XapiFactory) -> EmbeddedHost:
    return xapi_factory(hosts=2, options={"timed_delay": "0", "host_dead_seconds": "0.2"})


@pytest.fixture
def patient(xapi_factory: XapiFactory) -> EmbeddedHost:
    """Its silent hosts are not given up during a test."""
    return xapi_factory(hosts=2, options={"timed_delay": "0"})


def running_on(caller: Caller, host: str) -> str:
    """A VM that runs on a host."""
    vm = caller("VM.create", _record())
    caller("VM.start_on", vm, host, False, False)
    return str(vm)


def _record() -> dict[str, Any]:
    return {
        "name_label": "guest", "name_description": "", "user_version": 1, "is_a_template": False,
        "affinity": "OpaqueRef:NULL", "memory_target": 2**28, "memory_static_max": 2**28, "memory_dynamic_max": 2**28,
        "memory_dynamic_min": 2**28, "memory_static_min": 2**27, "VCPUs_params": {}, "VCPUs_max": 1,
        "VCPUs_at_startup": 1, "actions_after_shutdown": "destroy", "actions_after_reboot": "restart",
        "actions_after_crash": "restart", "PV_bootloader": "", "PV_kernel": "", "PV_ramdisk": "", "PV_args": "",
        "PV_bootloader_args": "", "PV_legacy_args": "", "HVM_boot_policy": "BIOS order", "HVM_boot_params": {},
        "platform": {}, "PCI_bus": "", "other_config": {}, "recommendations": "",
    }  # fmt: skip


def live(caller: Caller, host: str) -> bool:
    return bool(caller("host_metrics.get_live", caller("host.get_metrics", host)))


def becomes_dead(xapi: EmbeddedHost, host: str) -> None:
    metrics = xapi.pool.store.get("host", host)["metrics"]
    assert xapi.pool.store.wait(lambda: not xapi.pool.store.get("host_metrics", metrics)["live"], 10)


def test_a_silent_host_is_dead_after_a_while_and_its_vms_run_in_the_database(xapi: EmbeddedHost) -> None:
    caller = Caller(xapi.url, password=xapi.password)
    member = xapi.hosts[1].ref
    vm = running_on(caller, member)
    xapi.power_off(member)
    becomes_dead(xapi, member)
    assert caller("VM.get_power_state", vm) == "Running"
    assert caller("VM.get_resident_on", vm) == member
    assert caller.error("VM.clean_shutdown", vm) == ["HOST_OFFLINE", member]
    assert caller.error("host.call_plugin", member, "echo", "main", {}) == ["HOST_OFFLINE", member]
    caller("VM.power_state_reset", vm)
    assert caller("VM.get_power_state", vm) == "Halted"
    caller("VM.start", vm, False, False)
    assert caller("VM.get_resident_on", vm) == xapi.hosts[0].ref


def test_a_host_that_does_not_answer_yet_counts_as_live(patient: EmbeddedHost) -> None:
    caller = Caller(patient.url, password=patient.password)
    member = patient.hosts[1].ref
    vm = running_on(caller, member)
    patient.power_off(member)
    assert live(caller, member)
    assert caller.error("VM.hard_reboot", vm) == ["CANNOT_CONTACT_HOST", member]
    assert caller.error("host.disable", member) == ["CANNOT_CONTACT_HOST", member]
    sr = next(ref for ref in caller("SR.get_all") if local_to(caller, ref, member))
    record = {"name_label": "", "name_description": "", "SR": sr, "virtual_size": 2**20, "type": "user",
              "sharable": False, "read_only": False, "other_config": {}}  # fmt: skip
    assert caller.error("VDI.create", record) == ["CANNOT_CONTACT_HOST", member]


def local_to(caller: Caller, sr: str, host: str) -> bool:
    row = caller("SR.get_record", sr)
    return row["type"] == "ext" and [caller("PBD.get_host", pbd) for pbd in row["PBDs"]] == [host]


def test_a_living_host_is_neither_declared_dead_nor_destroyed(patient: EmbeddedHost) -> None:
    caller = Caller(patient.url, password=patient.password)
    for host in patient.hosts:
        for call in ("host.declare_dead", "host.destroy"):
            assert caller.error(call, host.ref) == ["HOST_IS_LIVE", host.ref]
    assert caller.error("host.destroy", "OpaqueRef:no") == ["HANDLE_INVALID", "host", "OpaqueRef:no"]


def test_a_host_that_is_declared_dead_gives_its_vms_up(patient: EmbeddedHost) -> None:
    caller = Caller(patient.url, password=patient.password)
    member = patient.hosts[1].ref
    vm = running_on(caller, member)
    patient.power_off(member)
    caller("host.declare_dead", member)
    assert not live(caller, member)
    assert caller("VM.get_power_state", vm) == "Halted"
    assert caller("SR.get_live_hosts", next(sr for sr in caller("SR.get_all") if local_to(caller, sr, member))) == []
    caller("VM.start", vm, False, False)
    assert caller("VM.get_resident_on", vm) == patient.hosts[0].ref
    # it comes back without them, and may have VMs again
    patient.power_on(member)
    assert live(caller, member)
    caller("VM.pool_migrate", vm, member, {})
    assert caller("VM.get_resident_on", vm) == member


def test_a_host_that_boots_again_has_lost_its_vms(patient: EmbeddedHost) -> None:
    caller = Caller(patient.url, password=patient.password)
    member, coordinator = patient.hosts[1].ref, patient.hosts[0].ref
    here, there = running_on(caller, coordinator), running_on(caller, member)
    patient.power_cycle(member)
    assert caller("VM.get_power_state", there) == "Halted"
    assert caller("VM.get_power_state", here) == "Running"
    patient.power_cycle(coordinator)
    caller = Caller(patient.url, password=patient.password)
    assert caller("VM.get_power_state", here) == "Halted"


def test_a_destroyed_host_leaves_its_disks_and_nothing_else(patient: EmbeddedHost) -> None:
    caller = Caller(patient.url, password=patient.password)
    member = patient.hosts[1]
    sr = next(sr for sr in caller("SR.get_all") if local_to(caller, sr, member.ref))
    patient.power_off(member.ref)
    caller("host.destroy", member.ref)
    assert caller("host.get_all") == [patient.hosts[0].ref]
    assert caller("SR.get_PBDs", sr) == []
    for cls in ("PIF", "PBD", "host_cpu"):
        assert member.ref not in {row["host"] for row in caller(f"{cls}.get_all_records").values()}
    doms = [vm for vm in caller("VM.get_all_records").values() if vm["is_control_domain"]]
    assert [dom["resident_on"] for dom in doms] == [patient.hosts[0].ref]
    patient.restart()
    assert len(patient.hosts) == 1


def test_shutting_down_needs_a_disabled_empty_host_and_power_on_brings_it_back(patient: EmbeddedHost) -> None:
    caller = Caller(patient.url, password=patient.password)
    member = patient.hosts[1]
    vm = running_on(caller, member.ref)
    assert caller.error("host.shutdown", member.ref) == ["HOST_NOT_DISABLED"]
    caller("host.disable", member.ref)
    assert caller.error("host.shutdown", member.ref) == ["HOST_HAS_RESIDENT_VMS", member.ref]
    caller("host.evacuate", member.ref)
    assert caller("VM.get_resident_on", vm) == patient.hosts[0].ref
    caller("host.shutdown", member.ref)
    assert not live(caller, member.ref)
    off(patient, member.ref)
    assert caller.error("host.power_on", member.ref) == ["HOST_POWER_ON_NOT_CONFIGURED", member.ref]
    caller("host.set_power_on_mode", member.ref, "wake-on-lan", {})
    caller("host.power_on", member.ref)
    assert live(caller, member.ref) and caller("host.get_enabled", member.ref)
    assert Caller(member.url).error("session.login_with_password", "", "")[0] == "HOST_IS_SLAVE"


def off(xapi: EmbeddedHost, host: str) -> None:
    """Wait until a host is off: the answer comes before it goes."""
    pause = threading.Event()
    for _ in range(1000):
        if not xapi.pool.machines.is_on(host):
            return
        pause.wait(0.01)
    raise AssertionError("the host did not go off")


def test_a_host_disabled_for_good_stays_so_over_a_boot(patient: EmbeddedHost) -> None:
    caller = Caller(patient.url, password=patient.password)
    member = patient.hosts[1].ref
    for auto_enable, after in ((True, True), (False, False)):
        caller("host.disable", member, auto_enable)
        patient.power_cycle(member)
        assert caller("host.get_enabled", member) is after
    caller("host.enable", member)
    caller("host.disable", member)
    patient.power_cycle(member)
    assert caller("host.get_enabled", member) is True


def test_hosts_are_switched_over_http(patient: EmbeddedHost) -> None:
    url = patient.urls[0]
    secret = b64encode(f"root:{patient.password}".encode()).decode()

    def ask(body: Any = None) -> Any:
        data = json.dumps(body).encode() if body is not None else None
        request = urllib.request.Request(f"{url}/_embedded/hosts", data, {"Authorization": f"Basic {secret}"})
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)

    member = patient.hosts[1]
    assert [host["standing"] for host in ask()] == ["coordinator", "member"]
    ask({"host": member.name, "power": "off"})
    off(patient, member.ref)
    assert [host["standing"] for host in ask()] == ["coordinator", "off"]


def test_a_scenario_switches_a_host_off_and_on_again(patient: EmbeddedHost) -> None:
    member = patient.hosts[1]
    events = [{"event": "host_off", "at": 0.0, "host": member.name, "lasts": 0.2}]
    playing = patient.play({"name": "blackout", "description": "", "events": events})
    assert playing.wait_for("host_off-1", timeout=10)
    off(patient, member.ref)
    metrics = patient.pool.store.get("host", member.ref)["metrics"]
    patient.faults.end("blackout")  # what still lasts is mended at the end
    assert patient.pool.machines.is_on(member.ref)
    assert patient.pool.store.get("host_metrics", metrics)["live"]
