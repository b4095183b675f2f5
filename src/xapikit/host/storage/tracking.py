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
"""Changed-block tracking of VDIs: when it begins and ends, and what follows for the logs of a snapshot's family.

The files are :mod:`.changes`. A disk is "active" while it is open for writing; its log says so meanwhile, and a log
that says so although the machine was started since is not believed: tracking ends with an alert, as on a host.
"""

from __future__ import annotations

import base64
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from xapikit.host.classes.message import tell
from xapikit.host.errors import ApiError
from xapikit.host.storage import changes, errors
from xapikit.host.storage.changes import DamagedLog, log_path
from xapikit.host.storage.errors import backend_failure
from xapikit.host.storage.intents import Intent
from xapikit.host.storage.names import CBT_SUFFIX, cbt_uuid
from xapikit.host.storage.operations import has_children
from xapikit.host.storage.repository import VhdRepository
from xapikit.host.storage.rows import metadata_fields

if TYPE_CHECKING:
    from xapikit.host.storage.attachments import Attachment
    from xapikit.host.storage.service import Storage

LOG = logging.getLogger(__name__)

DATA_DESTROY_SECONDS = 4.0
"""How long data_destroy waits for the VBDs of a snapshot to go."""


# switching -----------------------------------------------------------------------------------------------------------


def enable(storage: Storage, vdi: str) -> None:
    """Track what is written to a disk from now on, attached or not. Nothing happens when it is tracked already.

    Raises SR_BACKEND_FAILURE_457.
    """
    sr = storage.store.get("VDI", vdi)["SR"]
    repository = storage.vhd_repository(sr)
    with storage.locked(sr):
        row = storage.store.get("VDI", vdi)
        path = log_path(repository.directory, row["location"])
        if path.exists():
            _show(storage, vdi, True)
            return
        if repository.capacity.room() < changes.bitmap_bytes(row["virtual_size"]) + changes.BLOCK:
            raise backend_failure(errors.CBT_ACTIVATE_FAILED, "There is insufficient space")
        with storage.noted(sr, repository, Intent("track", leaf=row["uuid"])):
            try:
                with storage.attachments.paused([vdi]):
                    changes.create(path, row["virtual_size"], consistent=not storage.attachments.writers(vdi))
            except OSError as error:
                path.unlink(missing_ok=True)
                raise backend_failure(errors.CBT_ACTIVATE_FAILED, str(error)) from error
            _show(storage, vdi, True)


def disable(storage: Storage, vdi: str) -> None:
    """End tracking: the log goes, those of the disk's snapshots stay. Raises SR_BACKEND_FAILURE_458."""
    sr = storage.store.get("VDI", vdi)["SR"]
    repository = storage.vhd_repository(sr)
    with storage.locked(sr):
        row = storage.store.get("VDI", vdi)
        with storage.noted(sr, repository, Intent("track", leaf=row["uuid"])):
            try:
                with storage.attachments.paused([vdi]):
                    changes.detach(repository.directory, row["location"])
            except OSError as error:
                raise backend_failure(errors.CBT_DEACTIVATE_FAILED, str(error)) from error
            _show(storage, vdi, False)


def _show(storage: Storage, vdi: str, enabled: bool) -> None:
    with storage.store.transaction() as tx:
        if tx.get("VDI", vdi)["cbt_enabled"] != enabled:
            tx.update("VDI", vdi, cbt_enabled=enabled)


def abandon(storage: Storage, vdi: str, disk: Path, alert: str, body: str) -> None:
    """Tracking of a disk cannot go on: end it and say so. The disk is closed."""
    changes.detach(disk.parent, disk.stem)
    with storage.store.transaction() as tx:
        row = tx.get("VDI", vdi)
        tx.update("VDI", vdi, cbt_enabled=False)
        tell(tx, alert, "VDI", row["uuid"], body)


# disks that are opened and closed ------------------------------------------------------------------------------------


def activate(storage: Storage, vdi: str, disk: Path) -> None:
    """A disk is about to be opened for writing by its first writer. The caller holds the lock of the SR."""
    path = changes.beside(disk)
    if not path.exists() or storage.attachments.writers(vdi):
        return
    try:
        if changes.read(path).consistent:
            changes.set_consistent(path, False)
            return
    except DamagedLog as error:
        LOG.warning("%s", error)
    body = f"Changed Block Tracking metadata is inconsistent for disk {disk.stem}."
    abandon(storage, vdi, disk, "VDI_CBT_METADATA_INCONSISTENT", body)


def deactivate(storage: Storage, use: Attachment) -> None:
    """A writer has closed a disk, whose use is still registered. The caller holds the lock of the SR."""
    if storage.attachments.writers(use.vdi):
        return
    try:
        path = changes.beside(storage.path_of(use.vdi))
        if path.exists():
            changes.set_consistent(path, True)
    except (ApiError, OSError) as error:
        LOG.warning("the changed-block log of VDI %s stays open: %s", use.vdi, error)


def recover(storage: Storage, repository: VhdRepository) -> None:
    """The server was killed and the machine was not: logs whose disk nobody has open any more tell the truth, since a
    block is marked before it is written."""
    for path in repository.directory.glob(f"*{CBT_SUFFIX}"):
        uuid = cbt_uuid(path.name)
        vdi = storage.store.by_uuid("VDI", uuid) if uuid is not None else None
        if vdi is None or storage.attachments.writers(vdi):
            continue
        try:
            if not changes.read(path).consistent:
                changes.set_consistent(path, True)
        except DamagedLog as error:
            LOG.warning("%s", error)


# families ------------------------------------------------------------------------------------------------------------


def drop_log(storage: Storage, repository: VhdRepository, uuid: str) -> None:
    """A VDI goes: what its log tells goes to the one after it. The caller holds the lock of the SR."""
    path = log_path(repository.directory, uuid)
    if not path.exists():
        return
    after: list[str] = []
    try:
        child = changes.read(path).child
        found = storage.store.by_uuid("VDI", child) if child is not None else None
        after = [found] if found is not None else []
    except DamagedLog as error:
        LOG.warning("%s", error)
    with storage.attachments.paused(after):
        changes.remove(repository.directory, uuid)


def follow_size(storage: Storage, vdi: str, disk: Path, size: int) -> None:
    """The log of a disk that grew. One that cannot follow ends."""
    path = changes.beside(disk)
    try:
        if path.exists():
            changes.resize(path, size)
    except OSError as error:
        LOG.warning("%s", error)
        body = f"Resizing of CBT metadata for disk {disk.stem} failed."
        abandon(storage, vdi, disk, "VDI_CBT_RESIZE_FAILED", body)


def split(storage: Storage, repository: VhdRepository, vdi: str, new: str) -> None:
    """The log of a disk becomes that of its snapshot ``new``, to be made now; the disk is paused. Where that cannot be
    done tracking ends, and the snapshot is made all the same."""
    row = storage.store.get("VDI", vdi)
    try:
        changes.snapshot(repository.directory, row["location"], new, consistent=not storage.attachments.writers(vdi))
    except OSError as error:
        LOG.warning("%s", error)
        body = f"Creating CBT metadata log for disk {row['uuid']} failed."
        abandon(storage, vdi, repository.path(row["location"]), "VDI_CBT_SNAPSHOT_FAILED", body)


def list_changed_blocks(storage: Storage, first: str, last: str) -> str:
    """A bit per 64 KiB block of ``last``, the highest of a byte first, in base64.

    Raises SR_BACKEND_FAILURE_460 (the two have nothing to do with each other), _459 (a log contradicts another).
    """
    source, target = storage.store.get("VDI", first), storage.store.get("VDI", last)
    if first == last:
        raise backend_failure(errors.CBT_CHANGED_BLOCKS, "Source and target VDI are same")
    repository = storage.vhd_repository(source["SR"])
    blocks = None
    with storage.locked(source["SR"]):
        if source["SR"] == target["SR"] and source["cbt_enabled"] and target["cbt_enabled"]:
            try:
                blocks = changes.changed_blocks(repository.directory, source["location"], target["location"])
            except OSError as error:
                LOG.warning("%s", error)
                raise backend_failure(errors.CBT_INCONSISTENT, "Inconsistent bitmaps") from error
    if blocks is None:
        raise backend_failure(errors.CBT_CHANGED_BLOCKS, "Source and target VDI are unrelated")
    return base64.b64encode(blocks).decode()


# data_destroy --------------------------------------------------------------------------------------------------------


def data_destroy(storage: Storage, vdi: str, patience: float = DATA_DESTROY_SECONDS) -> None:
    """Remove the data of a snapshot and keep its log. Raises VDI_IN_USE when VBDs stay for ``patience`` seconds,
    SR_BACKEND_FAILURE_80 when other files are based on it; nothing has changed then."""
    store = storage.store
    kind = store.get("VDI", vdi)["type"]
    if kind == "cbt_metadata":
        return
    with store.transaction() as tx:
        # from now on no new VBD can have it (observed in the source of a host)
        tx.update("VDI", vdi, type="cbt_metadata")
    try:
        store.wait(lambda: not store.get("VDI", vdi)["VBDs"], patience)
        _remove_data(storage, vdi)
    except BaseException:
        with store.transaction() as tx:
            row = tx.peek("VDI", vdi)
            if row is not None and storage.vhd_repository(row["SR"]).path(row["location"]).exists():
                tx.update("VDI", vdi, type=kind)
        raise


def _remove_data(storage: Storage, vdi: str) -> None:
    sr = storage.store.get("VDI", vdi)["SR"]
    repository = storage.vhd_repository(sr)
    with storage.locked(sr):
        row = storage.store.get("VDI", vdi)
        if row["VBDs"] or storage.attachments.uses(vdi):
            raise ApiError("VDI_IN_USE", vdi, "data_destroy")
        if has_children(storage.store, row):
            raise backend_failure(errors.DELETE_FAILED, "other disks are based on it")
        with storage.noted(sr, repository, Intent("data-destroy", leaf=row["uuid"])):
            repository.destroy(row["location"], has_children=False)
            numbers = repository.capacity.sizes(repository.path(row["location"]))
            with storage.store.transaction() as tx:
                tx.update("VDI", vdi, **metadata_fields(row["sm_config"]))
                storage.refresh_sr(tx, sr, numbers, grown=-row["virtual_size"])
    storage.collector.kick(sr)
