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
"""Promises about the power states of a VM."""

import pytest

from behaviour.conftest import Caller, Maker
from xapikit.client import NULL_REF, XapiClient, errors

pytestmark = pytest.mark.usefixtures("runs_vms")


def test_a_vm_of_the_mandatory_members_gets_documented_defaults(xapi: Caller, make: Maker) -> None:
    record = xapi("VM.get_record", make.vm())
    assert (record["power_state"], record["domid"], record["resident_on"]) == ("Halted", -1, NULL_REF)
    assert (record["memory_target"], record["domain_type"], record["is_a_snapshot"]) == (0, "hvm", False)
    assert "mac_seed" in record["other_config"]
    assert {"start", "start_on", "destroy", "clone", "copy", "snapshot"} <= set(record["allowed_operations"])
    assert not {"pause", "clean_shutdown", "resume"} & set(record["allowed_operations"])


def test_the_cycle_of_power_states(xapi: Caller, make: Maker, client: XapiClient) -> None:
    vm = make.vm()
    for method, params, state in (
        ("VM.start", (False, False), "Running"),
        ("VM.pause", (), "Paused"),
        ("VM.unpause", (), "Running"),
        ("VM.hard_reboot", (), "Running"),
        ("VM.hard_shutdown", (), "Halted"),
        ("VM.start", (True, False), "Paused"),
        ("VM.hard_shutdown", (), "Halted"),
    ):
        xapi(method, vm, *params)
        record = xapi("VM.get_record", vm)
        assert record["power_state"] == state, method
        assert record["current_operations"] == {}
        assert (record["domid"] >= 0) is (state != "Halted")
        assert (record["resident_on"] != NULL_REF) is (state != "Halted")
        client.cache.wait_for(lambda cache, state=state: (cache.get("VM", vm) or {}).get("power_state") == state, 10)  # type: ignore[misc]


@pytest.mark.parametrize(
    ("method", "params", "expected", "actual"),
    [
        ("VM.pause", (), "running", "halted"),
        ("VM.hard_shutdown", (), None, "halted"),
        ("VM.clean_reboot", (), "running", "halted"),
        ("VM.resume", (False, False), "suspended", "halted"),
        ("VM.unpause", (), "paused", "halted"),
    ],
)
def test_an_operation_in_another_state_is_refused_with_both_states(
    xapi: Caller, make: Maker, method: str, params: tuple[bool, ...], expected: str | None, actual: str
) -> None:
    vm = make.vm()
    error = xapi.error(method, vm, *params)
    assert error[:2] == ["VM_BAD_POWER_STATE", vm] and error[-1] == actual
    if expected:
        assert error[2] == expected


def test_starting_a_running_vm_is_refused(xapi: Caller, make: Maker) -> None:
    vm = make.vm()
    xapi("VM.start", vm, False, False)
    assert xapi.error("VM.start", vm, False, False) == ["VM_BAD_POWER_STATE", vm, "halted", "running"]


def test_a_vm_starts_on_the_host_it_is_told_to(xapi: Caller, make: Maker) -> None:
    for host in xapi("host.get_all"):
        vm = make.vm()
        xapi("VM.start_on", vm, host, False, False)
        assert xapi("VM.get_resident_on", vm) == host


def test_a_running_vm_has_consoles_and_a_halted_one_has_none(xapi: Caller, make: Maker) -> None:
    vm = make.vm()
    assert xapi("VM.get_consoles", vm) == []
    xapi("VM.start", vm, False, False)
    consoles = [xapi("console.get_record", ref) for ref in xapi("VM.get_consoles", vm)]
    assert "rfb" in [console["protocol"] for console in consoles]
    assert all("/console?" in console["location"] for console in consoles)
    xapi("VM.hard_shutdown", vm)
    assert xapi("VM.get_consoles", vm) == []


def test_a_graphical_console_speaks_rfb_after_connect(xapi: Caller, make: Maker, client: XapiClient) -> None:
    vm = make.vm()
    host = next(iter(client.cache.records("pool").values()))["master"]
    xapi("VM.start_on", vm, host, False, False)
    records = [xapi("console.get_record", ref) for ref in xapi("VM.get_consoles", vm)]
    location = next(record["location"] for record in records if record["protocol"] == "rfb")
    with client.open_console(location) as connected:
        connected.settimeout(10)
        greeting = b""
        while len(greeting) < 12 and (piece := connected.recv(12 - len(greeting))):
            greeting += piece
    assert greeting.startswith(b"RFB 003.") and greeting.endswith(b"\n")
    xapi("VM.hard_shutdown", vm)
    with pytest.raises(errors.ConsoleRefused):
        client.open_console(location)


def test_a_blocked_operation_is_refused_with_its_reason(xapi: Caller, make: Maker) -> None:
    vm = make.vm()
    xapi("VM.set_blocked_operations", vm, {"start": "because"})
    assert xapi.error("VM.start", vm, False, False)[:2] == ["OPERATION_BLOCKED", vm]
    assert "start" not in xapi("VM.get_allowed_operations", vm)


def test_destroying_a_running_vm_is_refused(xapi: Caller, make: Maker) -> None:
    vm = make.vm()
    xapi("VM.start", vm, False, False)
    assert xapi.error("VM.destroy", vm)[0] in ("VM_BAD_POWER_STATE", "OPERATION_NOT_ALLOWED")
