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
"""Classes ``VMSS`` and ``VM_appliance``: snapshot schedules, and groups of VMs that start and stop together."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from xapikit.host.context import Context
from xapikit.host.errors import ApiError
from xapikit.host.lifecycle import PlaceFacts, allowed_place_operations
from xapikit.host.registry import calls, implements
from xapikit.host.store import Row, Store, View

RETAINED_SNAPSHOTS = range(1, 11)


# VMSS ----------------------------------------------------------------------------------------------------------------


@implements("VMSS.create")
def create_schedule(ctx: Context, record: dict[str, Any]) -> str:
    _check_retained(record.get("retained_snapshots", 7))
    with ctx.store.transaction() as tx:
        return tx.create("VMSS", record)


@implements("VMSS.set_retained_snapshots")
def set_retained_snapshots(ctx: Context, schedule: str, value: int) -> None:
    ctx.store.get("VMSS", schedule)
    _check_retained(value)
    with ctx.store.transaction() as tx:
        tx.update("VMSS", schedule, retained_snapshots=value)


def _check_retained(value: int) -> None:
    if value not in RETAINED_SNAPSHOTS:
        raise ApiError("INVALID_VALUE", "retained_snapshots", value)


# VM_appliance --------------------------------------------------------------------------------------------------------


def derive(store: Store) -> None:
    """Register what follows from other rows."""
    store.derive("VM_appliance", "allowed_operations", _allowed_operations, via={"VM": "appliance"})


def _allowed_operations(view: View, ref: str, row: Row) -> list[str]:
    states = {vm["power_state"] for member in row["VMs"] if (vm := view.peek("VM", member)) is not None}
    return allowed_place_operations(PlaceFacts("VM_appliance", ref, {"power_states": states}))


def _members(ctx: Context, appliance: str, wanted: Callable[[Row], bool], none: str) -> list[str]:
    row = ctx.store.get("VM_appliance", appliance)
    members = {ref: vm for ref in row["VMs"] if (vm := ctx.store.peek("VM", ref)) is not None}
    if not members:
        raise ApiError("OPERATION_NOT_ALLOWED", "Appliance has no VMs.")
    chosen = [ref for ref, vm in members.items() if wanted(vm)]
    if not chosen:
        raise ApiError("OPERATION_NOT_ALLOWED", none)
    return sorted(chosen, key=lambda ref: members[ref]["order"])


def _each(ctx: Context, appliance: str, operation: str, members: Iterable[str], call: str, *arguments: Any) -> None:
    """Run a call on every member; what fails does not keep the others, and is reported together."""
    failed: list[str] = []
    with ctx.operation("VM_appliance", appliance, operation):
        for member in members:
            ctx.task.raise_if_cancelled()
            try:
                calls()[call](ctx, member, *arguments)
            except ApiError as error:
                failed += [member, error.code]
    if failed:
        raise ApiError("OPERATION_PARTIALLY_FAILED", operation, *failed)


@implements("VM_appliance.start")
def start(ctx: Context, appliance: str, paused: bool) -> None:
    halted = _members(
        ctx, appliance, lambda vm: vm["power_state"] == "Halted", "There are no halted VMs in this appliance."
    )
    _each(ctx, appliance, "start", halted, "VM.start", paused, False)


@implements("VM_appliance.clean_shutdown", "VM_appliance.hard_shutdown", "VM_appliance.shutdown")
def shutdown(ctx: Context, appliance: str) -> None:
    operation = ctx.method.partition(".")[2]
    running = _members(
        ctx, appliance, lambda vm: vm["power_state"] != "Halted", "There are no running VMs in this appliance."
    )
    _each(ctx, appliance, operation, reversed(running), f"VM.{operation}")
