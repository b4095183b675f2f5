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
"""VM.revert: a VM becomes again what a snapshot of it says (wire reference 3.6; recorded in observed/snapshot)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from xapikit.host.classes.vm import steps, transitions
from xapikit.host.classes.vm.copied import copied_vbds, copied_vifs, copied_vm, new_generation_id
from xapikit.host.classes.vm.copies import branched_disk, disks_of, new_disks
from xapikit.host.classes.vm.facts import check
from xapikit.host.context import Context
from xapikit.host.errors import ApiError
from xapikit.host.lifecycle import HALTED, SUSPENDED
from xapikit.host.registry import implements
from xapikit.host.storage import vdis
from xapikit.host.store import Transaction
from xapikit.model import NULL_REF


@implements("VM.revert")
def revert(ctx: Context, snapshot: str) -> None:
    row = ctx.store.get("VM", snapshot)
    if not row["is_a_snapshot"]:
        raise ApiError("VM_REVERT_FAILED", snapshot, NULL_REF)
    with ctx.operation("VM", snapshot, "revert", check=check):
        vm = row["snapshot_of"]
        if ctx.store.peek("VM", vm) is None:
            vm = _recreated(ctx, snapshot)
        with ctx.operation("VM", vm, "reverting", check=check):
            _revert(ctx, snapshot, vm)


def _saved(ctx: Context, snapshot: str) -> Mapping[str, Any]:
    try:
        saved: Mapping[str, Any] = json.loads(ctx.store.get("VM", snapshot)["snapshot_metadata"])
        _ = saved["fields"]["name_label"], saved["generated_macs"]
    except (ValueError, KeyError, TypeError) as error:
        raise ApiError("VM_REVERT_FAILED", ctx.store.get("VM", snapshot)["snapshot_of"], snapshot) from error
    return saved


def _recreated(ctx: Context, snapshot: str) -> str:
    """The VM was destroyed: a new one takes its place, also for the other snapshots."""
    saved = _saved(ctx, snapshot)
    free = ctx.store.by_uuid("VM", saved["uuid"]) is None
    with ctx.store.transaction() as tx:
        row = tx.get("VM", snapshot)
        own = {"uuid": saved["uuid"]} if free else {}
        vm = copied_vm(tx, row, saved["fields"]["name_label"], snapshot=True, is_a_template=False, **own)
        for other, sibling in tx.find("VM", snapshot_of=row["snapshot_of"]).items():
            if sibling["is_a_snapshot"]:
                tx.update("VM", other, snapshot_of=vm)
    return vm


def _revert(ctx: Context, snapshot: str, vm: str) -> None:
    saved = _saved(ctx, snapshot)
    source, before = ctx.store.get("VM", snapshot), ctx.store.get("VM", vm)
    old_disks, old_image = disks_of(ctx, before), before["suspend_VDI"]
    if before["power_state"] != HALTED:
        steps.stop(ctx.pool, vm)
    checkpoint = source["power_state"] == SUSPENDED
    with new_disks(ctx) as made:
        sources = disks_of(ctx, source)
        disks = {vbd: made.add(branched_disk(ctx, vdi, snapshot=False)) for vbd, vdi in sources.items()}
        image = made.add(branched_disk(ctx, source["suspend_VDI"], snapshot=False)) if checkpoint else NULL_REF
        with ctx.store.transaction() as tx:
            _restore_fields(tx, vm, saved["fields"])
            _replace_devices(tx, vm, snapshot, disks, saved["generated_macs"])
            _follow_disks(tx, sources, disks)
            tx.update("VM", vm, parent=snapshot)
            if checkpoint:
                booted = source["last_booted_record"] or "()"
                tx.update("VM", vm, power_state=SUSPENDED, suspend_VDI=image, last_booted_record=booted)
            transitions.announce(tx, "reverted", vm, name=source["name_label"])
        made.keep()
    if old_image != NULL_REF:
        ctx.pool.domains.discard_suspend_image(old_image)
    for vdi in old_disks.values():
        _destroy_unused(ctx, vdi)


def _restore_fields(tx: Transaction, vm: str, fields: Mapping[str, Any]) -> None:
    now = tx.get("VM", vm)
    restored = {**fields, "tags": list(dict.fromkeys([*now["tags"], *fields["tags"]]))}
    tx.update("VM", vm, **restored, generation_id=new_generation_id())


def _replace_devices(
    tx: Transaction, vm: str, snapshot: str, disks: Mapping[str, str], generated: Mapping[str, bool]
) -> None:
    for class_name, field in (("VBD", "VBDs"), ("VIF", "VIFs")):
        for ref in tx.get("VM", vm)[field]:
            tx.delete(class_name, ref)
    source = tx.get("VM", snapshot)
    copied_vbds(tx, source, vm, disks, frozenset(vbd for vbd in source["VBDs"] if _lost_medium(tx, vbd)))
    copied_vifs(tx, source, vm, keep_macs=True)
    for vif in tx.get("VM", vm)["VIFs"]:
        tx.update("VIF", vif, MAC_autogenerated=generated.get(tx.get("VIF", vif)["MAC"], False))


def _lost_medium(tx: Transaction, vbd: str) -> bool:
    row = tx.get("VBD", vbd)
    return not row["empty"] and tx.peek("VDI", row["VDI"]) is None


def _follow_disks(tx: Transaction, sources: Mapping[str, str], disks: Mapping[str, str]) -> None:
    """Snapshots of the old disks become snapshots of the new ones."""
    for vbd, new in disks.items():
        origin = tx.get("VDI", sources[vbd])["snapshot_of"]
        if origin != NULL_REF:
            for other in tx.find("VDI", snapshot_of=origin):
                tx.update("VDI", other, snapshot_of=new)


def _destroy_unused(ctx: Context, vdi: str) -> None:
    """The VM's disks as they were are gone with a revert, unless another VM has them too."""
    row = ctx.store.peek("VDI", vdi)
    if row is not None and not row["VBDs"]:
        vdis.discard(ctx.pool.storage, vdi)
