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
"""Sending disks with their history: snapshots oldest first, then what differs, so that the target has a chain too.

The disk of a guest that runs is sent from snapshots taken for that, each with what was written since the last, until
little is left; the rest follows while the guest stands still.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from xapikit import vhd
from xapikit.host.context import TaskHandle
from xapikit.host.migration.progress import DISKS_SHARE
from xapikit.host.migration.targets import Target, fields_of, leaving, mark_of
from xapikit.host.storage import vdis
from xapikit.host.storage.disks import Buffer
from xapikit.host.store import View

if TYPE_CHECKING:
    from xapikit.host.storage.service import Storage

FEW_BYTES = 8 << 20
"""So much is left for the time when the guest stands still."""
MOST_ROUNDS = 5


@dataclass(frozen=True)
class Lineage:
    """Disks that follow from each other, oldest first. The last one is a VM's disk, or the newest snapshot of one."""

    sr: str
    """Where they go."""
    members: tuple[str, ...]


def lineages(view: View, plan: Mapping[str, str]) -> list[Lineage]:
    """Group the disks that move (VDI -> SR)."""
    groups: dict[tuple[str, str], list[str]] = {}
    for vdi, sr in plan.items():
        row = view.get("VDI", vdi)
        origin = row["snapshot_of"] if row["is_a_snapshot"] and view.peek("VDI", row["snapshot_of"]) else vdi
        groups.setdefault((origin, sr), []).append(vdi)
    found = []
    for (_, sr), members in groups.items():
        members.sort(key=lambda vdi: _age(view.get("VDI", vdi)))
        part: list[str] = []
        for vdi in members:
            # a disk grows and never shrinks; what is smaller than an older one has another history
            if part and view.get("VDI", vdi)["virtual_size"] < view.get("VDI", part[-1])["virtual_size"]:
                found.append(Lineage(sr, tuple(part)))
                part = []
            part.append(vdi)
        found.append(Lineage(sr, tuple(part)))
    return found


def _age(row: Mapping[str, Any]) -> tuple[bool, str]:
    return not row["is_a_snapshot"], str(row["snapshot_time"])


class Sender:
    """Sends disks of one pool to a target. Close it at the end: temporary snapshots go then."""

    def __init__(self, storage: Storage, target: Target, task: TaskHandle, keep: Callable[[], None]) -> None:
        """``keep`` is called now and then, while something else has to be kept alive."""
        self._storage = storage
        self._target = target
        self._task = task
        self._keep = keep
        self._temporary: dict[str, str] = {}
        self._sent = 0
        self._total = 1
        self.there: dict[str, str] = {}
        """What each disk is at the target."""

    def send(self, plan: Mapping[str, str], live: frozenset[str]) -> None:
        """Send all disks of a plan. Those in ``live`` are being written to: call :meth:`rest` for them later.

        Raises TASK_CANCELLED, VDI_IO_ERROR, and what the target raises.
        """
        store = self._storage.store
        self._total = sum(max(store.get("VDI", vdi)["physical_utilisation"], 1) for vdi in plan) or 1
        for lineage in lineages(store, plan):
            self._lineage(lineage, live)

    def rest(self, vdi: str) -> None:
        """Send what was written since: the guest stands still, and what it wrote is in the files."""
        self._target.write(self.there[vdi], self._pieces(vdi, self._temporary[vdi], attached=True))

    def close(self) -> None:
        for snapshot in self._temporary.values():
            vdis.discard(self._storage, snapshot)
        self._temporary.clear()

    def _lineage(self, lineage: Lineage, live: frozenset[str]) -> None:
        store = self._storage.store
        first = store.get("VDI", lineage.members[0])
        with store.transaction() as tx:
            mark = mark_of(tx, lineage.members[-1])
        disk = self._target.create(lineage.sr, first["virtual_size"], fields_of(first), mark)
        size = first["virtual_size"]
        before: str | None = None
        for vdi in lineage.members:
            row = store.get("VDI", vdi)
            if row["virtual_size"] > size:
                size = row["virtual_size"]
                self._target.grow(disk, size)
            if vdi in live:
                self._rounds(vdi, disk, before)
            else:
                self._target.write(disk, self._pieces(vdi, before))
            self.there[vdi] = disk if vdi == lineage.members[-1] else self._target.snapshot(disk)
            before = vdi

    def _rounds(self, vdi: str, disk: str, before: str | None) -> None:
        for _ in range(MOST_ROUNDS):
            self._task.raise_if_cancelled()
            snapshot = vdis.branch(self._storage, vdi, snapshot=True)
            older, self._temporary[vdi] = self._temporary.get(vdi), snapshot
            try:
                with self._storage.store.transaction() as tx:
                    leaving(tx, snapshot, mark_of(tx, vdi))
                sent = self._sent
                self._target.write(disk, self._pieces(snapshot, older or before))
            finally:
                if older is not None:
                    vdis.discard(self._storage, older)
            if self._sent - sent <= FEW_BYTES:
                return

    def _pieces(self, vdi: str, base: str | None, *, attached: bool = False) -> Iterator[Buffer]:
        storage = self._storage
        since = storage.path_of(base) if base is not None else None
        if attached:  # by the guest, whose lock it is
            yield from self._counted(vhd.stream.from_chain(storage.path_of(vdi), since))
            return
        host = storage.hosts_with(storage.store.get("VDI", vdi)["SR"])[0]
        holder = f"mirror:{self._task.ref}:{vdi}"
        with storage.opened(vdi, read_only=True, holder=holder, host=host) as disk:
            yield from self._counted(vhd.stream.from_chain(disk.path, since))

    def _counted(self, pieces: Iterator[Buffer]) -> Iterator[Buffer]:
        shown = self._sent
        for piece in pieces:
            yield piece
            self._task.raise_if_cancelled()
            self._sent += len(piece)
            if self._sent - shown > self._total // 50:
                shown = self._sent
                self._task.set_progress(min(1.0, shown / self._total) * DISKS_SHARE)
            self._keep()
