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
"""Memory limits and processors of VMs (wire reference 3.9; recorded in observed/vm_lifecycle)."""

from __future__ import annotations

from xapikit.host.classes.vm.facts import check
from xapikit.host.classes.vm.overhead import memory_overhead
from xapikit.host.context import Context
from xapikit.host.errors import ApiError
from xapikit.host.registry import implements
from xapikit.host.store import Transaction

VCPU_RULE = "VCPU values must satisfy: 0 < VCPUs_at_startup \u2264 VCPUs_max"
VCPU_LIVE_RULE = "VCPU values must satisfy: 0 < VCPUs \u2264 VCPUs_max"
_NAMES = ("memory_static_min", "memory_dynamic_min", "memory_dynamic_max", "memory_static_max")
"""In the order that must hold, lowest first."""


def _set_memory(tx: Transaction, vm: str, operation: str, **given: int) -> None:
    """Change some of the four limits. Raises what the state forbids, then MEMORY_CONSTRAINT_VIOLATION_ORDER."""
    row = tx.get("VM", vm)
    check(tx, vm, operation)
    values: list[int] = [given[name] if name in given else row[name] for name in _NAMES]
    if values != sorted(values):
        raise ApiError("MEMORY_CONSTRAINT_VIOLATION_ORDER")
    tx.update("VM", vm, **given)
    tx.update("VM", vm, memory_overhead=memory_overhead(tx.get("VM", vm)))


@implements("VM.set_memory_limits")
def set_memory_limits(
    ctx: Context, vm: str, static_min: int, static_max: int, dynamic_min: int, dynamic_max: int
) -> None:
    with ctx.store.transaction() as tx:
        _set_memory(
            tx,
            vm,
            "changing_memory_limits",
            memory_static_min=static_min,
            memory_static_max=static_max,
            memory_dynamic_min=dynamic_min,
            memory_dynamic_max=dynamic_max,
        )


@implements("VM.set_memory")
def set_memory(ctx: Context, vm: str, value: int) -> None:
    with ctx.store.transaction() as tx:
        _set_memory(
            tx,
            vm,
            "changing_memory_limits",
            memory_static_max=value,
            memory_dynamic_max=value,
            memory_dynamic_min=value,
        )


@implements("VM.set_memory_static_range")
def set_memory_static_range(ctx: Context, vm: str, low: int, high: int) -> None:
    with ctx.store.transaction() as tx:
        _set_memory(tx, vm, "changing_static_range", memory_static_min=low, memory_static_max=high)


@implements("VM.set_memory_static_max")
def set_memory_static_max(ctx: Context, vm: str, value: int) -> None:
    with ctx.store.transaction() as tx:
        _set_memory(tx, vm, "changing_static_range", memory_static_max=value)


@implements("VM.set_memory_static_min")
def set_memory_static_min(ctx: Context, vm: str, value: int) -> None:
    with ctx.store.transaction() as tx:
        _set_memory(tx, vm, "changing_static_range", memory_static_min=value)


def _set_dynamic(ctx: Context, vm: str, **given: int) -> None:
    with ctx.store.transaction() as tx:
        _set_memory(tx, vm, "changing_dynamic_range", **given)
    row = ctx.store.get("VM", vm)
    if row["power_state"] == "Running" and not row["is_control_domain"]:
        ctx.pool.domains.set_memory_target(vm, row["memory_dynamic_max"])


@implements("VM.set_memory_dynamic_range")
def set_memory_dynamic_range(ctx: Context, vm: str, low: int, high: int) -> None:
    _set_dynamic(ctx, vm, memory_dynamic_min=low, memory_dynamic_max=high)


@implements("VM.set_memory_dynamic_max")
def set_memory_dynamic_max(ctx: Context, vm: str, value: int) -> None:
    _set_dynamic(ctx, vm, memory_dynamic_max=value)


@implements("VM.set_memory_dynamic_min")
def set_memory_dynamic_min(ctx: Context, vm: str, value: int) -> None:
    _set_dynamic(ctx, vm, memory_dynamic_min=value)


@implements("VM.set_memory_target_live")
def set_memory_target_live(ctx: Context, vm: str, target: int) -> None:
    with ctx.operation("VM", vm, "changing_memory_live", check=check):
        ctx.pool.domains.set_memory_target(vm, target)


@implements("VM.wait_memory_target_live")
def wait_memory_target_live(ctx: Context, vm: str) -> None:
    with ctx.operation("VM", vm, "awaiting_memory_live", check=check):
        pass  # a target is reached before the call that sets it returns


@implements("VM.compute_memory_overhead")
def compute_memory_overhead(ctx: Context, vm: str) -> int:
    return memory_overhead(ctx.store.get("VM", vm))


@implements("VM.maximise_memory")
def maximise_memory(ctx: Context, vm: str, total: int, approximate: bool) -> int:
    """The largest static maximum whose sum with its overhead is within ``total`` bytes."""
    row = dict(ctx.store.get("VM", vm))
    low, high = 0, max(0, total)
    while low < high:
        middle = (low + high + 1) // 2
        row["memory_static_max"] = middle
        if middle + memory_overhead(row) <= total:
            low = middle
        else:
            high = middle - 1
    return low


# processors ----------------------------------------------------------------------------------------------------------


@implements("VM.set_VCPUs_max")
def set_vcpus_max(ctx: Context, vm: str, value: int) -> None:
    with ctx.store.transaction() as tx:
        row = tx.get("VM", vm)
        check(tx, vm, "changing_VCPUs")
        if not 0 < row["VCPUs_at_startup"] <= value:
            raise ApiError("INVALID_VALUE", VCPU_RULE, value)
        tx.update("VM", vm, VCPUs_max=value)
        tx.update("VM", vm, memory_overhead=memory_overhead(tx.get("VM", vm)))


@implements("VM.set_VCPUs_at_startup")
def set_vcpus_at_startup(ctx: Context, vm: str, value: int) -> None:
    with ctx.store.transaction() as tx:
        if not 0 < value <= tx.get("VM", vm)["VCPUs_max"]:
            raise ApiError("INVALID_VALUE", VCPU_RULE, value)
        tx.update("VM", vm, VCPUs_at_startup=value)


@implements("VM.set_VCPUs_number_live")
def set_vcpus_number_live(ctx: Context, vm: str, number: int) -> None:
    with ctx.operation("VM", vm, "changing_VCPUs_live", check=check):
        limit = ctx.store.get("VM", vm)["VCPUs_max"]
        if not 0 < number <= limit:
            # the value named is the limit, as recorded
            raise ApiError("INVALID_VALUE", VCPU_LIVE_RULE, limit)
        ctx.pool.domains.set_vcpus(vm, number)


@implements("VM.add_to_VCPUs_params_live")
def add_to_vcpus_params_live(ctx: Context, vm: str, key: str, value: str) -> None:
    with ctx.store.transaction() as tx:
        check(tx, vm, "changing_VCPUs_live")
    raise ApiError("NOT_IMPLEMENTED", "add_to_VCPUs_params_live")


@implements("VM.set_HVM_shadow_multiplier")
def set_hvm_shadow_multiplier(ctx: Context, vm: str, value: float) -> None:
    with ctx.store.transaction() as tx:
        tx.get("VM", vm)
        check(tx, vm, "changing_shadow_memory")
        if value < 1.0:
            raise ApiError("INVALID_VALUE", "multiplier", f"{value:g}")
        tx.update("VM", vm, HVM_shadow_multiplier=value)
        tx.update("VM", vm, memory_overhead=memory_overhead(tx.get("VM", vm)))


@implements("VM.set_shadow_multiplier_live")
def set_shadow_multiplier_live(ctx: Context, vm: str, multiplier: float) -> None:
    with ctx.operation("VM", vm, "changing_shadow_memory_live", check=check):
        if multiplier < 1.0:
            raise ApiError("INVALID_VALUE", "multiplier", f"{multiplier:g}")
        with ctx.store.transaction() as tx:
            tx.update("VM", vm, HVM_shadow_multiplier=multiplier)
