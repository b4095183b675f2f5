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
"""The calls that move VMs (wire reference 3.12; observed/migration); how it is done is in ``host/migration``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from xapikit.host.classes.vm.copies import copy_vm, disks_of
from xapikit.host.classes.vm.facts import check
from xapikit.host.classes.vm.placement import assert_can_boot, sees_network, sees_sr
from xapikit.host.context import Context
from xapikit.host.errors import ApiError
from xapikit.host.lifecycle import HALTED, PAUSED, RUNNING
from xapikit.host.migration.inside import Move, move_disks, move_guest
from xapikit.host.migration.plan import all_disks, check_mirror
from xapikit.host.registry import implements

_NEEDED: Final = ("master", "session_id", "xenops", "SM", "host")
"""Members of what ``host.migrate_receive`` gives; opaque to clients."""
_NO_VIF_MAP: Final = "VIF mapping is not allowed for intra-pool migration"
_OTHER_POOL: Final = "this host moves VMs only inside its pool"


@implements("host.migrate_receive")
def migrate_receive(ctx: Context, host: str, network: str, options: dict[str, str]) -> dict[str, str]:
    ctx.store.get("network", network)
    if ctx.store.peek("host", host) is None or not sees_network(ctx.store, host, network):
        raise ApiError("HOST_CANNOT_ATTACH_NETWORK", host, network)
    base = ctx.pool.hosts[host].url()
    return {
        "SM": f"{base}/services/SM",
        "host": host,
        "xenops": f"{base}/services/xenops",
        "session_id": ctx.session,
        "master": f"{ctx.pool.hosts[ctx.pool.coordinator].url()}/",
    }


@implements("VM.pool_migrate")
def pool_migrate(ctx: Context, vm: str, host: str, options: dict[str, str]) -> None:
    ctx.store.get("VM", vm)
    ctx.store.get("host", host)
    with ctx.operation("VM", vm, "pool_migrate", check=check):
        if ctx.store.get("VM", vm)["resident_on"] == host:
            return
        with ctx.store.transaction() as tx:
            assert_can_boot(tx, vm, host)
            tx.update("VM", vm, scheduled_to_be_resident_on=host)
        move_guest(ctx, Move(vm, host, {}))


@implements("VM.migrate_send")
def migrate_send(
    ctx: Context, vm: str, dest: dict[str, str], live: bool, vdi_map: dict[str, str], vif_map: dict[str, str],
    options: dict[str, str], vgpu_map: dict[str, str], vdi_format_map: dict[str, str],
) -> str:  # fmt: skip
    """Move a VM, or with ``copy=true`` copy a halted one; returns the reference of the VM at its destination."""
    move = _plan(ctx, vm, dest, vdi_map, vif_map, options)
    with ctx.operation("VM", vm, "migrate_send", check=check):
        if options.get("copy") == "true":
            targets = {move.disks[vdi] for vdi in disks_of(ctx, ctx.store.get("VM", vm)).values() if vdi in move.disks}
            targets = targets or {""}
            if len(targets) > 1:
                raise ApiError("OPERATION_NOT_ALLOWED", "a copy has all its disks on one SR")
            return copy_vm(ctx, vm, ctx.store.get("VM", vm)["name_label"], targets.pop())
        if ctx.store.get("VM", vm)["power_state"] in (RUNNING, PAUSED):
            with ctx.store.transaction() as tx:
                assert_can_boot(tx, vm, move.host, moved=move.disks)
                tx.update("VM", vm, scheduled_to_be_resident_on=move.host)
            move_guest(ctx, move)
        else:
            move_disks(ctx, move)
    return vm


@implements("VM.assert_can_migrate")
def assert_can_migrate(
    ctx: Context, vm: str, dest: dict[str, str], live: bool, vdi_map: dict[str, str], vif_map: dict[str, str],
    options: dict[str, str], vgpu_map: dict[str, str],
) -> None:  # fmt: skip
    move = _plan(ctx, vm, dest, vdi_map, vif_map, options)
    with ctx.store.transaction() as tx:
        check(tx, vm, "migrate_send")
        if ctx.store.get("VM", vm)["power_state"] in (RUNNING, PAUSED):
            assert_can_boot(tx, vm, move.host, moved=move.disks)


def _plan(
    ctx: Context, vm: str, dest: Mapping[str, str], vdi_map: Mapping[str, str], vif_map: Mapping[str, str],
    options: Mapping[str, str],
) -> Move:  # fmt: skip
    """The host, and the SR for each disk of the VM and its snapshots that does not stay where it is."""
    row = ctx.store.get("VM", vm)
    if any(name not in dest for name in _NEEDED):
        raise ApiError("INTERNAL_ERROR", "Not_found")
    host = dest["host"]
    if ctx.store.peek("host", host) is None:
        raise ApiError("VM_MIGRATE_FAILED", vm, row["resident_on"], host, _OTHER_POOL)
    if vif_map:
        raise ApiError("OPERATION_NOT_ALLOWED", _NO_VIF_MAP)
    if options.get("copy") == "true" and row["power_state"] != HALTED:
        raise ApiError("VM_BAD_POWER_STATE", vm, HALTED.lower(), row["power_state"].lower())
    if not ctx.store.get("host", host)["enabled"]:
        raise ApiError("HOST_DISABLED", host)
    plan: dict[str, str] = {}
    for vdi in all_disks(ctx.store, vm):
        disk = ctx.store.get("VDI", vdi)
        named = vdi_map.get(vdi) or vdi_map.get(disk["snapshot_of"])
        target = named or (disk["SR"] if sees_sr(ctx.store, host, disk["SR"]) else ctx.pool.row["default_SR"])
        if ctx.store.peek("SR", target) is None or not sees_sr(ctx.store, host, target):
            if named:
                ctx.store.get("SR", target)
                raise ApiError("VM_REQUIRES_SR", vm, target)
            raise ApiError("VDI_NOT_IN_MAP", vdi)
        if target != disk["SR"]:
            check_mirror(ctx.store, vdi, disk["SR"], target)
            plan[vdi] = target
    return Move(vm, host, plan)
