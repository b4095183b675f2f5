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
"""Garbage collection of VHD SRs: hidden leaves go, chains become shorter (wire reference 4.6).

One thread for all SRs of the pool, kicked by what makes garbage. Leaves keep their uuids and snapshots theirs; base
copies come and go. A step needs nobody's patience but this thread's, except for short pauses of attached disks.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING

from xapikit.host.errors import ApiError
from xapikit.host.storage.intents import Intent
from xapikit.host.storage.operations import has_plugged_pbd
from xapikit.host.storage.repository import VhdRepository
from xapikit.host.storage.rows import base_copy
from xapikit.host.storage.tree import Node, Tree

if TYPE_CHECKING:
    from xapikit.host.storage.service import Storage

LOG = logging.getLogger(__name__)

LIVE_LEAF_BYTES = 20 << 20
"""The leaf of an attached disk is coalesced when it holds less than this: its guest waits meanwhile."""
_MOST_CUTS = 5
"""How often a run cuts a larger one, so that what was written so far goes down while its guest goes on."""


class Collector:
    """Coalesces in the background."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._turn = threading.Condition()
        self._waiting: dict[str, bool] = {}
        self._busy = False
        self._stopping = False
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="coalesce", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End after the step under way."""
        with self._turn:
            self._stopping = True
            self._turn.notify_all()
        if self._thread is not None:
            self._thread.join()

    def kick(self, sr: str, *, thorough: bool = False) -> None:
        """There may be garbage in an SR; ``thorough``: even such that no row tells of."""
        with self._turn:
            self._waiting[sr] = self._waiting.get(sr, False) or thorough
            self._turn.notify_all()

    def wait_idle(self, timeout: float) -> bool:
        """Block until everything kicked so far is collected; False after ``timeout`` seconds."""
        deadline = time.monotonic() + timeout
        with self._turn:
            while self._waiting or self._busy:
                left = deadline - time.monotonic()
                if left <= 0:
                    return False
                self._turn.wait(left)
            return True

    def _run(self) -> None:
        while True:
            with self._turn:
                self._busy = False
                self._turn.notify_all()
                while not self._waiting and not self._stopping:
                    self._turn.wait()
                if self._stopping:
                    return
                sr = next(iter(self._waiting))
                thorough = self._waiting.pop(sr)
                self._busy = True
            try:
                if thorough or self._rows_tell(sr):
                    self._collect(sr)
            except ApiError as error:  # the SR was unplugged or forgotten, or holds a broken file: the scan says so
                LOG.info("garbage collection of %s ends: %s", sr, error)
            except Exception:
                LOG.exception("garbage collection of %s failed", sr)

    def _rows_tell(self, sr: str) -> bool:
        """Whether some base copy has fewer than two children: only then there is something to do."""
        store = self._storage.store
        row = store.peek("SR", sr)
        bases: dict[str, int] = {}
        rows = [store.peek("VDI", ref) for ref in row["VDIs"]] if row is not None else []
        for vdi in rows:
            if vdi is not None and not vdi["managed"]:
                bases.setdefault(vdi["uuid"], 0)
            parent = vdi["sm_config"].get("vhd-parent") if vdi is not None else None
            if parent is not None:
                bases[parent] = bases.get(parent, 0) + 1
        return any(children < 2 for children in bases.values())

    def _collect(self, sr: str) -> None:
        storage = self._storage
        row = storage.store.peek("SR", sr)
        if row is None or not has_plugged_pbd(storage.store, row):
            return
        repository = storage.repository(sr)
        if isinstance(repository, VhdRepository):
            passed: dict[str, int] = {}
            while not self._stopping and self._step(sr, repository, passed):
                pass

    def _step(self, sr: str, repository: VhdRepository, passed: dict[str, int]) -> bool:
        """Do one thing; False when nothing is left. ``passed`` counts the attempts at each leaf.

        ``SR.other_config`` has its say as on a host: ``gc`` = false leaves everything as it is, ``coalesce`` = false
        only removes garbage, ``leaf-coalesce`` = false leaves the last step.
        """
        flags = self._storage.store.get("SR", sr)["other_config"]
        if flags.get("gc") == "false":
            return False
        with self._storage.locked(sr):
            tree = repository.tree()
            for node in tree.nodes.values():
                if node.hidden and node.uuid not in tree.children and self._delete(sr, repository, node):
                    return True
            if flags.get("coalesce") == "false":
                return False
            inner = next((n for n in tree.nodes.values() if n.hidden and self._mergeable(tree, n)), None)
            # base copies first: a leaf that was cut must not take back what it gave away
            for node in tree.nodes.values() if inner is None and flags.get("leaf-coalesce") != "false" else ():
                if not node.hidden and passed.get(node.uuid, 0) <= _MOST_CUTS and self._mergeable(tree, node):
                    passed[node.uuid] = passed.get(node.uuid, 0) + 1
                    if self._coalesce_leaf(sr, repository, node):
                        return True
                    passed[node.uuid] = _MOST_CUTS + 1
        if inner is None:
            return False
        self._coalesce_inner(sr, repository, inner)
        return True

    @staticmethod
    def _mergeable(tree: Tree, node: Node) -> bool:
        """Whether a node's parent is a base copy that it alone needs."""
        parent = tree.nodes.get(node.parent) if node.parent is not None else None
        if parent is None or not parent.hidden or tree.children[parent.uuid] != [node.uuid]:
            return False
        return node.hidden == (node.uuid in tree.children)

    def _delete(self, sr: str, repository: VhdRepository, node: Node) -> bool:
        store = self._storage.store
        ref = store.by_uuid("VDI", node.uuid)
        if ref is not None and store.get("VDI", ref)["managed"]:
            LOG.warning("VDI %s is marked hidden, but is somebody's disk: it is left alone", node.uuid)
            return False
        repository.path(node.uuid).unlink()
        numbers = repository.capacity.sizes(repository.path(node.uuid))
        with store.transaction() as tx:
            if ref is not None:
                tx.delete("VDI", ref)
            self._storage.refresh_sr(tx, sr, numbers, grown=0)
        return True

    def _coalesce_inner(self, sr: str, repository: VhdRepository, node: Node) -> None:
        """Merge a base copy into its parent. The merge needs no lock: nobody else writes to hidden files, and what
        changes in the parent is covered by the base copy for everybody who reads meanwhile."""
        repository.merge(node.uuid)
        with self._storage.locked(sr):
            tree = repository.tree()
            children = tree.children.get(node.uuid, [])
            with self._storage.attachments.paused(self._disks(list(tree.leaves_under(node.uuid)))):
                repository.bypass(node.uuid, children)
            # the parent may have grown to the size of what was merged into it
            parents = [] if node.parent is None else [node.parent]
            self._show(sr, repository, gone=node.uuid, changed=[*children, *parents])

    def _coalesce_leaf(self, sr: str, repository: VhdRepository, node: Node) -> bool:
        storage = self._storage
        ref = storage.store.by_uuid("VDI", node.uuid)
        base = node.parent
        assert base is not None, "it has a parent to be merged into"
        if ref is None:
            return False
        row = storage.store.get("VDI", ref)
        wish = row["other_config"].get("leaf-coalesce")
        uses = storage.attachments.uses(ref)
        if row["on_boot"] == "reset" or wish == "false" or (wish == "offline" and uses):
            return False
        if any(use.disk is not None for use in uses):
            return False
        if uses and node.physical_size >= LIVE_LEAF_BYTES and wish != "force":
            self._cut_leaf(sr, repository, ref, node)
            return True
        with (
            storage.attachments.paused([ref]),
            storage.noted(sr, repository, Intent("leaf-coalesce", leaf=node.uuid, base=base)),
        ):
            repository.merge(node.uuid)
            repository.promote(node.uuid, base)
        self._show(sr, repository, gone=base, changed=[node.uuid])
        return True

    def _cut_leaf(self, sr: str, repository: VhdRepository, vdi: str, node: Node) -> None:
        """Let a leaf that is too large to be coalesced under its guest go on empty, over a base copy that is not."""
        storage = self._storage
        base = storage.store.new_uuid()
        with storage.noted(sr, repository, Intent("snapshot", leaf=node.uuid, base=base)):
            with storage.attachments.paused([vdi]):
                cut = repository.cut(node.uuid, base)
            numbers = repository.capacity.sizes(repository.path(node.uuid), repository.path(base))
            with storage.store.transaction() as tx:
                tx.create("VDI", base_copy(sr, repository.node(base)))
                storage.show_node(tx, cut)
                storage.refresh_sr(tx, sr, numbers, grown=0)

    def _disks(self, uuids: list[str]) -> list[str]:
        refs = (self._storage.store.by_uuid("VDI", uuid) for uuid in uuids)
        return [ref for ref in refs if ref is not None]

    def _show(self, sr: str, repository: VhdRepository, *, gone: str, changed: list[str]) -> None:
        """Make the rows say what the files are now."""
        store = self._storage.store
        nodes = [repository.node(uuid) for uuid in changed]
        numbers = repository.capacity.sizes(*(repository.path(uuid) for uuid in (gone, *changed)))
        with store.transaction() as tx:
            ref = store.by_uuid("VDI", gone)
            if ref is not None:
                tx.delete("VDI", ref)
            for node in nodes:
                self._storage.show_node(tx, node)
            self._storage.refresh_sr(tx, sr, numbers, grown=0)
