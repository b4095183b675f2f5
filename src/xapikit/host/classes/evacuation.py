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
"""Moving all VMs away from a host: which can go where, and doing it (wire reference 7.4)."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from xapikit.host.classes.host import check
from xapikit.host.context import Context
from xapikit.host.errors import ApiError
from xapikit.host.registry import calls, implements

BATCH = 10
"""VMs that move at once, unless the caller says otherwise."""


def guests(ctx: Context, host: str) -> list[str]:
    """VMs that run on a host, its control domain left out. Raises HANDLE_INVALID."""
    row = ctx.store.get("host", host)
    return [ref for ref in row["resident_VMs"] if ref != row["control_domain"]]


def destination(ctx: Context, vm: str, host: str) -> str:
    """Another host that takes a VM. Raises the reason of the first one that does not, or NO_HOSTS_AVAILABLE."""
    refused: ApiError | None = None
    for other, row in ctx.store.all("host").items():
        if other == host or not row["enabled"]:
            continue
        try:
            calls()["VM.assert_can_boot_here"](ctx, vm, other)
        except ApiError as error:
            refused = refused or error
        else:
            return other
    raise refused or ApiError("NO_HOSTS_AVAILABLE")


@implements("host.get_vms_which_prevent_evacuation")
def get_vms_which_prevent_evacuation(ctx: Context, host: str) -> dict[str, list[str]]:
    kept: dict[str, list[str]] = {}
    for vm in guests(ctx, host):
        try:
            destination(ctx, vm, host)
        except ApiError as error:
            kept[vm] = error.description
    return kept


@implements("host.assert_can_evacuate")
def assert_can_evacuate(ctx: Context, host: str) -> None:
    kept = get_vms_which_prevent_evacuation(ctx, host)
    if kept:
        raise ApiError("CANNOT_EVACUATE_HOST", "|".join(",".join(reason) for reason in kept.values()))


@implements("host.evacuate")
def evacuate(ctx: Context, host: str, network: str, evacuate_batch_size: int) -> None:
    """Move every VM to a host that takes it; the first that cannot move fails the call with its own error."""
    plan = {vm: destination(ctx, vm, host) for vm in guests(ctx, host)}
    migrate = calls()["VM.pool_migrate"]
    with ctx.operation("host", host, "evacuate", check=check):
        done = 0
        with ThreadPoolExecutor(evacuate_batch_size or BATCH, thread_name_prefix="xapi-evacuate") as workers:
            moves = [workers.submit(migrate, ctx, vm, target, {"live": "true"}) for vm, target in plan.items()]
            try:
                for move in moves:
                    move.result()
                    done += 1
                    ctx.task.set_progress(done / len(moves))
                    ctx.task.raise_if_cancelled()
            finally:
                for move in moves:
                    move.cancel()
