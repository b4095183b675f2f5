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
"""VM.provision: the disks that a template describes (wire reference 3.6; recorded in observed/vm_lifecycle)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from xml.parsers import expat

from xapikit.host.classes.vm.facts import check
from xapikit.host.context import Context
from xapikit.host.errors import ApiError
from xapikit.host.registry import implements
from xapikit.host.storage import vdis
from xapikit.wire import DateTime

DISKS_KEY: Final = "disks"
DESCRIPTION: Final = "Created by template provisioner"


@dataclass(frozen=True)
class PlannedDisk:
    """One ``<disk>`` of ``other_config:disks``; ``size`` in bytes, ``sr`` is a uuid."""

    device: str
    size: int
    sr: str
    bootable: bool
    kind: str


def planned_disks(text: str) -> list[PlannedDisk]:
    """Read ``<provision><disk device= size= sr= bootable= type=/></provision>``. Raises ValueError."""
    found: list[PlannedDisk] = []

    def start(name: str, attributes: dict[str, str]) -> None:
        if name == "disk":
            found.append(
                PlannedDisk(
                    attributes["device"],
                    int(attributes["size"]),
                    attributes["sr"],
                    attributes.get("bootable") == "true",
                    attributes.get("type", "system"),
                )
            )

    def refuse(*_: object) -> None:
        raise ValueError("no entities in a list of disks")

    parser = expat.ParserCreate()
    parser.StartElementHandler = start
    parser.EntityDeclHandler = refuse
    try:
        parser.Parse(text, True)
    except (expat.ExpatError, KeyError) as error:
        raise ValueError(f"no list of disks: {error}") from error
    return found


@implements("VM.provision")
def provision(ctx: Context, vm: str) -> None:
    with ctx.operation("VM", vm, "provision", check=check):
        with ctx.store.transaction() as tx:
            # it stops being a template also when a disk cannot be made (observed: provision_with_disks)
            row = tx.get("VM", vm)
            tx.update("VM", vm, is_a_template=False)
            if tx.peek("VM_metrics", row["metrics"]) is not None:
                tx.update("VM_metrics", row["metrics"], install_time=DateTime.now())
        text = row["other_config"].get(DISKS_KEY)
        if text is not None:
            try:
                disks = planned_disks(text)
            except ValueError as error:
                raise ApiError("INTERNAL_ERROR", str(error)) from None
            _make(ctx, vm, disks)


def _make(ctx: Context, vm: str, disks: list[PlannedDisk]) -> None:
    srs = [ctx.store.by_uuid("SR", disk.sr) for disk in disks]
    made: list[str] = []
    try:
        for disk, sr in zip(disks, srs, strict=True):
            if sr is None:
                raise ApiError("UUID_INVALID", "sr", disk.sr)
            fields = {"name_label": disk.device, "name_description": DESCRIPTION, "type": disk.kind}
            made.append(vdis.create(ctx.pool.storage, sr, disk.size, fields))
        with ctx.store.transaction() as tx:
            for disk, vdi in zip(disks, made, strict=True):
                tx.create(
                    "VBD",
                    {
                        "VM": vm,
                        "VDI": vdi,
                        "userdevice": disk.device,
                        "bootable": disk.bootable,
                        "mode": "RW",
                        "type": "Disk",
                        "unpluggable": not disk.bootable,
                        "other_config": {"owner": ""},
                    },
                )
            other = tx.get("VM", vm)["other_config"]
            tx.update("VM", vm, other_config={key: value for key, value in other.items() if key != DISKS_KEY})
    except BaseException:
        for vdi in made:
            vdis.discard(ctx.pool.storage, vdi)
        raise
