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

from xapikit.host.lifecycle.tables import RUNNING, state_text, table

Error = Sequence[str]


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
    unpluggable: bool = True
    kind: str = "Disk"
    """VBD type."""
    empty: bool = False
    current: Mapping[str, str] = field(default_factory=dict)


def device_error(facts: DeviceFacts, operation: str) -> Error | None:
    """The error that an operation on a device gets now, or None when it may go on."""
    rules = table("devices")[facts.class_name]
    if operation in ("insert", "eject"):
        return _media_error(facts, operation, rules)
    if operation in ("unplug", "unplug_force") and not facts.unpluggable:
        return ("VBD_NOT_UNPLUGGABLE", facts.ref)
    if operation in rules["needs_running"] and facts.power_state != RUNNING:
        return ("VM_BAD_POWER_STATE", facts.vm, state_text([RUNNING]), facts.power_state.lower())
    if facts.current:
        described = [part for key, one in facts.current.items() for part in (one, key)]
        return ("OTHER_OPERATION_IN_PROGRESS", facts.class_name, facts.ref, *described)
    if operation in rules["needs_detached"] and facts.attached:
        return ("DEVICE_ALREADY_ATTACHED", facts.ref)
    if operation in rules["needs_attached"] and not facts.attached:
        return ("DEVICE_ALREADY_DETACHED", facts.ref)
    if facts.kind == "CD" and facts.hvm and operation in rules.get("not_for_cd_of_hvm", ()):
        return ("OPERATION_NOT_ALLOWED", rules["hvm_cd_text"])
    if operation == "plug" and facts.empty:
        return ("VBD_IS_EMPTY", facts.ref)
    if operation in ("plug", "unplug") and facts.hvm and not (facts.pv_drivers or facts.is_control_domain):
        return ("VM_MISSING_PV_DRIVERS", facts.vm)
    return None


def _media_error(facts: DeviceFacts, operation: str, rules: Mapping[str, Mapping[str, Sequence[str]]]) -> Error | None:
    if facts.kind not in ("CD", "Floppy"):
        return ("VBD_NOT_REMOVABLE_MEDIA", facts.ref)
    if operation == "insert" and not facts.empty:
        return ("VBD_NOT_EMPTY", facts.ref)
    if operation == "eject" and facts.empty:
        return ("VBD_IS_EMPTY", facts.ref)
    states = rules["cd"]["states"]
    if facts.power_state not in states:
        return ("VM_BAD_POWER_STATE", facts.vm, state_text(states), facts.power_state.lower())
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
            listed -= set(rules["not_for_cd_of_hvm"])
        if facts.power_state in rules["cd"]["states"]:
            listed |= set(rules["cd"]["empty" if facts.empty else "full"])
    if not facts.unpluggable:
        listed -= {"unplug", "unplug_force"}
    if facts.class_name == "VIF" and facts.hvm and not facts.pv_drivers:
        listed -= {"plug", "unplug"}
    return sorted(listed)
