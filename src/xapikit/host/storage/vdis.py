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
"""Making, branching, growing and removing VDIs: files and rows together.

Each function holds the lock of the SR, notes what it does while it touches files (:mod:`.intents`), and changes all
rows in one transaction. Whether the operation is allowed now was decided before, by ``ctx.operation``.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from xapikit.host.errors import ApiError
from xapikit.host.storage import errors, tracking
from xapikit.host.storage.intents import Intent, noted
from xapikit.host.storage.isofiles import IsoRepository
from xapikit.host.storage.operations import has_children, has_feature
from xapikit.host.storage.repository import Branched, VhdRepository
from xapikit.host.storage.rows import allocation, base_copy, node_fields, remove_row
from xapikit.host.store import Row, Transaction
from xapikit.wire import DateTime

if TYPE_CHECKING:
    from xapikit.host.storage.service import Repository, Storage

CARRIED = ("name_label", "name_description", "type", "sharable", "other_config", "xenstore_data", "tags")
"""Fields that a snapshot, clone or copy has from its origin (observed: snapshot_clone_copy)."""


def require_feature(storage: Storage, sr: str, feature: str) -> None:
    """Raises SR_OPERATION_NOT_SUPPORTED when the SR's storage manager lacks a feature; HANDLE_INVALID."""
    if not has_feature(storage.store, storage.store.get("SR", sr), feature):
        raise ApiError("SR_OPERATION_NOT_SUPPORTED", sr)


def create(storage: Storage, sr: str, virtual_size: int, fields: Mapping[str, Any]) -> str:
    """A new, empty disk; ``fields`` are further members of its row. Raises SR_HAS_NO_PBDS, SR_BACKEND_FAILURE_*."""
    repository = storage.plugged(sr)
    require_feature(storage, sr, "VDI_CREATE")
    uuid = storage.store.new_uuid()
    with storage.locked(sr), noted(repository.directory, Intent("create", new=[uuid])):
        if isinstance(repository, VhdRepository):
            node = repository.create(uuid, virtual_size)
            made = node_fields(node, fields.get("sm_config", {})) | {"location": uuid}
        else:
            location = repository.create(uuid, virtual_size)
            made = {"location": location, "virtual_size": virtual_size, "physical_utilisation": 0, "managed": True}
        try:
            numbers = repository.capacity.sizes(repository.path(made["location"]))
            with storage.store.transaction() as tx:
                ref = tx.create("VDI", {**fields, **made, "uuid": uuid, "SR": sr, "metadata_of_pool": ""})
                storage.refresh_sr(tx, sr, numbers, grown=made["virtual_size"])
        except BaseException:
            repository.path(made["location"]).unlink(missing_ok=True)
            raise
    return ref


def branch(storage: Storage, vdi: str, *, snapshot: bool) -> str:
    """A snapshot or a clone of a disk, attached or not. Raises SR_BACKEND_FAILURE_109, _44, _81, _82, _46."""
    store = storage.store
    sr = store.get("VDI", vdi)["SR"]
    repository = storage.vhd_repository(sr)
    with storage.locked(sr):
        row = store.get("VDI", vdi)
        new, base = store.new_uuid(), store.new_uuid()
        failure = errors.SNAPSHOT_FAILED if snapshot else errors.CLONE_FAILED
        intent = Intent("snapshot", new=[new], leaf=row["uuid"], base=base)
        with storage.noted(sr, repository, intent):
            with storage.attachments.paused([vdi]):
                if snapshot and row["cbt_enabled"]:
                    tracking.split(storage, repository, vdi, new)
                branched = repository.branch(row["location"], new, base, failure=failure)
            numbers = repository.capacity.sizes(*(repository.path(uuid) for uuid in (row["uuid"], new, base)))
            with store.transaction() as tx:
                ref = _branch_rows(storage, tx, vdi, branched, snapshot)
                storage.refresh_sr(tx, sr, numbers, grown=branched.new.virtual_size)
    return ref


def _branch_rows(storage: Storage, tx: Transaction, vdi: str, branched: Branched, snapshot: bool) -> str:
    row = tx.get("VDI", vdi)
    if branched.base is not None:
        tx.create("VDI", base_copy(row["SR"], branched.base))
    storage.show_node(tx, branched.leaf)
    fields = {name: row[name] for name in CARRIED} | {"on_boot": row["on_boot"]}
    if snapshot:
        fields |= {"is_a_snapshot": True, "snapshot_of": vdi, "snapshot_time": DateTime.now()}
    sm_config = {key: value for key, value in row["sm_config"].items() if not key.startswith("host_")}
    node = branched.new
    return tx.create(
        "VDI",
        {**fields, **node_fields(node, sm_config), "uuid": node.uuid, "location": node.uuid, "SR": row["SR"]},
    )


def resize(storage: Storage, vdi: str, virtual_size: int) -> None:
    """Grow a disk that nobody has attached. Raises SR_BACKEND_FAILURE_79, _110."""
    sr = storage.store.get("VDI", vdi)["SR"]
    repository = storage.vhd_repository(sr)
    with storage.locked(sr):
        node = repository.resize(storage.store.get("VDI", vdi)["location"], virtual_size)
        tracking.follow_size(storage, vdi, repository.path(node.uuid), node.virtual_size)
        numbers = repository.capacity.sizes(repository.path(node.uuid))
        with storage.store.transaction() as tx:
            grown = node.virtual_size - tx.get("VDI", vdi)["virtual_size"]
            storage.show_node(tx, node)
            storage.refresh_sr(tx, sr, numbers, grown=grown)


def destroy(storage: Storage, vdi: str) -> None:
    """Remove a disk with its file and its VBDs; one that others are based on becomes a base copy."""
    store = storage.store
    sr = store.get("VDI", vdi)["SR"]
    repository = storage.plugged(sr)
    with storage.locked(sr):
        row = store.get("VDI", vdi)
        if storage.attachments.uses(vdi):  # attached since the operation was allowed
            raise ApiError("VDI_IN_USE", vdi, "destroy")
        if isinstance(repository, IsoRepository):
            repository.destroy(row["location"])
            _destroyed(storage, vdi, row, repository, gone=True)
        else:
            with storage.noted(sr, repository, Intent("destroy", leaf=row["uuid"])):
                # the log first: a file without its log is a disk that is not tracked, a log without its file is a VDI
                tracking.drop_log(storage, repository, row["location"])
                gone = repository.destroy(row["location"], has_children=has_children(store, row))
                _destroyed(storage, vdi, row, repository, gone=gone)
    storage.collector.kick(sr)


def _destroyed(storage: Storage, vdi: str, row: Row, repository: Repository, *, gone: bool) -> None:
    numbers = repository.capacity.sizes(repository.path(row["location"]))
    with storage.store.transaction() as tx:
        if gone:
            remove_row(tx, vdi, vbds=True)
        else:
            tx.update("VDI", vdi, managed=False, read_only=True, name_label="base copy")
        storage.refresh_sr(tx, row["SR"], numbers, grown=-allocation(row))


def forget(storage: Storage, vdi: str) -> None:
    """Remove the row and leave the file: a scan finds it again."""
    with storage.store.transaction() as tx:
        sr = tx.get("VDI", vdi)["SR"]
        remove_row(tx, vdi, vbds=True)
        repository = storage.repository(sr)
        if repository is not None:
            row = tx.get("SR", sr)
            storage.refresh_sr(tx, sr, (row["physical_size"], row["physical_utilisation"]))


def introduce(storage: Storage, sr: str, uuid: str, location: str, fields: Mapping[str, Any]) -> str:
    """A row for a file that is there. Raises LOCATION_NOT_UNIQUE, SR_BACKEND_FAILURE_46, SR_HAS_NO_PBDS."""
    store = storage.store
    repository = storage.plugged(sr)
    require_feature(storage, sr, "VDI_INTRODUCE")
    with storage.locked(sr):
        known = (store.peek("VDI", ref) for ref in store.get("SR", sr)["VDIs"])
        if any(row is not None and row["location"] == location for row in known):
            raise ApiError("LOCATION_NOT_UNIQUE", sr, location)
        if not isinstance(repository, VhdRepository):
            raise ApiError("SR_OPERATION_NOT_SUPPORTED", sr)
        node = repository.node(location)
        if uuid and store.by_uuid("VDI", uuid) is not None:
            raise ApiError("LOCATION_NOT_UNIQUE", sr, location)
        made = node_fields(node, fields.get("sm_config", {}))
        numbers = repository.capacity.sizes(repository.path(node.uuid))
        with store.transaction() as tx:
            # the uuid is the file's name, as in every SR of this kind
            ref = tx.create("VDI", {**fields, **made, "uuid": node.uuid, "location": node.uuid, "SR": sr})
            storage.refresh_sr(tx, sr, numbers, grown=node.virtual_size)
        return ref


def discard(storage: Storage, vdi: str) -> None:
    """Destroy a VDI that was made for something that failed; what fails now is secondary."""
    with suppress(ApiError):
        destroy(storage, vdi)
