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
"""The rows of a VM that came from another pool become those of an ordinary VM, in one transaction.

Done when the other pool says so, and again at start when the server was killed in between.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from xapikit.host.classes.vm import transitions
from xapikit.host.classes.vm.record import remove_vm
from xapikit.host.migration.notes import Note
from xapikit.host.migration.targets import MARK, settled
from xapikit.host.store import Transaction, View
from xapikit.host.xva.unfinished import IMPORT_TASK

if TYPE_CHECKING:
    from xapikit.host.pool import Pool


def task_of(identity: str) -> str:
    """What stands in ``other_config:import_task`` of VMs that are on their way, as with any import."""
    return f"OpaqueRef:{identity}"


def on_their_way(view: View, identity: str) -> list[str]:
    """The VM of a move, with its snapshots, as long as it has not landed."""
    task = task_of(identity)
    return [vm for vm, row in view.all("VM").items() if row["other_config"].get(IMPORT_TASK) == task]


def land(tx: Transaction, pool: Pool, note: Note) -> None:
    """The VM is this pool's: its disks are ordinary disks, and its guest, if it has one, is on its host."""
    task = task_of(note.id)
    for vm in on_their_way(tx, note.id):
        row = tx.get("VM", vm)
        tx.update(
            "VM", vm,
            other_config={key: value for key, value in row["other_config"].items() if key != IMPORT_TASK},
            current_operations={key: value for key, value in row["current_operations"].items() if key != task},
        )  # fmt: skip
        for vdi in {*(tx.get("VBD", vbd)["VDI"] for vbd in row["VBDs"]), row["suspend_VDI"]}:
            disk = tx.peek("VDI", vdi)
            if disk is not None and MARK in disk["sm_config"]:
                settled(tx, vdi, {})
    if note.domid >= 0 and tx.peek("VM", note.vm) is not None:
        transitions.placed(tx, pool, note.vm, note.host, note.domid, paused=not note.running)
        row = tx.get("VM", note.vm)
        tx.update("VM_metrics", row["metrics"], current_domain_type=row["domain_type"], hvm=True)


def forget(tx: Transaction, identity: str) -> list[str]:
    """The VM of a move that did not come to its end is gone, with its snapshots: their uuids. Disks have marks."""
    gone = on_their_way(tx, identity)
    uuids = [str(tx.get("VM", vm)["uuid"]) for vm in gone]
    for vm in gone:
        remove_vm(tx, vm)
    return uuids
