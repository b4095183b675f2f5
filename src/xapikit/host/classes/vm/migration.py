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
"""Moving VMs inside the pool, with their disks where they must move too (wire reference 3.12; observed/migration).

The state of a guest goes through a file while it stands still; disks that both hosts see are not copied.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from xapikit.host.classes.vm import steps, transitions
from xapikit.host.classes.vm.copies import NewDisks, copy_vm, disks_of, new_disks
from xapikit.host.classes.vm.facts import check
from xapikit.host.classes.vm.placement import assert_can_boot, sees_network, sees_sr
from xapikit.host.context import Context
from xapikit.host.domains.model import DomainFailed
from xapikit.host.errors import ApiError
from xapikit.host.lifecycle import HALTED, PAUSED, RUNNING, SUSPENDED
from xapikit.host.registry import implements
from xapikit.host.storage import vdis
from xapikit.host.storage.copying import copy_new
from xapikit.model import NULL_REF

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
        _move_domain(ctx, vm, host, {})


@implements("VM.migrate_send")
def migrate_send(
    ctx: Context, vm: str, dest: dict[str, str], live: bool, vdi_map: dict[str, str], vif_map: dict[str, str],
    options: dict[str, str], vgpu_map: dict[str, str], vdi_format_map: dict[str, str],
) -> str:  # fmt: skip
    """Move a VM, or with ``copy=true`` copy a halted one; returns the reference of the VM at its destination."""
    host, plan = _plan(ctx, vm, dest, vdi_map, vif_map, options)
    with ctx.operation("VM", vm, "migrate_send", check=check):
        if options.get("copy") == "true":
            targets = set(plan.values()) or {""}
            if len(targets) > 1:
                raise ApiError("OPERATION_NOT_ALLOWED", "a copy has all its disks on one SR")
            return copy_vm(ctx, vm, ctx.store.get("VM", vm)["name_label"], targets.pop())
        if ctx.store.get("VM", vm)["power_state"] in (RUNNING, PAUSED):
            with ctx.store.transaction() as tx:
                assert_can_boot(tx, vm, host, moved=_moved(ctx, plan))
                tx.update("VM", vm, scheduled_to_be_resident_on=host)
            _move_domain(ctx, vm, host, plan)
        else:
            _move_disks(ctx, vm, host, plan)
    return vm


@implements("VM.assert_can_migrate")
def assert_can_migrate(
    ctx: Context, vm: str, dest: dict[str, str], live: bool, vdi_map: dict[str, str], vif_map: dict[str, str],
    options: dict[str, str], vgpu_map: dict[str, str],
) -> None:  # fmt: skip
    host, plan = _plan(ctx, vm, dest, vdi_map, vif_map, options)
    with ctx.store.transaction() as tx:
        check(tx, vm, "migrate_send")
        if ctx.store.get("VM", vm)["power_state"] in (RUNNING, PAUSED):
            assert_can_boot(tx, vm, host, moved=_moved(ctx, plan))


def _plan(
    ctx: Context, vm: str, dest: Mapping[str, str], vdi_map: Mapping[str, str], vif_map: Mapping[str, str],
    options: Mapping[str, str],
) -> tuple[str, dict[str, str]]:  # fmt: skip
    """The host, and the SR for each disk (by VBD) that does not stay where it is."""
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
    for vbd, vdi in disks_of(ctx, row).items():
        own = ctx.store.get("VDI", vdi)["SR"]
        target = vdi_map.get(vdi) or (own if sees_sr(ctx.store, host, own) else ctx.pool.row["default_SR"])
        if ctx.store.peek("SR", target) is None or not sees_sr(ctx.store, host, target):
            if vdi in vdi_map:
                ctx.store.get("SR", target)
                raise ApiError("VM_REQUIRES_SR", vm, target)
            raise ApiError("VDI_NOT_IN_MAP", vdi)
        if target != own:
            plan[vbd] = target
    return host, plan


def _moved(ctx: Context, plan: Mapping[str, str]) -> list[str]:
    return [ctx.store.get("VBD", vbd)["VDI"] for vbd in plan]


# steps ---------------------------------------------------------------------------------------------------------------


def _move_domain(ctx: Context, vm: str, host: str, plan: Mapping[str, str]) -> None:
    """Save the guest, build it on the other host, let it go on; it goes on where it was when that fails."""
    pool = ctx.pool
    before = ctx.store.get("VM", vm)
    source = before["resident_on"]
    file = steps.image_file(pool, vm)
    failure: ApiError | None = None
    guest, domain = pool.domains.peek(vm), None
    disks = {vbd: ctx.store.get("VBD", vbd)["VDI"] for vbd in plan}
    try:
        try:
            guest = pool.domains.get(vm)
            guest.save(file)
        except DomainFailed as error:
            raise ApiError("VM_MIGRATE_FAILED", vm, source, host, error.why) from error
        pool.domains.end(vm, only=guest)
        with new_disks(ctx) as made:
            try:
                _copied(ctx, plan, made)
                domain, target = pool.domains.build(vm, host, saved=file), host
            except ApiError as error:
                failure = error
                _give_disks(ctx, disks)
                domain, target = pool.domains.build(vm, source, saved=file), source
            else:
                made.keep()
        with ctx.store.transaction() as tx:
            transitions.require_state(tx, vm, RUNNING, PAUSED, domid=before["domid"])
            transitions.placed(tx, pool, vm, target, domain.config.domid, paused=True)
        if before["power_state"] == RUNNING:
            steps.let_run(pool, vm, domain)
    except BaseException:
        if domain is not None or guest is None or not guest.is_alive():
            steps.undo(pool, vm, domain)
        with ctx.store.transaction() as tx:
            tx.update("VM", vm, scheduled_to_be_resident_on=NULL_REF)
        raise
    finally:
        file.unlink(missing_ok=True)
    if failure is not None:
        raise ApiError("VM_MIGRATE_FAILED", vm, source, host, str(failure)) from failure
    for vdi in disks.values():
        vdis.discard(pool.storage, vdi)
    with ctx.store.transaction() as tx:
        texts = {"source": transitions.host_text(tx, source), "host": transitions.host_text(tx, host)}
        transitions.announce(tx, "migrated", vm, **texts)


def _move_disks(ctx: Context, vm: str, host: str, plan: Mapping[str, str]) -> None:
    """Move the disks of a VM without a domain, and its suspend image where the host does not see it."""
    row = ctx.store.get("VM", vm)
    with new_disks(ctx) as made:
        old = _copied(ctx, plan, made)
        if row["power_state"] == SUSPENDED:
            image = row["suspend_VDI"]
            if not sees_sr(ctx.store, host, ctx.store.get("VDI", image)["SR"]):
                sr = ctx.store.get("host", host)["suspend_image_sr"]
                moved = made.add(copy_new(ctx.pool.storage, image, sr, ctx.task))
                with ctx.store.transaction() as tx:
                    tx.update("VM", vm, suspend_VDI=moved)
                old.append(image)
        made.keep()
    for vdi in old:
        vdis.discard(ctx.pool.storage, vdi)


def _copied(ctx: Context, plan: Mapping[str, str], made: NewDisks) -> list[str]:
    """Copy disks to their new SRs and give them to their VBDs; returns the old ones. Nothing changes when it fails."""
    copies: dict[str, str] = {}
    for number, (vbd, sr) in enumerate(plan.items()):
        vdi = ctx.store.get("VBD", vbd)["VDI"]
        # attached by the record of a VM that has no domain at the moment: that is no obstacle
        with ctx.operation("VDI", vdi, "mirror", check=lambda *_: None):
            copies[vbd] = made.add(copy_new(ctx.pool.storage, vdi, sr, ctx.task))
        ctx.task.set_progress(0.9 * (number + 1) / len(plan))
    old = [ctx.store.get("VBD", vbd)["VDI"] for vbd in copies]
    _give_disks(ctx, copies)
    return old


def _give_disks(ctx: Context, disks: Mapping[str, str]) -> None:
    with ctx.store.transaction() as tx:
        for vbd, vdi in disks.items():
            tx.update("VBD", vbd, VDI=vdi)
