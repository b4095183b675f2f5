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
"""Where disks go when they move: VDIs that are made, filled by VHD streams, and snapshot on the way.

What is not finished carries ``sm_config:base_mirror`` (``<SR>/<VDI>``, uuids of where it comes from), as on a host, and
``sm_config:mirror_pool``, the uuid of the pool that marked it. A server that starts removes what its pool has marked:
nothing that moved was in use yet, or is any more.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final, Protocol

from xapikit import vhd
from xapikit.host.errors import ApiError
from xapikit.host.storage import vdis
from xapikit.host.storage.disks import Buffer, SwitchableDisk
from xapikit.host.storage.transfer.importing import io_error

if TYPE_CHECKING:
    from xapikit.host.storage.service import Storage
    from xapikit.host.store import Row, Transaction, View

LOG = logging.getLogger(__name__)

MARK: Final = "base_mirror"
OWNER: Final = "mirror_pool"
CARRIED: Final = (*vdis.CARRIED, "on_boot", "allow_caching")
"""Fields of a disk that go with it."""


class Target(Protocol):
    """Takes disks. ``disk`` is its own name for one that it made."""

    def create(self, sr: str, size: int, fields: Mapping[str, Any], mark: str) -> str:
        """An empty disk."""
        ...

    def write(self, disk: str, pieces: Iterable[Buffer]) -> None:
        """Put a VHD stream, whole or a delta, onto a disk. Raises what the source of the pieces raises."""
        ...

    def grow(self, disk: str, size: int) -> None: ...

    def snapshot(self, disk: str) -> str:
        """Keep a disk as it is now under another name."""
        ...


class LocalTarget:
    """Disks in SRs of this pool."""

    def __init__(self, storage: Storage, purpose: str) -> None:
        """``purpose`` tells the uses of disks apart from those of others."""
        self._storage = storage
        self._purpose = purpose
        self.made: list[str] = []

    def create(self, sr: str, size: int, fields: Mapping[str, Any], mark: str) -> str:
        self._storage.vhd_repository(sr)
        vdi = vdis.create(self._storage, sr, size, {**fields, "sm_config": _marks(self._storage.store, mark)})
        self.made.append(vdi)
        return vdi

    def write(self, disk: str, pieces: Iterable[Buffer]) -> None:
        storage = self._storage
        sr = storage.store.get("VDI", disk)["SR"]
        try:
            if not storage.attachments.uses(disk):
                host = storage.hosts_with(sr)[0]
                with storage.opened(disk, read_only=False, holder=f"{self._purpose}:{disk}", host=host) as sink:
                    _write(sink, pieces)
                    storage.settle_writes(sink)
                return
            # the guest that will have it is there already and stands still
            with storage.locked(sr), storage.attachments.paused([disk]):
                capacity = storage.plugged(sr).capacity
                with SwitchableDisk(storage.path_of(disk), writable=True, limits=capacity) as sink:
                    _write(sink, pieces)
        except (vhd.VhdError, OSError) as error:
            raise io_error() from error

    def grow(self, disk: str, size: int) -> None:
        vdis.resize(self._storage, disk, size)

    def snapshot(self, disk: str) -> str:
        taken = vdis.branch(self._storage, disk, snapshot=True)
        self.made.append(taken)
        return taken

    def keep(self) -> None:
        """What was made has its owner: called as soon as rows say so, whatever fails later."""
        self.made.clear()

    def discard(self) -> None:
        """Remove what was made and has no owner: the move failed."""
        for vdi in reversed(self.made):
            vdis.discard(self._storage, vdi)
        self.made.clear()


def _write(sink: SwitchableDisk, pieces: Iterable[Buffer]) -> None:
    for offset, data in vhd.stream.read(pieces):
        sink.pwrite(offset, data)


def settled(tx: Transaction, vdi: str, fields: Mapping[str, Any]) -> None:
    """A disk has arrived and belongs to somebody: it is an ordinary one now."""
    row = tx.get("VDI", vdi)
    tx.update("VDI", vdi, **fields, sm_config={k: v for k, v in row["sm_config"].items() if k not in (MARK, OWNER)})


def leaving(tx: Transaction, vdi: str, mark: str = "moved") -> None:
    """A disk is not needed any more, or only while it is copied: gone after a restart in any case."""
    row = tx.get("VDI", vdi)
    tx.update("VDI", vdi, sm_config={**row["sm_config"], **_marks(tx, mark)})


def _marks(view: View, mark: str) -> dict[str, str]:
    return {MARK: mark, OWNER: _pool(view)}


def _pool(view: View) -> str:
    """What tells marks of this pool from those that came with a disk from elsewhere."""
    return str(next(iter(view.all("pool").values()))["uuid"])


def mark_of(tx: Transaction, vdi: str) -> str:
    """What the mark of a disk on its way says."""
    row = tx.get("VDI", vdi)
    return f"{tx.get('SR', row['SR'])['uuid']}/{row['uuid']}"


def fields_of(row: Row) -> dict[str, Any]:
    return {name: row[name] for name in CARRIED}


def remove_leftovers(storage: Storage) -> None:
    """Remove disks that were on their way when an earlier server ended."""
    pool = _pool(storage.store)
    for vdi, row in storage.store.all("VDI").items():
        marked = MARK in row["sm_config"] and row["sm_config"].get(OWNER) == pool
        if marked and row["managed"] and not storage.attachments.uses(vdi):
            try:
                vdis.destroy(storage, vdi)
            except ApiError as error:
                LOG.warning("a disk that was on its way is left, VDI %s: %s", row["uuid"], error)
