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

from typing import Final

from xapikit.host.errors import ApiError
from xapikit.host.storage.operations import driver_of
from xapikit.host.store import View
from xapikit.model import NULL_REF

_NEEDED_OF_SOURCE: Final = "VDI_SNAPSHOT"
_NEEDED_OF_TARGET: Final = "VDI_CREATE"


def with_snapshots(view: View, vm: str) -> list[str]:
    """A VM and its snapshots, oldest snapshot first, the VM last."""
    snapshots = view.find("VM", snapshot_of=vm, is_a_snapshot=True)
    return [*sorted(snapshots, key=lambda ref: str(snapshots[ref]["snapshot_time"])), vm]


def all_disks(view: View, vm: str) -> list[str]:
    """VDIs of a VM and its snapshots: disks and suspend images. CDs are no disks."""
    found: dict[str, None] = {}
    for ref in with_snapshots(view, vm):
        row = view.get("VM", ref)
        for vbd in row["VBDs"]:
            disk = view.get("VBD", vbd)
            if disk["type"] != "CD" and not disk["empty"] and view.peek("VDI", disk["VDI"]) is not None:
                found[disk["VDI"]] = None
        if row["suspend_VDI"] != NULL_REF and view.peek("VDI", row["suspend_VDI"]) is not None:
            found[row["suspend_VDI"]] = None
    return list(found)


def check_mirror(view: View, vdi: str, source: str, target: str) -> None:
    """Raises what speaks against moving a disk from one SR to another: SR_DOES_NOT_SUPPORT_MIGRATION, VDI_CBT_ENABLED.

    Sharable and read-only disks move as others do.
    """
    check_source(view, vdi, source)
    check_target(view, target)


def check_source(view: View, vdi: str, sr: str) -> None:
    _check_features(view, sr, _NEEDED_OF_SOURCE)
    if view.get("VDI", vdi)["cbt_enabled"]:
        raise ApiError("VDI_CBT_ENABLED", vdi)


def check_target(view: View, sr: str) -> None:
    _check_features(view, sr, _NEEDED_OF_TARGET)


def _check_features(view: View, sr: str, feature: str) -> None:
    driver = driver_of(view.get("SR", sr))
    if driver is None or driver.kind != "vhd" or feature not in driver.features:
        raise ApiError("SR_DOES_NOT_SUPPORT_MIGRATION", sr, feature)
