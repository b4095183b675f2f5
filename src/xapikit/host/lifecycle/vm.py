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
"""Which operation a virtual machine allows now, and the error that says why not: wire reference 3.1 and 3.2."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields

from xapikit.host.lifecycle.tables import HALTED, RUNNING, SUSPENDED, state_text, table
from xapikit.model import MODEL

Error = Sequence[str]
"""Code and parameters of an API error."""


@dataclass(frozen=True)
class VmFacts:
    """All that the rules look at. ``ref`` appears in errors only."""

    ref: str
    power_state: str
    is_a_template: bool = False
    is_default_template: bool = False
    is_a_snapshot: bool = False
    is_control_domain: bool = False
    hvm: bool = True
    blocked: Mapping[str, str] = field(default_factory=dict)
    """``blocked_operations``: operation -> text."""
    current: Mapping[str, str] = field(default_factory=dict)
    """``current_operations``: operation reference -> operation."""
    pv_drivers: bool = False
    """A PV driver version is known: the guest is trusted to support everything."""
    guest_features: frozenset[str] = frozenset()
    """Keys ``feature-*`` of the guest metrics whose value is 1."""
    cannot_suspend: str = ""
    """The guest's own reason against suspension; empty when it has none."""
    nomigrate: bool = False
    nested_virt: bool = False
    has_pci: bool = False
    has_vgpu: bool = False
    has_vusb: bool = False
    reset_on_boot: bool = False
    """A disk with ``on_boot=reset`` is attached to the VM."""
    vtpm: bool = False
    snapshot_schedule: str = ""
    """Reference of the schedule that the VM belongs to, or empty."""
    clone_suspended: bool = False
    """The pool allows to clone suspended VMs."""


_FLAGS = tuple(member.name for member in fields(VmFacts) if member.type == "bool")


def operation_error(facts: VmFacts, operation: str) -> Error | None:
    """The error that an operation gets now, or None when it may go on. KeyError for an unknown operation."""
    for rule in _RULES:
        error = rule(facts, operation)
        if error is not None:
            return error
    return None


def allowed_operations(facts: VmFacts) -> list[str]:
    """``VM.allowed_operations``, sorted: every operation without an error, less those that are never listed."""
    # asked for at every change of a VM; who it is and what texts say does not matter
    return list(
        _allowed(
            facts.power_state,
            tuple(getattr(facts, name) for name in _FLAGS),
            frozenset(facts.blocked),
            tuple(facts.current.values()),
            facts.guest_features,
            bool(facts.cannot_suspend),
            bool(facts.snapshot_schedule),
        )
    )


@functools.lru_cache(maxsize=4096)
def _allowed(
    power_state: str, flags: tuple[bool, ...], blocked: frozenset[str], current: tuple[str, ...],
    guest_features: frozenset[str], cannot_suspend: bool, scheduled: bool,
) -> tuple[str, ...]:  # fmt: skip
    facts = VmFacts(
        "",
        power_state,
        **dict(zip(_FLAGS, flags, strict=True)),
        blocked=dict.fromkeys(blocked, ""),
        current={str(number): operation for number, operation in enumerate(current)},
        guest_features=guest_features,
        cannot_suspend="x" if cannot_suspend else "",
        snapshot_schedule="x" if scheduled else "",
    )
    return tuple(operation for operation in _listed() if operation_error(facts, operation) is None)


@functools.cache
def _listed() -> tuple[str, ...]:
    # an operation that the data model lacks cannot be listed: the table may know a newer release's
    known = set(MODEL.enums["vm_operations"])
    vm = table("vm")
    return tuple(sorted(known & (set(vm["operations"]) - set(vm["never_listed"]))))


def operation_text(operation: str) -> str:
    """How errors name an operation: a few have no name of their own."""
    return str(table("vm")["operation_text"].get(operation, operation))


def allowed_states(facts: VmFacts, operation: str) -> list[str]:
    """Power states in which an operation is allowed for this kind of VM."""
    vm = table("vm")
    states = list(vm["operations"][operation])
    if facts.is_control_domain and operation in vm["control_domain"]["also_running"]:
        states.append(RUNNING)
    suspended = vm["also_suspended"]
    if (facts.is_a_snapshot and operation in suspended["snapshot"]) or (
        facts.clone_suspended and operation in suspended["pool_allows"]
    ):
        states.append(SUSPENDED)
    return states


# the rules, in the order in which errors win -------------------------------------------------------------------------


def _blocked(facts: VmFacts, operation: str) -> Error | None:
    if operation in facts.blocked:
        return ("OPERATION_BLOCKED", facts.ref, facts.blocked[operation])
    return None


def _power_state(facts: VmFacts, operation: str) -> Error | None:
    states = allowed_states(facts, operation)
    if facts.power_state in states:
        return None
    return ("VM_BAD_POWER_STATE", facts.ref, state_text(states), facts.power_state.lower())


def _overlap(facts: VmFacts, operation: str) -> Error | None:
    if not facts.current:
        return None
    rules = table("vm")["overlaps"]
    running = list(facts.current.values())
    if operation in rules["always"]:
        return None
    if operation in rules["unless_running"]:
        if not set(running) & set(rules["unless_running"][operation]):
            return None
    elif any(all(one in group for one in (operation, *running)) for group in rules["together"]) or all(
        operation in rules["during"].get(one, ()) for one in running
    ):
        return None
    described = [part for key, one in facts.current.items() for part in (operation_text(one), key)]
    return ("OTHER_OPERATION_IN_PROGRESS", "VM", facts.ref, *described)


def _template(facts: VmFacts, operation: str) -> Error | None:
    if not facts.is_a_template or facts.is_a_snapshot:
        return None
    rules = table("vm")["template"]
    if operation in rules["allowed"]:
        return None
    if operation in rules["allowed_unless_default"] and not facts.is_default_template:
        return None
    return ("VM_IS_TEMPLATE", facts.ref, operation_text(operation))


def _snapshot(facts: VmFacts, operation: str) -> Error | None:
    if facts.is_a_snapshot:
        if operation in table("vm")["snapshot"]["allowed"]:
            return None
        return ("VM_IS_SNAPSHOT", facts.ref, operation_text(operation))
    if operation == "revert":
        return ("REVERT_ONLY_ALLOWED_ON_SNAPSHOT",)
    if operation == "provision" and not facts.is_a_template:
        return ("PROVISION_ONLY_ALLOWED_ON_TEMPLATE",)
    return None


def _immobile(facts: VmFacts, operation: str) -> Error | None:
    if operation in table("vm")["immobile"]:
        if facts.nomigrate:
            return ("VM_IS_IMMOBILE", facts.ref)
        if facts.nested_virt:
            return ("VM_IS_USING_NESTED_VIRT", facts.ref)
    return None


def _control_domain(facts: VmFacts, operation: str) -> Error | None:
    rules = table("vm")["control_domain"]
    if facts.is_control_domain and operation not in rules["allowed"]:
        return ("OPERATION_NOT_ALLOWED", rules["texts"].get(operation, rules["text"]))
    if operation == "query_services":
        return ("NOT_SYSTEM_DOMAIN", facts.ref)
    return None


def _guest(facts: VmFacts, operation: str) -> Error | None:
    if facts.power_state == RUNNING and facts.hvm and not facts.pv_drivers and not facts.is_control_domain:
        features = table("vm")["guest_features"].get(operation)
        if features is not None and not facts.guest_features & set(features):
            return ("VM_LACKS_FEATURE", facts.ref)
    if operation == "suspend" and facts.cannot_suspend:
        return ("VM_NON_SUSPENDABLE", facts.ref, facts.cannot_suspend)
    return None


def _devices(facts: VmFacts, operation: str) -> Error | None:
    rules = table("vm")["devices"]
    for present, kind, code in (
        (facts.has_pci, "pci", "VM_HAS_PCI_ATTACHED"),
        (facts.has_vgpu, "vgpu", "VM_HAS_VGPU"),
        (facts.has_vusb, "vusb", "VM_HAS_VUSBS"),
    ):
        if present and facts.power_state != HALTED and operation in rules[kind]:
            return (code, facts.ref)
    return None


def _others(facts: VmFacts, operation: str) -> Error | None:
    if facts.reset_on_boot and operation in table("vm")["devices"]["reset_on_boot"]:
        return ("VDI_ON_BOOT_MODE_INCOMPATIBLE_WITH_OPERATION",)
    if facts.snapshot_schedule and operation == "make_into_template":
        return ("VM_ASSIGNED_TO_SNAPSHOT_SCHEDULE", facts.ref, facts.snapshot_schedule)
    if facts.vtpm and operation == "create_vtpm":
        return ("VTPM_MAX_AMOUNT_REACHED", "1")
    if operation == "snapshot_with_quiesce":
        return ("VM_SNAPSHOT_WITH_QUIESCE_NOT_SUPPORTED", facts.ref)
    return None


_RULES = (
    _blocked,
    _power_state,
    _overlap,
    _template,
    _snapshot,
    _immobile,
    _control_domain,
    _guest,
    _devices,
    _others,
)
