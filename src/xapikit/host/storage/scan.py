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
"""SR.scan: make the rows of an SR say what its directory holds (wire reference 4.5)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xapikit.host.storage import changes
from xapikit.host.storage.isofiles import IsoRepository
from xapikit.host.storage.repository import VhdRepository
from xapikit.host.storage.rows import base_copy, metadata_fields, node_fields, remove_row
from xapikit.host.storage.tree import Tree
from xapikit.host.store import Transaction

if TYPE_CHECKING:
    from xapikit.host.storage.service import Storage


def scan(storage: Storage, sr: str) -> None:
    """Add, update and forget VDIs, then collect garbage. User fields (name, description, other_config) stay.

    Raises SR_HAS_NO_PBDS, SR_BACKEND_FAILURE_47 (directory gone), SR_BACKEND_FAILURE_40 naming the first broken file;
    no row changes then.
    """
    repository = storage.plugged(sr)
    with storage.locked(sr):
        if isinstance(repository, VhdRepository):
            tree = repository.tree()
            numbers = repository.capacity.sizes()
            with storage.store.transaction() as tx:
                _vhd_rows(storage, tx, sr, tree)
                _log_rows(storage, tx, sr, repository, tree)
                storage.refresh_sr(tx, sr, numbers)
        else:
            files = repository.files()
            numbers = repository.capacity.sizes()
            with storage.store.transaction() as tx:
                _iso_rows(tx, sr, repository, files)
                storage.refresh_sr(tx, sr, numbers)
    storage.collector.kick(sr, thorough=True)


def _vhd_rows(storage: Storage, tx: Transaction, sr: str, tree: Tree) -> None:
    known = {tx.get("VDI", ref)["uuid"]: ref for ref in tx.get("SR", sr)["VDIs"]}
    for uuid, ref in known.items():
        if uuid not in tree.nodes and uuid not in tree.logs:
            remove_row(tx, ref, vbds=False)
    for node in tree.nodes.values():
        if node.uuid in known:
            storage.show_node(tx, node)
        elif storage.store.by_uuid("VDI", node.uuid) is not None:
            continue  # a copy of another SR's file: one uuid is one VDI
        elif not node.hidden:
            fields = node_fields(node, {})
            tx.create("VDI", {**fields, "uuid": node.uuid, "location": node.uuid, "SR": sr, "type": "user"})
        elif node.uuid in tree.children:
            tx.create("VDI", base_copy(sr, node))


def _log_rows(storage: Storage, tx: Transaction, sr: str, repository: VhdRepository, tree: Tree) -> None:
    """A changed-block log without its disk is a VDI of type cbt_metadata."""
    for uuid in sorted(tree.logs - tree.nodes.keys()):
        ref = storage.store.by_uuid("VDI", uuid)
        row = tx.peek("VDI", ref) if ref is not None else None
        if ref is not None and row is not None:
            if row["SR"] == sr:
                tx.update("VDI", ref, **metadata_fields(row["sm_config"]))
            continue
        try:
            size = changes.read(changes.log_path(repository.directory, uuid)).size
        except (changes.DamagedLog, FileNotFoundError):
            size = 0
        fields = {"uuid": uuid, "location": uuid, "SR": sr, "virtual_size": size, "managed": True}
        tx.create("VDI", {**metadata_fields({}), **fields})


def _iso_rows(tx: Transaction, sr: str, repository: IsoRepository, files: dict[str, int]) -> None:
    known = {tx.get("VDI", ref)["location"]: ref for ref in tx.get("SR", sr)["VDIs"]}
    for location, ref in known.items():
        if location not in files:
            remove_row(tx, ref, vbds=False)
    for location, size in files.items():
        physical = repository.path(location).stat().st_blocks * 512
        if location in known:
            tx.update("VDI", known[location], virtual_size=size, physical_utilisation=physical)
            continue
        tx.create(
            "VDI",
            {
                "name_label": location,
                "location": location,
                "SR": sr,
                "type": "user",
                "read_only": True,
                "managed": True,
                "virtual_size": size,
                "physical_utilisation": physical,
            },
        )
