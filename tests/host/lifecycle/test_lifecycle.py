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
"""The life-cycle tables say what a running XAPI said: every operation in every state, for every kind of VM."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from reference import load_reference
from xapikit.host import lifecycle
from xapikit.host.lifecycle import DeviceFacts, PlaceFacts, VmFacts
from xapikit.host.lifecycle.tables import table
from xapikit.model import MODEL

RUNNING_GUEST = {"pv_drivers": True}
KINDS: dict[str, tuple[str, VmFacts]] = {
    "matrix_halted": ("$vm", VmFacts("$vm", "Halted")),
    "matrix_running": ("$vm", VmFacts("$vm", "Running", **RUNNING_GUEST)),
    "matrix_paused": ("$vm", VmFacts("$vm", "Paused", **RUNNING_GUEST)),
    "matrix_suspended": ("$vm", VmFacts("$vm", "Suspended", **RUNNING_GUEST)),
    "matrix_snapshot": ("$snapshot", VmFacts("$snapshot", "Halted", is_a_template=True, is_a_snapshot=True)),
    "matrix_checkpoint": ("$checkpoint", VmFacts("$checkpoint", "Suspended", is_a_template=True, is_a_snapshot=True)),
    "matrix_template": ("$tmpl", VmFacts("$tmpl", "Halted", is_a_template=True)),
    "matrix_default_template": (
        "$default_template",
        VmFacts("$default_template", "Halted", is_a_template=True, is_default_template=True),
    ),
    "matrix_control_domain": ("$dom0_1", VmFacts("$dom0_1", "Running", is_control_domain=True, hvm=False)),
}


def scenario(group: str, name: str) -> list[dict[str, Any]]:
    data = load_reference(f"observed/{group}.json")
    steps: list[dict[str, Any]] = next(s["steps"] for s in data["scenarios"] if s["name"] == name)
    return steps


@pytest.mark.parametrize("name", KINDS)
def test_every_operation_gets_the_recorded_answer(name: str) -> None:
    ref, facts = KINDS[name]
    step = next(s for s in scenario("vm_errors", name) if s.get("for_each") == "op" and s["params"][0] == ref)
    expected: dict[str, list[str] | None] = dict.fromkeys(step["valid"])
    for group in step["errors"]:
        for operation in group["ops"]:
            expected[operation] = [operation if part == "<op>" else part for part in group["error"]]
    assert len(expected) >= 49, "the recording asks for every operation"
    found = {op: None if (error := lifecycle.operation_error(facts, op)) is None else list(error) for op in expected}
    assert found == expected


@pytest.mark.parametrize("name", KINDS)
def test_the_listed_operations_are_the_recorded_ones(name: str) -> None:
    ref, facts = KINDS[name]
    step = next(
        s for s in scenario("vm_errors", name) if s.get("call") == "VM.get_allowed_operations" and s["params"] == [ref]
    )
    assert lifecycle.allowed_operations(facts) == sorted(step["outcome"]["value"])


def test_every_operation_of_the_data_model_has_its_states() -> None:
    assert set(MODEL.enums["vm_operations"]) - set(table("vm")["operations"]) == set()


def test_a_blocked_operation_wins_over_everything_and_leaves_the_list() -> None:
    facts = VmFacts("vm", "Halted", blocked={"start": "because", "pause": ""})
    assert lifecycle.operation_error(facts, "start") == ("OPERATION_BLOCKED", "vm", "because")
    assert lifecycle.operation_error(facts, "pause") == ("OPERATION_BLOCKED", "vm", "")
    assert "start" not in lifecycle.allowed_operations(facts)
    assert "start_on" in lifecycle.allowed_operations(facts)


@pytest.mark.parametrize(
    ("current", "operation", "conflict"),
    [
        ("start", "clone", True),
        ("clone", "copy", False),
        ("export", "clone", False),
        ("snapshot", "snapshot", False),
        ("clean_shutdown", "hard_shutdown", False),
        ("hard_shutdown", "hard_shutdown", True),
        ("hard_shutdown", "hard_reboot", True),
        ("clean_reboot", "hard_reboot", False),
        ("migrate_send", "clean_shutdown", False),
        ("migrate_send", "suspend", True),
    ],
)
def test_operations_overlap_only_where_a_host_lets_them(current: str, operation: str, conflict: bool) -> None:
    state = "Halted" if operation in ("clone", "copy") else "Running"
    error = lifecycle.operation_error(VmFacts("vm", state, current={"task": current}, pv_drivers=True), operation)
    wanted = ("OTHER_OPERATION_IN_PROGRESS", "VM", "vm", current, "task") if conflict else None
    assert error == wanted


def test_a_guest_without_drivers_refuses_what_needs_its_help() -> None:
    bare = VmFacts("vm", "Running")
    for operation in ("clean_shutdown", "clean_reboot", "suspend", "changing_VCPUs_live"):
        assert lifecycle.operation_error(bare, operation) == ("VM_LACKS_FEATURE", "vm")
        assert operation not in lifecycle.allowed_operations(bare)
    able = VmFacts("vm", "Running", guest_features=frozenset({"feature-shutdown"}))
    assert lifecycle.operation_error(able, "clean_shutdown") is None
    assert lifecycle.operation_error(able, "suspend") == ("VM_LACKS_FEATURE", "vm")


def test_an_immobile_vm_stays_where_it_is() -> None:
    facts = VmFacts("vm", "Running", pv_drivers=True, nomigrate=True)
    assert lifecycle.operation_error(facts, "pool_migrate") == ("VM_IS_IMMOBILE", "vm")
    assert "suspend" not in lifecycle.allowed_operations(facts)


@pytest.mark.parametrize(
    ("facts", "listed"),
    [
        (DeviceFacts("VBD", "d", "vm", "Halted", False), ["attach"]),
        (DeviceFacts("VBD", "d", "vm", "Running", True), ["attach", "pause", "unpause", "unplug", "unplug_force"]),
        (DeviceFacts("VBD", "d", "vm", "Running", False), ["attach", "pause", "plug", "unpause"]),
        (DeviceFacts("VBD", "d", "vm", "Paused", True), ["attach", "pause", "unpause"]),
        (DeviceFacts("VBD", "d", "vm", "Halted", False, kind="CD", empty=True), ["attach", "insert"]),
        (DeviceFacts("VBD", "d", "vm", "Running", True, kind="CD"), ["attach", "eject", "pause", "unpause"]),
        (DeviceFacts("VIF", "d", "vm", "Halted", False), ["attach"]),
        (DeviceFacts("VIF", "d", "vm", "Running", True), ["attach", "unplug"]),
        (DeviceFacts("VIF", "d", "vm", "Running", False), ["attach", "plug"]),
        (DeviceFacts("VIF", "d", "vm", "Paused", True), ["attach"]),
        (DeviceFacts("VBD", "d", "vm", "Running", True, pv_drivers=False), ["attach", "pause", "unpause"]),
        (DeviceFacts("VIF", "d", "vm", "Running", True, hotplug="no"), ["attach"]),
        (DeviceFacts("VIF", "d", "vm", "Running", True, pv_drivers=False, hotplug="yes"), ["attach", "unplug"]),
        (DeviceFacts("VBD", "d", "vm", "Running", False, vdi_managed=False), []),
    ],
)
def test_devices_list_the_recorded_operations(facts: DeviceFacts, listed: list[str]) -> None:
    assert lifecycle.allowed_device_operations(facts) == listed


def test_device_errors_win_in_the_recorded_order() -> None:
    halted = DeviceFacts("VBD", "d", "vm", "Halted", False, unpluggable=False)
    assert lifecycle.device_error(halted, "unplug") == ("VBD_NOT_UNPLUGGABLE", "d")
    assert lifecycle.device_error(halted, "plug") == ("VM_BAD_POWER_STATE", "vm", "running", "halted")
    drive = DeviceFacts("VBD", "d", "vm", "Running", True, kind="CD")
    assert lifecycle.device_error(drive, "plug") == ("DEVICE_ALREADY_ATTACHED", "d")
    assert lifecycle.device_error(drive, "insert") == ("VBD_NOT_EMPTY", "d")
    unplugging = lifecycle.device_error(drive, "unplug")
    assert unplugging is not None and unplugging[0] == "OPERATION_NOT_ALLOWED"


RUNNING_DISK = DeviceFacts("VBD", "d", "vm", "Running", False, vdi="v")


@pytest.mark.parametrize(
    ("changes", "operation", "error"),
    [
        ({"current": {"task": "attach"}}, "plug", ("OTHER_OPERATION_IN_PROGRESS", "VBD", "d", "attach", "task")),
        ({"power_state": "Halted"}, "pause", ("VM_BAD_POWER_STATE", "vm", "running", "halted")),
        ({"power_state": "Paused"}, "pause", None),
        ({"power_state": "Paused"}, "plug", ("VM_BAD_POWER_STATE", "vm", "running", "paused")),
        (
            {"vm_current": {"task": "clean_shutdown"}},
            "plug",
            ("OPERATION_NOT_ALLOWED", "Current operation on VM:vm is clean_shutdown"),
        ),
        ({"vm_current": {"task": "snapshot"}}, "plug", None),
        ({"hotplug": "no"}, "plug", ("OPERATION_NOT_ALLOWED", "VM states it does not support VBD hotplug.")),
        ({"hotplug": "yes", "pv_drivers": False}, "plug", None),
        ({"pv_drivers": False}, "plug", ("VM_MISSING_PV_DRIVERS", "vm")),
        ({"pv_drivers": False, "is_control_domain": True}, "plug", None),
        ({"vdi_managed": False}, "plug", ("VDI_NOT_MANAGED", "d")),
        ({"vdi_current": {"task": "clone"}}, "plug", ("OTHER_OPERATION_IN_PROGRESS", "VDI", "v", "clone", "task")),
        ({"vdi_current": {"task": "copy", "other": "mirror"}}, "plug", None),
        ({"vdi_current": {"task": "clone"}, "attached": True}, "unplug", None),
        ({"empty": True, "kind": "Floppy"}, "plug", ("VBD_IS_EMPTY", "d")),
    ],
)
def test_a_running_guest_takes_a_disk_unless(
    changes: dict[str, object], operation: str, error: tuple[str, ...] | None
) -> None:
    assert lifecycle.device_error(dataclasses.replace(RUNNING_DISK, **changes), operation) == error


def test_messages_read_as_recorded() -> None:
    vm = {"name_label": "golden-m", "uuid": "u"}
    assert lifecycle.message("shutdown forcibly", vm).body == "VM 'golden-m' (uuid: u) shutdown forcibly"
    started = lifecycle.message("started", vm, host="h (uuid: hu)")
    assert (started.name, started.priority) == ("VM_STARTED", 5)
    assert started.body == "VM 'golden-m' (uuid: u) started on host: h (uuid: hu)"


# hosts, pools and what else lists operations -------------------------------------------------------------------------


def recorded(group: str, call: str) -> list[list[str]]:
    """What the recorded calls of a ``get_allowed_operations`` answered, in their order."""
    data = load_reference(f"observed/{group}.json")
    steps = [step for scenario in data["scenarios"] for step in scenario["steps"]]
    return [sorted(step["outcome"]["value"]) for step in steps if step.get("call") == f"{call}.get_allowed_operations"]


def listed(class_name: str, **facts: object) -> list[str]:
    return sorted(lifecycle.allowed_place_operations(PlaceFacts(class_name, "ref", facts)))


def test_hosts_and_pools_list_the_recorded_operations() -> None:
    assert recorded("pool", "host") == [listed("host", enabled=False), listed("host", enabled=True)]
    assert recorded("pool", "pool") == [listed("pool", ha_enabled=False)]
    assert recorded("network", "network") == [listed("network")]


def test_appliances_and_virtual_tpms_list_the_recorded_operations() -> None:
    halted, running = listed("VM_appliance", power_states={"Halted"}), listed("VM_appliance", power_states={"Running"})
    assert recorded("misc", "VM_appliance") == [halted, running]
    assert listed("VM_appliance", power_states=set()) == []
    assert listed("VM_appliance", power_states={"Halted", "Paused"}) == sorted(halted + running)
    assert listed("VTPM", power_state="Halted") == ["destroy"]
    assert listed("VTPM", power_state="Running") == []


@pytest.mark.parametrize("class_name", ["host", "pool", "network", "VM_appliance", "VTPM"])
def test_the_table_names_operations_of_the_data_model(class_name: str) -> None:
    rules = table("places")[class_name]
    named = {*rules["listed"], *rules.get("once", ()), *rules.get("refused", ())}
    for values in rules.get("listed_when", {}).values():
        named |= {operation for operations in values.values() for operation in operations}
    for pair in rules.get("apart", ()):
        named |= {operation for side in pair for operation in side}
    (kind,) = MODEL.classes[class_name].fields["allowed_operations"].type.args
    assert named <= set(MODEL.enums[kind.name])


def test_a_host_in_use_refuses_what_would_interfere() -> None:
    receiving = PlaceFacts("host", "h", {"enabled": False}, {"task": "vm_migrate"})
    assert lifecycle.place_error(receiving, "evacuate") == (
        "OTHER_OPERATION_IN_PROGRESS", "host", "h", "vm_migrate", "task",
    )  # fmt: skip
    assert lifecycle.place_error(receiving, "vm_migrate") is None
    assert lifecycle.allowed_place_operations(receiving) == [
        "vm_migrate", "provision", "vm_resume", "enable", "vm_start", "apply_updates",
    ]  # fmt: skip
    leaving = PlaceFacts("host", "h", {"enabled": False}, {"task": "evacuate"})
    assert {"provision", "vm_resume", "vm_migrate"}.isdisjoint(lifecycle.allowed_place_operations(leaving))
    working = PlaceFacts("host", "h", {"enabled": True})
    assert lifecycle.place_error(working, "reboot") == ("HOST_NOT_DISABLED",)


def test_a_pool_does_the_same_thing_once_at_a_time() -> None:
    busy = PlaceFacts("pool", "p", {"ha_enabled": False}, {"task": "designate_new_master"})
    assert "designate_new_master" not in lifecycle.allowed_place_operations(busy)
    assert "eject" in lifecycle.allowed_place_operations(busy)
