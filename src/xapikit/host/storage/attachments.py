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
"""Who has which disk attached: locks, data paths for guests, and disks opened inside the server for transfers.

A disk is open for writing once, or for reading any number of times, as its storage manager has it; ``sm_config`` shows
it as ``host_<ref>`` = ``RW`` or ``RO``. What is attached is paused while the chain below it changes.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from xapikit.host.errors import ApiError
from xapikit.host.storage import errors
from xapikit.host.storage.capacity import Capacity
from xapikit.host.storage.datapath.manager import DataPath, DataPathFailed, DataPaths
from xapikit.host.storage.disks import SwitchableDisk
from xapikit.host.storage.errors import backend_failure
from xapikit.host.storage.operations import LOCK_PREFIX
from xapikit.host.store import Store

LOG = logging.getLogger(__name__)

_TRANSFER_WRITE_BEHIND = 32 << 20
"""Bytes of an import after which their way to the disk begins, so that the flush at its end is short."""


@dataclass
class Attachment:
    """One use of a disk. ``socket`` is a Unix socket with an NBD export, ``file`` the raw file of an ISO VDI that may
    be opened read-only directly; neither is there for a disk that is only locked (a guest without a machine)."""

    vdi: str
    holder: str
    host: str
    read_only: bool
    data_path: DataPath | None = None
    disk: SwitchableDisk | None = None
    file: Path | None = None

    @property
    def open(self) -> bool:
        """Whether something can be read or written through it now."""
        return self.data_path is not None or self.disk is not None

    @property
    def socket(self) -> Path | None:
        return self.data_path.socket if self.data_path is not None else None

    @property
    def nbd_uri(self) -> str | None:
        """``nbd+unix:///?socket=...`` for tools of QEMU's family."""
        return f"nbd+unix:///?socket={self.socket}" if self.socket is not None else None


@dataclass
class _Disk:
    """All uses of one VDI."""

    uses: dict[str, Attachment] = field(default_factory=dict)


class Attachments:
    """The uses of all disks of a pool."""

    def __init__(self, store: Store, data_paths: DataPaths) -> None:
        self._store = store
        self._data_paths = data_paths
        self._lock = threading.Lock()
        self._disks: dict[str, _Disk] = {}

    # taking and giving back --------------------------------------------------------------------------------------

    def lock(self, vdi: str, *, holder: str, host: str, read_only: bool) -> Attachment:
        """Register a use of a disk, without opening anything. Taking it twice for one holder gives the same.

        Raises VDI_IN_USE, or SR_BACKEND_FAILURE_46 when it is another host that has the disk; HANDLE_INVALID.
        """
        row = self._store.get("VDI", vdi)
        with self._lock:
            disk = self._disks.setdefault(vdi, _Disk())
            known = disk.uses.get(holder)
            if known is not None:
                return known
            for use in disk.uses.values():
                if (read_only and use.read_only) or row["sharable"]:
                    continue
                if use.host != host:
                    mode = "RO" if use.read_only else "RW"
                    detail = f"VDI {row['uuid']} already attached {mode}"
                    raise backend_failure(errors.VDI_UNAVAILABLE, detail)
                raise ApiError("VDI_IN_USE", vdi, "attach")
            use = disk.uses[holder] = Attachment(vdi, holder, host, read_only)
        try:
            self._show(vdi)
        except BaseException:
            self._forget(use)
            raise
        return use

    def unlock(self, use: Attachment) -> None:
        """The reverse of ``lock``; whatever was open through it must be closed."""
        self._forget(use)
        self._show(use.vdi)

    def _forget(self, use: Attachment) -> None:
        with self._lock:
            disk = self._disks.get(use.vdi)
            if disk is not None and disk.uses.get(use.holder) is use:
                del disk.uses[use.holder]
                if not disk.uses:
                    del self._disks[use.vdi]

    def _show(self, vdi: str) -> None:
        """Make sm_config say where the disk is attached."""
        with self._store.transaction() as tx:
            row = tx.peek("VDI", vdi)
            if row is None:
                return
            with self._lock:
                uses = list(self._disks[vdi].uses.values()) if vdi in self._disks else []
            modes: dict[str, str] = {}
            for use in uses:
                if modes.get(use.host) != "RW":
                    modes[use.host] = "RO" if use.read_only else "RW"
            kept = {key: value for key, value in row["sm_config"].items() if not key.startswith(LOCK_PREFIX)}
            tx.update("VDI", vdi, sm_config={**kept, **{f"{LOCK_PREFIX}{host}": mode for host, mode in modes.items()}})

    # guests ------------------------------------------------------------------------------------------------------

    def serve(self, use: Attachment, path: Path, *, name: str | None = None) -> None:
        """Start the data path of a use, or start it again on its old socket. Raises SR_BACKEND_FAILURE_46 with the
        reason."""
        labels = {"vdi": use.vdi, "holder": use.holder, "host": use.host}
        try:
            use.data_path = self._data_paths.start(path, read_only=use.read_only, labels=labels, name=name)
        except DataPathFailed as error:
            LOG.warning("%s", error)
            raise backend_failure(errors.VDI_UNAVAILABLE, error.why) from error

    def close(self, use: Attachment) -> None:
        """Close what is open through a use; ``unlock`` gives it back."""
        try:
            if use.data_path is not None:
                self._data_paths.close(use.data_path)
            if use.disk is not None:
                use.disk.close()
        finally:
            use.data_path = use.disk = None

    def adopt(self, path: DataPath) -> None:
        """Take over a data path of an earlier server."""
        labels = path.labels
        use = Attachment(labels["vdi"], labels["holder"], labels["host"], path.record.read_only, data_path=path)
        with self._lock:
            self._disks.setdefault(use.vdi, _Disk()).uses[use.holder] = use

    def lost(self, path: DataPath) -> Attachment | None:
        """The use whose data path ended by itself, which is no data path of it any more."""
        with self._lock:
            for disk in self._disks.values():
                for use in disk.uses.values():
                    if use.data_path is path:
                        use.data_path = None
                        return use
        return None

    # transfers ---------------------------------------------------------------------------------------------------

    def open(self, use: Attachment, path: Path, capacity: Capacity) -> SwitchableDisk:
        """Open the disk of a use inside the server, as dom0 has it for a transfer. Raises VhdError, OSError."""
        use.disk = SwitchableDisk(
            path, writable=not use.read_only, limits=capacity, write_behind=_TRANSFER_WRITE_BEHIND
        )
        return use.disk

    # changes below -----------------------------------------------------------------------------------------------

    def uses(self, vdi: str) -> list[Attachment]:
        with self._lock:
            disk = self._disks.get(vdi)
            return list(disk.uses.values()) if disk is not None else []

    def writers(self, vdi: str) -> list[Attachment]:
        """The uses through which a disk is open for writing."""
        return [use for use in self.uses(vdi) if use.open and not use.read_only]

    def all(self) -> list[Attachment]:
        with self._lock:
            return [use for disk in self._disks.values() for use in disk.uses.values()]

    def move(self, use: Attachment, vdi: str, path: Path) -> None:
        """Let a use be one of another VDI from now on; its data path has that one's file already."""
        before = use.vdi
        self._forget(use)
        use.vdi = vdi
        with self._lock:
            self._disks.setdefault(vdi, _Disk()).uses[use.holder] = use
        if use.data_path is not None:
            self._data_paths.relabel(use.data_path, path, {**use.data_path.labels, "vdi": vdi})
        for ref in (before, vdi):
            self._show(ref)

    def rehost(self, use: Attachment, host: str) -> None:
        """The guest that has a disk runs on another host from now on."""
        use.host = host
        if use.data_path is not None:
            path = use.data_path
            self._data_paths.relabel(path, Path(path.record.disk), {**path.labels, "host": host})
        self._show(use.vdi)

    @contextmanager
    def paused(self, vdis: list[str]) -> Iterator[None]:
        """Keep disks closed while the files of their chains change; they go on with the same names afterwards.

        New uses of these disks must be kept out by the caller's lock of the SR. A data path that cannot go on is
        ended: its guest sees the disk go.
        """
        stopped: list[DataPath | SwitchableDisk] = []
        try:
            for vdi in vdis:
                for use in self.uses(vdi):
                    for served in (use.data_path, use.disk):
                        if served is not None:
                            with suppress(DataPathFailed):  # it is ending: nothing is open then
                                served.pause()
                                stopped.append(served)
            yield
        finally:
            for served in reversed(stopped):
                if isinstance(served, SwitchableDisk) and served.closed:
                    continue  # its transfer ended meanwhile
                try:
                    served.resume()
                except Exception:
                    LOG.exception("a disk does not go on after a pause")
                    if isinstance(served, DataPath):
                        served.process.end()
