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
"""VM.clone, copy, snapshot and checkpoint (wire reference 3.6; recorded in observed/clone_copy and snapshot)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from xapikit.host.classes.vm import steps, transitions
from xapikit.host.classes.vm.copied import TAKEN, copied_vbds, copied_vifs, copied_vm
from xapikit.host.classes.vm.facts import check
from xapikit.host.classes.vm.suspending import make_image, write_image
from xapikit.host.context import Context
from xapikit.host.domains.model import DomainFailed
from xapikit.host.errors import ApiError
from xapikit.host.lifecycle import RUNNING, SUSPENDED
from xapikit.host.registry import implements
from xapikit.host.storage import vdis
from xapikit.host.storage.copying import copy_new
from xapikit.host.storage.operations import has_feature
from xapikit.host.store import Row, Transaction
from xapikit.model import NULL_REF
from xapikit.wire import DateTime

_FAST_CLONE: Final = "VDI_CLONE"
_ALSO_SAVED: Final = ("order", "start_delay", "shutdown_delay", "suspend_SR")


class NewDisks:
    """VDIs made by a call, destroyed when it fails."""

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx
        self._made: list[str] = []

    def add(self, vdi: str) -> str:
        self._made.append(vdi)
        return vdi

    def keep(self) -> None:
        """They have their owner."""
        self._made.clear()

    def discard(self) -> None:
        for vdi in self._made:
            vdis.discard(self._ctx.pool.storage, vdi)


@contextmanager
def new_disks(ctx: Context) -> Iterator[NewDisks]:
    """Whatever is added and not kept is gone at the end."""
    made = NewDisks(ctx)
    try:
        yield made
    finally:
        made.discard()


def disks_of(ctx: Context, vm: Row) -> dict[str, str]:
    """VBD -> VDI of the disks; CDs and empty drives are no disks."""
    rows = {vbd: ctx.store.get("VBD", vbd) for vbd in vm["VBDs"]}
    return {vbd: row["VDI"] for vbd, row in rows.items() if row["type"] != "CD" and not row["empty"]}


# clones and copies ---------------------------------------------------------------------------------------------------


@implements("VM.clone")
def clone(ctx: Context, vm: str, name: str) -> str:
    with ctx.operation("VM", vm, "clone", check=check):
        return copy_vm(ctx, vm, name, None)


@implements("VM.copy")
def copy(ctx: Context, vm: str, name: str, sr: str) -> str:
    ctx.store.get("VM", vm)
    target = ctx.store.peek("SR", sr)
    if target is not None and target["content_type"] == "iso":
        raise ApiError("OPERATION_NOT_ALLOWED", "Cannot copy a VM's disks to an ISO SR")
    with ctx.operation("VM", vm, "copy", check=check):
        return copy_vm(ctx, vm, name, sr if target is not None else "")


def copy_vm(ctx: Context, vm: str, name: str, sr: str | None) -> str:
    """A copied VM. ``sr`` None: fast clones; empty: full copies on each disk's own SR; else full copies there."""
    source = ctx.store.get("VM", vm)
    suspended = source["power_state"] == SUSPENDED and not source["is_a_snapshot"]
    with new_disks(ctx) as made:
        disks = {vbd: made.add(_copied_disk(ctx, vdi, sr)) for vbd, vdi in disks_of(ctx, source).items()}
        image = made.add(_copied_disk(ctx, source["suspend_VDI"], sr)) if suspended else NULL_REF
        with ctx.store.transaction() as tx:
            ref = copied_vm(tx, source, name, snapshot=False)
            copied_vbds(tx, source, ref, disks, frozenset())
            copied_vifs(tx, source, ref, keep_macs=False)
            if suspended:
                tx.update("VM", ref, power_state=SUSPENDED, suspend_VDI=image)
        made.keep()
    return ref


def _copied_disk(ctx: Context, vdi: str, sr: str | None) -> str:
    storage = ctx.pool.storage
    ctx.task.raise_if_cancelled()
    own = ctx.store.get("VDI", vdi)["SR"]
    if sr is None and has_feature(ctx.store, ctx.store.get("SR", own), _FAST_CLONE):
        return branched_disk(ctx, vdi, snapshot=False)
    with ctx.operation("VDI", vdi, "copy"):
        return copy_new(storage, vdi, sr or own, ctx.task)


def branched_disk(ctx: Context, vdi: str, *, snapshot: bool) -> str:
    """A snapshot, or a clone, of a disk in its own SR."""
    with ctx.operation("VDI", vdi, "snapshot" if snapshot else "clone"):
        return vdis.branch(ctx.pool.storage, vdi, snapshot=snapshot)


# snapshots -----------------------------------------------------------------------------------------------------------


@implements("VM.snapshot")
def snapshot(ctx: Context, vm: str, name: str, ignore_vdis: list[str]) -> str:
    with ctx.operation("VM", vm, "snapshot", check=check), new_disks(ctx) as made:
        ref = _snapshot_rows(ctx, vm, name, ignore_vdis, made, NULL_REF)
        with ctx.store.transaction() as tx:
            transitions.announce(tx, "snapshotted", vm, name=name)
    return ref


@implements("VM.checkpoint")
def checkpoint(ctx: Context, vm: str, name: str) -> str:
    """Disks and memory of one moment: the guest stands still while they are taken, and goes on."""
    with ctx.operation("VM", vm, "checkpoint", check=check), new_disks(ctx) as made:
        row = ctx.store.get("VM", vm)
        if row["power_state"] == SUSPENDED:
            image = made.add(branched_disk(ctx, row["suspend_VDI"], snapshot=False))
            ref = _snapshot_rows(ctx, vm, name, [], made, image)
        else:
            with _standing_still(ctx, vm):
                image = made.add(_saved_memory(ctx, vm))
                ref = _snapshot_rows(ctx, vm, name, [], made, image)
        with ctx.store.transaction() as tx:
            transitions.announce(tx, "checkpointed", vm, name=name)
    return ref


@contextmanager
def _standing_still(ctx: Context, vm: str) -> Iterator[None]:
    try:
        domain = ctx.pool.domains.get(vm)
        domain.pause()
    except DomainFailed as error:
        raise ApiError("VM_CHECKPOINT_SUSPEND_FAILED", vm) from error
    try:
        yield
    finally:
        if ctx.store.get("VM", vm)["power_state"] == RUNNING:
            try:
                ctx.pool.domains.let_run(domain)
            except DomainFailed as error:
                raise ApiError("VM_CHECKPOINT_RESUME_FAILED", vm) from error


def _saved_memory(ctx: Context, vm: str) -> str:
    image = make_image(ctx, vm, steps.suspend_sr(ctx.pool, vm))
    file = steps.image_file(ctx.pool, vm)
    try:
        ctx.pool.domains.get(vm).save(file, keep=True)
        write_image(ctx, image, file, ctx.store.get("VM", vm)["resident_on"])
    except BaseException as error:
        vdis.discard(ctx.pool.storage, image)
        if isinstance(error, DomainFailed):
            raise ApiError("VM_CHECKPOINT_SUSPEND_FAILED", vm) from error
        raise
    finally:
        file.unlink(missing_ok=True)
    return image


def _snapshot_rows(ctx: Context, vm: str, name: str, ignore_vdis: list[str], made: NewDisks, image: str) -> str:
    source = ctx.store.get("VM", vm)
    disks = disks_of(ctx, source)
    ignored = frozenset(vbd for vbd, vdi in disks.items() if vdi in ignore_vdis)
    taken = {vbd: made.add(branched_disk(ctx, vdi, snapshot=True)) for vbd, vdi in disks.items() if vbd not in ignored}
    state = {"power-state-at-snapshot": source["power_state"], "disk-snapshot-type": "crash_consistent"}
    with ctx.store.transaction() as tx:
        now = tx.get("VM", vm)
        ref = copied_vm(
            tx,
            now,
            name,
            snapshot=True,
            is_a_template=True,
            is_a_snapshot=True,
            snapshot_of=vm,
            snapshot_time=DateTime.now(),
            snapshot_info=state,
            snapshot_metadata=metadata(tx, now),
            parent=now["parent"],
        )
        copied_vbds(tx, now, ref, taken, ignored)
        copied_vifs(tx, now, ref, keep_macs=True)
        if image != NULL_REF:
            tx.update("VM", ref, power_state=SUSPENDED, suspend_VDI=image)
        tx.update("VM", vm, parent=ref)
    made.keep()
    return ref


def metadata(tx: Transaction, vm: Row) -> str:
    """``snapshot_metadata``: what a revert needs of the VM as it was. Opaque to clients."""
    fields = {name: vm[name] for name in (*TAKEN, *_ALSO_SAVED)}
    generated = {tx.get("VIF", vif)["MAC"]: tx.get("VIF", vif)["MAC_autogenerated"] for vif in vm["VIFs"]}
    return json.dumps({"uuid": vm["uuid"], "fields": fields, "generated_macs": generated})
