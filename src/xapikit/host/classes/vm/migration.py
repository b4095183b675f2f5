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

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from xapikit.host.classes.vm.copies import copy_vm, disks_of
from xapikit.host.classes.vm.facts import check
from xapikit.host.classes.vm.placement import assert_can_boot, placed, sees_network
from xapikit.host.context import Context
from xapikit.host.errors import ApiError
from xapikit.host.lifecycle import HALTED, PAUSED, RUNNING
from xapikit.host.migration.departure import Departure
from xapikit.host.migration.inside import Move, move_disks, move_guest
from xapikit.host.migration.plan import Journey, disks_inside, disks_to, networks_to
from xapikit.host.migration.remote import service_url
from xapikit.host.registry import implements

_NEEDED: Final = ("master", "session_id", "xenops", "SM", "host")
"""Members of what ``host.migrate_receive`` gives; opaque to clients."""
_NO_VIF_MAP: Final = "VIF mapping is not allowed for intra-pool migration"


@implements("host.migrate_receive")
def migrate_receive(ctx: Context, host: str, network: str, options: dict[str, str]) -> dict[str, str]:
    ctx.store.get("network", network)
    if ctx.store.peek("host", host) is None or not sees_network(ctx.store, host, network):
        raise ApiError("HOST_CANNOT_ATTACH_NETWORK", host, network)
    base = ctx.pool.hosts[host].url()
    certificate = ctx.pool.certificate_of(host)
    return {
        "SM": service_url(base, "SM", certificate),
        "host": host,
        "xenops": service_url(base, "xenops", certificate),
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
        with placed(ctx, vm, host, "vm_migrate"):
            move_guest(ctx, Move(vm, host, {}))


@implements("VM.migrate_send")
def migrate_send(
    ctx: Context, vm: str, dest: dict[str, str], live: bool, vdi_map: dict[str, str], vif_map: dict[str, str],
    options: dict[str, str], vgpu_map: dict[str, str], vdi_format_map: dict[str, str],
) -> str:  # fmt: skip
    """Move a VM, or with ``copy=true`` copy a halted one; returns the reference of the VM at its destination."""
    copy = options.get("copy") == "true"
    if _inside(ctx, vm, dest, options):
        move = _move(ctx, vm, dest, vdi_map, vif_map)
        with ctx.operation("VM", vm, "migrate_send", check=check), _counted(ctx, vm, move.disks):
            if copy:
                return _copied(ctx, move)
            if ctx.store.get("VM", vm)["power_state"] in (RUNNING, PAUSED):
                with placed(ctx, vm, move.host, "vm_migrate", moved=move.disks):
                    move_guest(ctx, move)
            else:
                move_disks(ctx, move)
        return vm
    with ctx.operation("VM", vm, "migrate_send", check=check):
        journey = _journey(ctx, vm, dest, vdi_map, vif_map, copy)
        with _counted(ctx, vm, journey.disks):
            return Departure(ctx, journey).go()


@implements("VM.assert_can_migrate")
def assert_can_migrate(
    ctx: Context, vm: str, dest: dict[str, str], live: bool, vdi_map: dict[str, str], vif_map: dict[str, str],
    options: dict[str, str], vgpu_map: dict[str, str],
) -> None:  # fmt: skip
    if _inside(ctx, vm, dest, options):
        move = _move(ctx, vm, dest, vdi_map, vif_map)
        with ctx.store.transaction() as tx:
            check(tx, vm, "migrate_send")
            if tx.get("VM", vm)["power_state"] in (RUNNING, PAUSED):
                assert_can_boot(tx, vm, move.host, moved=move.disks)
        return
    with ctx.store.transaction() as tx:
        check(tx, vm, "migrate_send")
    Departure(ctx, _journey(ctx, vm, dest, vdi_map, vif_map, options.get("copy") == "true")).rehearse()


@implements("VM.assert_can_migrate_sender")
def assert_can_migrate_sender(
    ctx: Context, vm: str, dest: dict[str, str], live: bool, vdi_map: dict[str, str], vif_map: dict[str, str],
    vgpu_map: dict[str, str], options: dict[str, str],
) -> None:  # fmt: skip
    """What of it can be told without the destination."""
    inside = _inside(ctx, vm, dest, options)
    with ctx.store.transaction() as tx:
        check(tx, vm, "migrate_send")
    if inside:
        _move(ctx, vm, dest, vdi_map, vif_map)
    else:
        _journey(ctx, vm, dest, vdi_map, vif_map, options.get("copy") == "true")


# checks --------------------------------------------------------------------------------------------------------------


def _inside(ctx: Context, vm: str, dest: Mapping[str, str], options: Mapping[str, str]) -> bool:
    """Whether a destination is in this pool. Raises what is checked before anything else."""
    row = ctx.store.get("VM", vm)
    if any(name not in dest for name in _NEEDED):
        raise ApiError("INTERNAL_ERROR", "Not_found")
    if options.get("copy") == "true" and row["power_state"] != HALTED:
        raise ApiError("VM_BAD_POWER_STATE", vm, HALTED.lower(), row["power_state"].lower())
    return ctx.store.peek("host", dest["host"]) is not None


def _move(
    ctx: Context, vm: str, dest: Mapping[str, str], vdi_map: Mapping[str, str], vif_map: Mapping[str, str]
) -> Move:
    host = dest["host"]
    if vif_map:
        raise ApiError("OPERATION_NOT_ALLOWED", _NO_VIF_MAP)
    if not ctx.store.get("host", host)["enabled"]:
        raise ApiError("HOST_DISABLED", host)
    return Move(vm, host, disks_inside(ctx.store, vm, host, vdi_map, ctx.pool.row["default_SR"]))


def _journey(
    ctx: Context, vm: str, dest: Mapping[str, str], vdi_map: Mapping[str, str], vif_map: Mapping[str, str], copy: bool
) -> Journey:
    networks = networks_to(ctx.store, vm, vif_map, snapshots=not copy)
    return Journey(vm, dest, disks_to(ctx.store, vm, vdi_map, snapshots=not copy), networks, copy)


def _copied(ctx: Context, move: Move) -> str:
    own = disks_of(ctx, ctx.store.get("VM", move.vm)).values()
    targets = {move.disks[vdi] for vdi in own if vdi in move.disks} or {""}
    if len(targets) > 1:
        raise ApiError("OPERATION_NOT_ALLOWED", "a copy has all its disks on one SR")
    return copy_vm(ctx, move.vm, ctx.store.get("VM", move.vm)["name_label"], targets.pop())


@contextmanager
def _counted(ctx: Context, vm: str, disks: Mapping[str, str]) -> Iterator[None]:
    row = ctx.store.get("VM", vm)
    host = row["resident_on"] if ctx.store.peek("host", row["resident_on"]) else ctx.pool.coordinator
    with ctx.pool.migrations.storage_moves(host, disks):
        yield
