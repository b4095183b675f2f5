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
"""``pool.storage``: the SRs of a pool, their files and their attached disks."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from xapikit.host.errors import ApiError
from xapikit.host.storage import errors, tracking
from xapikit.host.storage.attachments import Attachment, Attachments
from xapikit.host.storage.autoscan import AutoScan
from xapikit.host.storage.collector import Collector
from xapikit.host.storage.datapath.manager import DataPath, DataPaths
from xapikit.host.storage.disks import SwitchableDisk
from xapikit.host.storage.drivers import refresh_managers, sr_directory
from xapikit.host.storage.errors import backend_failure
from xapikit.host.storage.flusher import Flusher
from xapikit.host.storage.intents import Intent, noted
from xapikit.host.storage.isofiles import IsoRepository
from xapikit.host.storage.operations import (
    LOCK_PREFIX,
    check_sr,
    check_vdi,
    driver_of,
    has_plugged_pbd,
    sr_allowed,
    type_text,
    vdi_allowed,
)
from xapikit.host.storage.processes import noted_boot, this_boot
from xapikit.host.storage.repository import VhdRepository
from xapikit.host.storage.rows import allocation, metadata_fields, node_fields
from xapikit.host.storage.scan import scan
from xapikit.host.storage.tree import Node
from xapikit.host.store import Transaction
from xapikit.vhd import VhdError

if TYPE_CHECKING:
    from xapikit.host.pool import Pool

LOG = logging.getLogger(__name__)

Repository = VhdRepository | IsoRepository

_MOST_RESTARTS = 3
"""How often the data path of one attachment is started again after it died."""


class Storage:
    """All storage of one pool. Made by :func:`xapikit.host.storage.build`; a :class:`xapikit.host.pool.Part`."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.store = pool.store
        self.data_paths = DataPaths(pool.state / "run" / "disk", self._data_path_lost)
        self.attachments = Attachments(self.store, self.data_paths)
        self.collector = Collector(self)
        self._flusher = Flusher()
        self.auto_scan = AutoScan(self)
        self._locks: dict[str, threading.RLock] = {}
        self._repositories: dict[str, Repository] = {}
        self._lock = threading.Lock()
        self._listeners: list[Callable[[Attachment, bool], None]] = []
        self._restarts: dict[tuple[str, str], int] = {}
        self._same_boot = noted_boot(pool.state / "run" / "boot") == this_boot()
        pool.operations.register("VDI", check_vdi)
        pool.operations.register("SR", check_sr)
        self.store.derive("VDI", "allowed_operations", vdi_allowed, via={"VBD": "VDI"})
        self.store.derive("SR", "allowed_operations", sr_allowed, via={"PBD": "SR"})

    # life --------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Make missing directories, settle what a killed server left, find data paths again."""
        with self.store.transaction() as tx:
            refresh_managers(tx, self.pool.settings)
        for path in self.data_paths.adopt():
            if self.store.peek("VDI", path.labels["vdi"]) is None:
                self.data_paths.close(path)
            else:
                self.attachments.adopt(path)
        self._restore_locks()
        self.collector.start()
        for ref, row in self.store.all("SR").items():
            if has_plugged_pbd(self.store, row):
                self.prepare(ref)
        self.auto_scan.start()

    def prepare(self, sr: str) -> None:
        """Bring the files of a plugged SR in order, and its sizes up to date."""
        try:
            repository = self.repository(sr)
            if repository is None:
                return
            repository.format()
            if isinstance(repository, VhdRepository):
                self.settle(sr, repository)
                if self._same_boot:
                    tracking.recover(self, repository)
                self.collector.kick(sr)
            numbers = repository.capacity.sizes()
            with self.store.transaction() as tx:
                self.refresh_sr(tx, sr, numbers)
        except Exception:
            # one SR that cannot be put right must not keep the pool from starting: its calls will say why
            LOG.exception("the SR %s is not in order", self.store.get("SR", sr)["uuid"])

    def settle(self, sr: str, repository: VhdRepository) -> None:
        """Finish or undo what a killed server had under way in an SR; rows follow by a scan."""
        with self.locked(sr):
            if repository.settle(self._known, partial(tracking.drop_log, self, repository)):
                scan(self, sr)

    def _known(self, uuid: str) -> bool:
        return self.store.by_uuid("VDI", uuid) is not None

    @contextmanager
    def noted(self, sr: str, repository: VhdRepository, intent: Intent) -> Iterator[None]:
        """Keep a note of a change while the block runs; one that fails is settled as after a kill."""
        with noted(repository.directory, intent):
            try:
                yield
            except BaseException:
                try:
                    repository.settle_one(intent, self._known, partial(tracking.drop_log, self, repository))
                    scan(self, sr)
                except Exception:
                    LOG.exception("%s failed half-way in %s, and cannot be settled", intent, repository.directory)
                raise

    def _restore_locks(self) -> None:
        """Locks are those of the disks in use now: by a data path, or by a VBD of a guest without a machine."""
        for vbd_ref, vbd in self.store.all("VBD").items():
            vm = self.store.peek("VM", vbd["VM"])
            if vbd["currently_attached"] and vm is not None and self.store.peek("VDI", vbd["VDI"]) is not None:
                served = [use for use in self.attachments.uses(vbd["VDI"]) if use.holder == vbd_ref]
                host = vm["resident_on"]
                if not served and self.store.peek("host", host) is not None:
                    try:
                        self.attachments.lock(vbd["VDI"], holder=vbd_ref, host=host, read_only=vbd["mode"] == "RO")
                    except ApiError as error:
                        LOG.warning("VBD %s had its disk attached and cannot have it now: %s", vbd["uuid"], error)
        with self.store.transaction() as tx:
            for ref, row in tx.all("VDI").items():
                stale = [key for key in row["sm_config"] if key.startswith(LOCK_PREFIX)]
                if stale and not self.attachments.uses(ref):
                    kept = {key: value for key, value in row["sm_config"].items() if key not in stale}
                    tx.update("VDI", ref, sm_config=kept)

    def stop(self, *, stop_guests: bool) -> None:
        """Stop collecting. Data paths go on with their guests unless ``stop_guests``."""
        self.auto_scan.stop()
        self.collector.stop()
        self._flusher.stop()
        if stop_guests:
            for path in self.data_paths.live():
                self.data_paths.close(path)
        self.data_paths.stop()

    # SRs ---------------------------------------------------------------------------------------------------------

    @contextmanager
    def locked(self, sr: str) -> Iterator[None]:
        """Nobody else changes the files of the SR. Taken before a transaction, never inside one."""
        with self._lock:
            lock = self._locks.setdefault(sr, threading.RLock())
        with lock:
            yield

    def repository(self, sr: str) -> Repository | None:
        """Files of an SR; None for a type that has none. Raises HANDLE_INVALID, and what a bad device_config gives."""
        with self._lock:
            known = self._repositories.get(sr)
        if known is not None:
            return known
        row = self.store.get("SR", sr)
        driver = driver_of(row)
        if driver is None or driver.kind == "none":
            return None
        configs: list[dict[str, str]] = [self.store.get("PBD", ref)["device_config"] for ref in row["PBDs"]]
        config = configs[0] if configs else {}
        settings = self.pool.settings
        if configs and not row["shared"]:  # its host may have a directory of its own
            settings = self.pool.settings_of(self.store.get("PBD", row["PBDs"][0])["host"])
        directory = sr_directory(driver, row["uuid"], config, settings)
        made = VhdRepository(directory) if driver.kind == "vhd" else IsoRepository(directory)
        with self._lock:
            return self._repositories.setdefault(sr, made)

    def forget_repository(self, sr: str) -> None:
        """The SR's configuration may be another from now on."""
        with self._lock:
            self._repositories.pop(sr, None)

    def plugged(self, sr: str) -> Repository:
        """Files of an SR that some host has plugged. Raises HANDLE_INVALID, SR_HAS_NO_PBDS, SR_BACKEND_FAILURE_47,
        SR_OPERATION_NOT_SUPPORTED (a type without files), HOST_OFFLINE and CANNOT_CONTACT_HOST when all of them are
        off."""
        if not has_plugged_pbd(self.store, self.store.get("SR", sr)):
            raise ApiError("SR_HAS_NO_PBDS", sr)
        hosts = self.hosts_with(sr)
        if not self.pool.machines.answers(hosts[0]):  # those that answer come first
            self.pool.machines.reach(hosts[0])
        repository = self.repository(sr)
        if repository is None:
            raise ApiError("SR_OPERATION_NOT_SUPPORTED", sr)
        if not repository.directory.is_dir():
            raise backend_failure(errors.SR_UNAVAILABLE, f"no such directory {repository.directory}")
        return repository

    def vhd_repository(self, sr: str) -> VhdRepository:
        """As ``plugged``, for SRs with VHD chains."""
        repository = self.plugged(sr)
        if not isinstance(repository, VhdRepository):
            raise ApiError("SR_OPERATION_NOT_SUPPORTED", sr)
        return repository

    def hosts_with(self, sr: str) -> list[str]:
        """Hosts that have an SR plugged, in the order of their PBDs; those that do not answer come last."""
        pbds = [self.store.get("PBD", ref) for ref in self.store.get("SR", sr)["PBDs"]]
        hosts = [pbd["host"] for pbd in pbds if pbd["currently_attached"]]
        return sorted(hosts, key=lambda host: not self.pool.machines.answers(host))

    def path_of(self, vdi: str) -> Path:
        """File of a VDI. Raises as ``plugged``, and SR_BACKEND_FAILURE_46 when the file is gone."""
        row = self.store.get("VDI", vdi)
        path = self.plugged(row["SR"]).path(row["location"])
        if not path.exists():
            raise backend_failure(errors.VDI_UNAVAILABLE, f"VDI {row['uuid']} not found")
        return path

    def set_limit(self, sr: str, limit: int | None) -> None:
        """Let an SR hold only that many bytes, to have it full on request; None is all of the file system."""
        repository = self.plugged(sr)
        repository.capacity.set_limit(limit)
        numbers = repository.capacity.sizes()
        with self.store.transaction() as tx:
            self.refresh_sr(tx, sr, numbers)

    def set_speed(self, sr: str, bytes_per_second: int | None) -> None:
        """Make the disks of an SR slow, to see how a client takes it; None is as fast as it goes."""
        self.plugged(sr).capacity.set_speed(bytes_per_second)

    def set_latency(self, sr: str, milliseconds: int | None) -> None:
        """Make each request to a disk of an SR take longer by so much; None for no longer."""
        self.plugged(sr).capacity.set_latency(milliseconds)

    def kill_data_paths(self, vdi: str) -> int:
        """Let the processes that serve a disk to its guests die, as a crash would; how many there were. They are
        started again, and when that was too often, the guests lose their disk."""
        paths = [use.data_path for use in self.attachments.uses(vdi) if use.data_path is not None]
        return sum(path.process.kill() for path in paths)

    def refresh_sr(self, tx: Transaction, sr: str, numbers: tuple[int, int], *, grown: int | None = None) -> None:
        """Bring sizes of an SR up to date; ``numbers`` are ``capacity.sizes()``, taken before the transaction.

        ``grown`` is by how many bytes the virtual sizes of its disks grew together; they are added up when it is None.
        """
        row = tx.peek("SR", sr)
        if row is None:
            return
        if grown is None:
            rows = (tx.peek("VDI", ref) for ref in row["VDIs"])
            virtual = sum(allocation(vdi) for vdi in rows if vdi is not None)
        else:
            virtual = row["virtual_allocation"] + grown
        size, used = numbers
        tx.update("SR", sr, physical_size=size, physical_utilisation=used, virtual_allocation=virtual)

    def show_node(self, tx: Transaction, node: Node) -> None:
        """Make the row of a VDI say what its file says: sizes and place in the tree."""
        ref = self.store.by_uuid("VDI", node.uuid)
        row = tx.peek("VDI", ref) if ref is not None else None
        if ref is not None and row is not None:
            tx.update("VDI", ref, **node_fields(node, row["sm_config"]))

    # attaching ---------------------------------------------------------------------------------------------------

    def attach(
        self,
        vdi: str,
        read_only: bool,
        *,
        host: str | None = None,
        holder: str = "",
        serve: bool = True,
    ) -> Attachment:
        """Attach a disk to a guest and, with ``serve``, start its data path.

        ``holder`` names the use (the VBD's reference); attaching again for the same holder gives the same. ``host``
        defaults to the first that has the SR plugged. An ISO VDI that is attached read-only has a ``file`` instead of
        a ``socket``. Raises VDI_IN_USE, SR_HAS_NO_PBDS, SR_NOT_ATTACHED, SR_BACKEND_FAILURE_46.
        """
        row = self.store.get("VDI", vdi)
        if row["type"] == "cbt_metadata":
            raise ApiError("VDI_INCOMPATIBLE_TYPE", vdi, type_text(row["type"]))
        path = self.path_of(vdi)
        hosts = self.hosts_with(row["SR"])
        if host is not None and host not in hosts:
            raise ApiError("SR_NOT_ATTACHED", row["SR"])
        holder = holder or vdi
        with self.locked(row["SR"]):
            use = self.attachments.lock(vdi, holder=holder, host=host or hosts[0], read_only=read_only)
            if not serve or use.data_path is not None or use.file is not None:
                return use
            try:
                if path.suffix != VhdRepository.suffix and read_only:
                    use.file = path
                else:
                    if not read_only:
                        tracking.activate(self, vdi, path)
                    self.attachments.serve(use, path)
            except BaseException:
                self.attachments.unlock(use)
                raise
        return use

    def detach(self, vdi: str, *, holder: str = "") -> None:
        """End a use: what the guest wrote is in the file when this returns. Nothing happens when there is none."""
        for use in self.attachments.uses(vdi):
            if use.holder == (holder or vdi):
                self._end(use)
                self._restarts.pop((vdi, use.holder), None)
                row = self.store.peek("VDI", vdi)
                if row is not None and not use.read_only:
                    try:
                        self.refresh_vdi(vdi)
                    except ApiError as error:  # the SR went away under its disk: a later scan or update tells
                        LOG.info("VDI %s is detached, its size is not known: %s", row["uuid"], error)
                    self.collector.kick(row["SR"])

    def _end(self, use: Attachment) -> None:
        """Close a use and give it back; its changed-block log is in order before somebody else may have the disk."""
        was_open = use.open
        try:
            self.attachments.close(use)
        finally:
            row = self.store.peek("VDI", use.vdi)
            if row is None or not row["cbt_enabled"] or use.read_only or not was_open:
                self.attachments.unlock(use)
            else:
                with self.locked(row["SR"]):
                    tracking.deactivate(self, use)
                    self.attachments.unlock(use)

    def attached(self, vdi: str, *, holder: str = "") -> Attachment | None:
        """The use of that holder, found again after a restart too."""
        return next((use for use in self.attachments.uses(vdi) if use.holder == (holder or vdi)), None)

    @contextmanager
    def opened(self, vdi: str, *, read_only: bool, holder: str, host: str) -> Iterator[SwitchableDisk]:
        """Have a disk open in the server, as dom0 has it for a transfer. Raises as ``attach``; a file that cannot be
        opened is SR_BACKEND_FAILURE_46."""
        sr = self.store.get("VDI", vdi)["SR"]
        repository = self.plugged(sr)
        with self.locked(sr):
            if self.store.get("VDI", vdi)["type"] == "cbt_metadata":
                raise ApiError("VDI_INCOMPATIBLE_TYPE", vdi, type_text("cbt_metadata"))
            path = self.path_of(vdi)
            use = self.attachments.lock(vdi, holder=holder, host=host, read_only=read_only)
            try:
                if not read_only:
                    tracking.activate(self, vdi, path)
                disk = self.attachments.open(use, path, repository.capacity)
            except (VhdError, OSError) as error:
                self._end(use)
                raise backend_failure(errors.VDI_UNAVAILABLE, str(error)) from error
        try:
            yield disk
        finally:
            self._end(use)
            if self.store.peek("VDI", vdi) is not None and not read_only:
                self.refresh_vdi(vdi)
            self.collector.kick(sr)

    def settle_writes(self, disk: SwitchableDisk) -> None:
        """Called at the end of a transfer: with the setting ``sync`` = ``commit`` the bytes are on stable storage
        when this returns, with ``interval`` they are on their way there, as rows are."""
        if self.pool.settings.sync == "commit":
            disk.flush()
        elif self.pool.settings.sync == "interval":
            self._flusher.kick(disk.path)

    def refresh_vdi(self, vdi: str) -> None:
        """Read size and utilisation from the file again, as VDI.update does."""
        row = self.store.get("VDI", vdi)
        repository = self.plugged(row["SR"])
        if isinstance(repository, VhdRepository):
            if row["type"] == "cbt_metadata":
                fields = metadata_fields(row["sm_config"])
            else:
                fields = node_fields(repository.node(row["location"]), row["sm_config"])
        else:
            stat = repository.path(row["location"]).stat()
            fields = {"virtual_size": stat.st_size, "physical_utilisation": stat.st_blocks * 512}
        numbers = repository.capacity.sizes(repository.path(row["location"]))
        with self.store.transaction() as tx:
            before = tx.peek("VDI", vdi)
            if before is not None:
                tx.update("VDI", vdi, **fields)
                grown = fields.get("virtual_size", before["virtual_size"]) - before["virtual_size"]
                self.refresh_sr(tx, row["SR"], numbers, grown=grown if before["managed"] else 0)

    # data paths that end -----------------------------------------------------------------------------------------

    def on_data_path_ended(self, listener: Callable[[Attachment, bool], None]) -> None:
        """Have ``listener(attachment, restarted)`` told of an attached disk whose data path died. ``restarted``: it was
        started again on the same socket, where an NBD client with a reconnect delay goes on."""
        self._listeners.append(listener)

    def _data_path_lost(self, path: DataPath) -> None:
        use = self.attachments.lost(path)
        if use is None:
            return
        key = (use.vdi, use.holder)
        self._restarts[key] = self._restarts.get(key, 0) + 1
        restarted = False
        if self._restarts[key] <= _MOST_RESTARTS:
            try:
                self.attachments.serve(use, Path(path.record.disk), name=path.record.name)
                restarted = True
            except ApiError as error:
                LOG.warning("the data path of %s cannot be started again: %s", path.record.disk, error)
        for listener in self._listeners:
            listener(use, restarted)
