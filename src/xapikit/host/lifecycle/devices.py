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
"""Which operations a VBD or VIF allows now: wire reference 3.7 and 3.8."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from xapikit.host.lifecycle.tables import RUNNING, state_text, table

Error = Sequence[str]
Rules = Mapping[str, Any]
"""The part of the table file about one class."""


@dataclass(frozen=True)
class DeviceFacts:
    """What the rules look at. ``class_name`` is VBD or VIF; references appear in errors only."""

    class_name: str
    ref: str
    vm: str
    power_state: str
    attached: bool
    hvm: bool = True
    is_control_domain: bool = False
    pv_drivers: bool = True
    """Frontends are known to work: needed for hot plug in an HVM guest."""
    hotplug: str = "unspecified"
    """What the guest itself says of hot plug: ``yes``, ``no`` or ``unspecified``."""
    vm_current: Mapping[str, str] = field(default_factory=dict)
    """Current operations of the VM."""
    unpluggable: bool = True
    kind: str = "Disk"
    """VBD type."""
    empty: bool = False
    vdi: str = ""
    """The disk, if there is one; with ``vdi_managed`` and ``vdi_current``, its operations."""
    vdi_managed: bool = True
    vdi_current: Mapping[str, str] = field(default_factory=dict)
    current: Mapping[str, str] = field(default_factory=dict)


def device_error(facts: DeviceFacts, operation: str) -> Error | None:
    """The error that an operation on a device gets now, or None when it may go on."""
    rules = table("devices")[facts.class_name]
    return (
        _conflict(facts.class_name, facts.ref, facts.current)
        or _kind_error(facts, operation)
        or _state_error(facts, operation, rules)
        or _guest_error(facts, operation, rules)
        or _disk_error(facts, operation, rules)
    )


def _conflict(class_name: str, ref: str, current: Mapping[str, str]) -> Error | None:
    if not current:
        return None
    return (
        "OTHER_OPERATION_IN_PROGRESS",
        class_name,
        ref,
        *(part for key, one in current.items() for part in (one, key)),
    )


def _kind_error(facts: DeviceFacts, operation: str) -> Error | None:
    """What the device is not made for, whatever its VM does."""
    if operation in ("unplug", "unplug_force") and not facts.unpluggable:
        return ("VBD_NOT_UNPLUGGABLE", facts.ref)
    if operation in ("insert", "eject"):
        if facts.kind not in ("CD", "Floppy"):
            return ("VBD_NOT_REMOVABLE_MEDIA", facts.ref)
        if operation == "insert" and not facts.empty:
            return ("VBD_NOT_EMPTY", facts.ref)
        if operation == "eject" and facts.empty:
            return ("VBD_IS_EMPTY", facts.ref)
    return None


def _state_error(facts: DeviceFacts, operation: str, rules: Rules) -> Error | None:
    """What the state of the VM, or of the device in it, forbids."""
    if operation in ("insert", "eject") and facts.power_state not in rules["cd"]["states"]:
        return ("VM_BAD_POWER_STATE", facts.vm, state_text(rules["cd"]["states"]), facts.power_state.lower())
    if operation in rules["needs_running"] and facts.power_state not in (RUNNING, *rules["needs_running"][operation]):
        return ("VM_BAD_POWER_STATE", facts.vm, state_text([RUNNING]), facts.power_state.lower())
    if operation in rules["needs_detached"] and facts.attached:
        return ("DEVICE_ALREADY_ATTACHED", facts.ref)
    if operation in rules["needs_attached"] and not facts.attached:
        return ("DEVICE_ALREADY_DETACHED", facts.ref)
    if operation in ("plug", "unplug"):
        for one in facts.vm_current.values():
            if one in rules["not_while_vm"]:
                return ("OPERATION_NOT_ALLOWED", f"Current operation on VM:{facts.vm} is {one}")
    return None


def _guest_error(facts: DeviceFacts, operation: str, rules: Rules) -> Error | None:
    """What an HVM guest cannot do with its devices."""
    if not facts.hvm or facts.is_control_domain or operation not in rules["hotplug"]:
        return None
    if facts.kind == "CD":
        return ("OPERATION_NOT_ALLOWED", rules["hvm_cd_text"])
    if facts.hotplug == "no":
        return ("OPERATION_NOT_ALLOWED", f"VM states it does not support {facts.class_name} hotplug.")
    if not _hotplugs(facts) and operation != "unplug_force":
        return ("VM_MISSING_PV_DRIVERS", facts.vm)
    return None


def _disk_error(facts: DeviceFacts, operation: str, rules: Rules) -> Error | None:
    """What the disk, or its absence, forbids. Who else has it is another matter."""
    if operation == "plug" and facts.empty:
        return ("VBD_IS_EMPTY", facts.ref)
    if not facts.vdi_managed:
        return ("VDI_NOT_MANAGED", facts.ref)
    if operation in rules.get("takes_disk", ()):
        busy = {key: one for key, one in facts.vdi_current.items() if one not in rules["beside_on_disk"]}
        return _conflict("VDI", facts.vdi, busy)
    return None


def allowed_device_operations(facts: DeviceFacts) -> list[str]:
    """``allowed_operations`` of a VBD or VIF, sorted."""
    rules = table("devices")[facts.class_name]
    if facts.current:
        return []
    listed = set(rules["always_listed"])
    shown = rules["listed_when"].get(facts.power_state)
    if shown:
        listed |= set(shown["attached" if facts.attached else "detached"])
    if facts.kind == "CD":
        if facts.hvm:
            listed -= set(rules["hotplug"])
        if facts.power_state in rules["cd"]["states"]:
            listed |= set(rules["cd"]["empty" if facts.empty else "full"])
    if not facts.unpluggable:
        listed -= {"unplug", "unplug_force"}
    if facts.hvm and not facts.is_control_domain and not _hotplugs(facts):
        listed -= set(rules["hotplug"])
    if not facts.vdi_managed:
        listed.clear()
    return sorted(listed)


def _hotplugs(facts: DeviceFacts) -> bool:
    """Whether an HVM guest takes and gives devices: what it says counts, its drivers when it says nothing."""
    return facts.hotplug == "yes" or (facts.hotplug == "unspecified" and facts.pv_drivers)
