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
"""What moves with a VM, and what cannot."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from xapikit.host.classes.vm.placement import sees_sr
from xapikit.host.errors import ApiError
from xapikit.host.storage.operations import driver_of
from xapikit.host.store import View
from xapikit.model import NULL_REF

_NEEDED_OF_SOURCE: Final = "VDI_SNAPSHOT"
_NEEDED_OF_TARGET: Final = "VDI_CREATE"


@dataclass(frozen=True)
class Journey:
    """What a call wants moved to another pool."""

    vm: str
    dest: Mapping[str, str]
    """What ``host.migrate_receive`` gave."""
    disks: Mapping[str, str]
    """SR there by VDI here; empty text for the default SR there."""
    networks: Mapping[str, str]
    """Network there by VIF here."""
    copy: bool = False

    @property
    def host(self) -> str:
        """Reference of the host there."""
        return self.dest["host"]


def disks_inside(view: View, vm: str, host: str, vdi_map: Mapping[str, str], default_sr: str) -> dict[str, str]:
    """SR by disk for a move inside the pool: only disks that do not stay where they are.

    Raises VDI_NOT_IN_MAP, VM_REQUIRES_SR, HANDLE_INVALID, SR_DOES_NOT_SUPPORT_MIGRATION, VDI_CBT_ENABLED.
    """
    plan: dict[str, str] = {}
    for vdi in all_disks(view, vm):
        disk = view.get("VDI", vdi)
        named = _named(view, vdi, vdi_map)
        target = named or (disk["SR"] if sees_sr(view, host, disk["SR"]) else default_sr)
        if view.peek("SR", target) is None or not sees_sr(view, host, target):
            if named:
                view.get("SR", target)
                raise ApiError("VM_REQUIRES_SR", vm, target)
            raise ApiError("VDI_NOT_IN_MAP", vdi)
        if target != disk["SR"]:
            check_source(view, vdi, disk["SR"])
            check_target(view, target)
            plan[vdi] = target
    return plan


def disks_to(view: View, vm: str, vdi_map: Mapping[str, str], *, snapshots: bool) -> dict[str, str]:
    """SR there by disk here for a move to another pool: all of them. Empty text is the default SR there.

    Media do not move: an inserted one that is no tools ISO raises VDI_NOT_IN_MAP. Raises also
    SR_DOES_NOT_SUPPORT_MIGRATION, VDI_CBT_ENABLED.
    """
    for vbd in view.get("VM", vm)["VBDs"]:
        row = view.get("VBD", vbd)
        medium = view.peek("VDI", row["VDI"]) if row["type"] == "CD" and not row["empty"] else None
        if medium is not None and not medium["is_tools_iso"]:
            raise ApiError("VDI_NOT_IN_MAP", row["VDI"])
    plan: dict[str, str] = {}
    for vdi in all_disks(view, vm, snapshots=snapshots):
        check_source(view, vdi, view.get("VDI", vdi)["SR"])
        plan[vdi] = _named(view, vdi, vdi_map) or ""
    return plan


def networks_to(view: View, vm: str, vif_map: Mapping[str, str], *, snapshots: bool) -> dict[str, str]:
    """Network there by VIF here; VIFs of snapshots go where the VM's go. Raises VIF_NOT_IN_MAP."""
    row = view.get("VM", vm)
    missing = next((vif for vif in row["VIFs"] if vif not in vif_map), None)
    if missing is not None:
        raise ApiError("VIF_NOT_IN_MAP", missing)
    plan = {vif: vif_map[vif] for vif in row["VIFs"]}
    vifs = {vif: view.get("VIF", vif) for vif in plan}
    by_mac = {vifs[vif]["MAC"]: network for vif, network in plan.items()}
    by_network = {vifs[vif]["network"]: network for vif, network in plan.items()}
    for snapshot in with_snapshots(view, vm)[:-1] if snapshots else ():
        for vif in view.get("VM", snapshot)["VIFs"]:
            row = view.get("VIF", vif)
            target = vif_map.get(vif) or by_mac.get(row["MAC"]) or by_network.get(row["network"])
            if target is None:
                raise ApiError("VIF_NOT_IN_MAP", vif)
            plan[vif] = target
    return plan


def _named(view: View, vdi: str, vdi_map: Mapping[str, str]) -> str | None:
    """Where a disk is to go; a snapshot goes with its disk."""
    return vdi_map.get(vdi) or vdi_map.get(view.get("VDI", vdi)["snapshot_of"])


def with_snapshots(view: View, vm: str) -> list[str]:
    """A VM and its snapshots, oldest snapshot first, the VM last."""
    snapshots = view.find("VM", snapshot_of=vm, is_a_snapshot=True)
    return [*sorted(snapshots, key=lambda ref: str(snapshots[ref]["snapshot_time"])), vm]


def all_disks(view: View, vm: str, *, snapshots: bool = True) -> list[str]:
    """VDIs of a VM and its snapshots: disks and suspend images. CDs are no disks."""
    found: dict[str, None] = {}
    for ref in with_snapshots(view, vm) if snapshots else [vm]:
        row = view.get("VM", ref)
        for vbd in row["VBDs"]:
            disk = view.get("VBD", vbd)
            if disk["type"] != "CD" and not disk["empty"] and view.peek("VDI", disk["VDI"]) is not None:
                found[disk["VDI"]] = None
        if row["suspend_VDI"] != NULL_REF and view.peek("VDI", row["suspend_VDI"]) is not None:
            found[row["suspend_VDI"]] = None
    return list(found)


def check_source(view: View, vdi: str, sr: str) -> None:
    """Raises what keeps a disk where it is: SR_DOES_NOT_SUPPORT_MIGRATION, VDI_CBT_ENABLED."""
    _check_features(view, sr, _NEEDED_OF_SOURCE)
    if view.get("VDI", vdi)["cbt_enabled"]:
        raise ApiError("VDI_CBT_ENABLED", vdi)


def check_target(view: View, sr: str) -> None:
    """Raises SR_DOES_NOT_SUPPORT_MIGRATION for an SR that takes no disks."""
    _check_features(view, sr, _NEEDED_OF_TARGET)


def _check_features(view: View, sr: str, feature: str) -> None:
    driver = driver_of(view.get("SR", sr))
    if driver is None or driver.kind != "vhd" or feature not in driver.features:
        raise ApiError("SR_DOES_NOT_SUPPORT_MIGRATION", sr, feature)
