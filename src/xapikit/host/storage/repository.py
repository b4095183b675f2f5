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
"""An SR that is a directory of VHD files: what ``ext``, ``nfs``, ``smb`` and ``file`` have in common.

Files only; rows, locks and attached disks are the business of the layers above. Layout: wire reference 4.4; snapshot,
clone and chains: 4.6. Every change that needs several steps runs under a note (:mod:`.intents`); whoever calls holds
the lock of the SR.
"""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from xapikit import vhd
from xapikit.host.storage import errors
from xapikit.host.storage.capacity import Capacity
from xapikit.host.storage.errors import backend_failure
from xapikit.host.storage.intents import Intent, found
from xapikit.host.storage.names import vhd_path
from xapikit.host.storage.tree import BrokenDisk, Node, NodeCache, Tree, depth, read_node

LOG = logging.getLogger(__name__)

MIB = 1 << 20
GRAIN = 2 * MIB
"""Virtual sizes are multiples of this."""
MAX_DEPTH = 30
"""Longest chain of a XAPI host."""
_OVERHEAD = 4 * MIB
"""Room that must be left for a new file: metadata and a first block."""


@dataclass(frozen=True)
class Branched:
    """Result of a snapshot or clone: how the files look now."""

    leaf: Node
    new: Node
    base: Node | None
    """The base copy that appeared; None when the leaf held nothing of its own."""


def rounded_size(size: int) -> int:
    """Virtual size that a VDI of at least ``size`` bytes gets. Raises SR_BACKEND_FAILURE_79."""
    if size < 0:
        raise backend_failure(errors.INVALID_SIZE, f"VDI size must not be negative: {size}")
    rounded = max(GRAIN, -(-size // GRAIN) * GRAIN)
    if rounded > vhd.MAX_VIRTUAL_SIZE:
        most = vhd.MAX_VIRTUAL_SIZE // MIB
        raise backend_failure(errors.INVALID_SIZE, f"VDI size must be between 1 MB and {most} MB")
    return rounded


class VhdRepository:
    """The files of one SR."""

    suffix = ".vhd"

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.capacity = Capacity(directory)
        self._cache = NodeCache()

    def format(self) -> None:
        """Make the directory, as SR.create does."""
        self.directory.mkdir(parents=True, exist_ok=True)

    def path(self, location: str) -> Path:
        """File of a VDI by its location, which is its uuid. Raises SR_BACKEND_FAILURE_46 for anything else."""
        try:
            return vhd_path(self.directory, location)
        except ValueError as error:
            raise backend_failure(errors.VDI_UNAVAILABLE, str(error)) from error

    def node(self, uuid: str) -> Node:
        """How a VDI's file looks. Raises SR_BACKEND_FAILURE_46 (no such file), _65 (broken)."""
        try:
            return read_node(self.directory, uuid)
        except (FileNotFoundError, ValueError) as error:
            raise backend_failure(errors.VDI_UNAVAILABLE, f"VDI {uuid} not found") from error
        except BrokenDisk as error:
            raise backend_failure(errors.VDI_LOAD_FAILED, str(error)) from error

    def tree(self) -> Tree:
        """All files. Raises SR_BACKEND_FAILURE_40 naming the first that is broken."""
        try:
            return Tree.read(self.directory, self._cache)
        except BrokenDisk as error:
            LOG.warning("the scan of %s failed: %s", self.directory, error)
            raise backend_failure(errors.SCAN_FAILED, f"uuid={error.uuid}") from error
        except FileNotFoundError as error:
            raise backend_failure(errors.SR_UNAVAILABLE, f"no such directory {self.directory}") from error

    def _require_room(self) -> None:
        if self.capacity.room() < _OVERHEAD:
            raise backend_failure(errors.NO_SPACE)

    # one disk ----------------------------------------------------------------------------------------------------

    def create(self, uuid: str, virtual_size: int) -> Node:
        """Make an empty disk. Raises SR_BACKEND_FAILURE_44 (full), _79 (size), _43 (exists), _78."""
        size = rounded_size(virtual_size)
        self._require_room()
        try:
            vhd.create(self.path(uuid), size)
        except FileExistsError as error:
            raise backend_failure(errors.VDI_EXISTS, uuid) from error
        except OSError as error:
            raise _failure(errors.VDI_CREATE_FAILED, error) from error
        return self.node(uuid)

    def resize(self, uuid: str, virtual_size: int) -> Node:
        """Grow a disk. Raises SR_BACKEND_FAILURE_79 (smaller, too large), _110."""
        size = rounded_size(virtual_size)
        now = self.node(uuid).virtual_size
        if size < now:
            detail = f"shrinking not allowed: size={now // MIB}MB, requested {size // MIB}MB"
            raise backend_failure(errors.INVALID_SIZE, detail)
        try:
            vhd.resize(self.path(uuid), size)
        except (OSError, vhd.VhdError) as error:
            raise _failure(errors.RESIZE_FAILED, error) from error
        return self.node(uuid)

    def destroy(self, uuid: str, *, has_children: bool) -> bool:
        """Remove a disk's file; one that others are based on becomes a base copy. True when the file is gone."""
        path = self.path(uuid)
        if not path.exists():
            return True
        if has_children:
            vhd.set_hidden(path, True)
            return False
        path.unlink(missing_ok=True)
        return True

    def _has_children(self, uuid: str) -> bool:
        wanted = f"{uuid}{self.suffix}"
        for path in self.directory.glob("[0-9a-f]*" + self.suffix):
            try:
                if path.name != wanted and vhd.info(path).parent_name == wanted:
                    return True
            except (vhd.VhdError, OSError):
                continue  # a broken file keeps nobody from deleting others
        return False

    # snapshot and clone ------------------------------------------------------------------------------------------

    def branch(self, uuid: str, new: str, base: str, *, failure: int = errors.SNAPSHOT_FAILED) -> Branched:
        """Give a disk a twin: snapshot and clone are the same to the files.

        The file becomes the base copy ``base``; the disk keeps its uuid with an empty child, ``new`` gets another.
        A disk that holds no block of its own gets a sibling instead. Nobody may have it open for writing. Raises
        SR_BACKEND_FAILURE_109 (chain too long), _44, and ``failure``; the files are as before then.
        """
        node = self.node(uuid)
        self._require_room()
        new_path = self.path(new)
        try:
            if node.parent is not None and not node.allocated_blocks:
                vhd.create(new_path, node.virtual_size, parent=self.path(node.parent))
                return Branched(node, self.node(new), None)
            if depth(self.directory, uuid) >= MAX_DEPTH:
                raise backend_failure(errors.CHAIN_TOO_LONG)
            self._split(node, base, twin=new_path)
        except (OSError, vhd.VhdError, BrokenDisk) as error:
            raise _failure(failure, error) from error
        return Branched(self.node(uuid), self.node(new), self.node(base))

    def cut(self, uuid: str, base: str) -> Node:
        """The file becomes the base copy ``base``, and the disk an empty child of it. Nobody may have it open for
        writing. Raises SR_BACKEND_FAILURE_44, _82; the files are as before then."""
        self._require_room()
        try:
            self._split(self.node(uuid), base)
        except (OSError, vhd.VhdError) as error:
            raise _failure(errors.SNAPSHOT_FAILED, error) from error
        return self.node(uuid)

    def reset(self, uuid: str) -> Node:
        """Drop what a disk holds beyond its base copy. Nobody may have it open. Raises SR_BACKEND_FAILURE_202 for a
        disk without one, _44."""
        node = self.node(uuid)
        if node.parent is None:
            raise backend_failure(errors.GENERAL_ERROR, f"VDI {uuid} has no parent, will not reset contents")
        self._require_room()
        child = self._empty_child(node, self.path(node.parent))
        child.replace(self.path(uuid))
        return self.node(uuid)

    def _empty_child(self, node: Node, parent: Path) -> Path:
        """A new leaf for a disk, to be exchanged for the old one."""
        child = self.directory / f".leaf-{node.uuid}{self.suffix}"
        child.unlink(missing_ok=True)
        try:
            vhd.create(child, node.virtual_size, parent=parent)
        except (OSError, vhd.VhdError) as error:
            raise _failure(errors.SNAPSHOT_FAILED, error) from error
        return child

    def _split(self, node: Node, base: str, twin: Path | None = None) -> None:
        leaf_path, base_path = self.path(node.uuid), self.path(base)
        os.link(leaf_path, base_path)
        try:
            child = self._empty_child(node, base_path)
            if twin is not None:
                vhd.create(twin, node.virtual_size, parent=base_path)
            vhd.set_hidden(base_path, True)
            child.replace(leaf_path)
        except BaseException:
            if twin is not None:
                twin.unlink(missing_ok=True)
            self._unbranch(node.uuid, base)
            raise

    def _unbranch(self, uuid: str, base: str) -> None:
        """Undo a branch that did not get to the exchange of the leaf."""
        leaf_path, base_path = self.path(uuid), self.path(base)
        (self.directory / f".leaf-{uuid}{self.suffix}").unlink(missing_ok=True)
        if base_path.exists() and leaf_path.exists() and base_path.samefile(leaf_path):
            vhd.set_hidden(leaf_path, False)
            base_path.unlink()

    # after a kill ------------------------------------------------------------------------------------------------

    def settle(self, known: Callable[[str], bool], drop_log: Callable[[str], None]) -> bool:
        """Finish or undo what a killed server had under way; ``known(uuid)`` says whether the VDI has a row, and
        ``drop_log(uuid)`` removes its changed-block log.

        True when there was something (the SR wants a scan then). Also removes unfinished files of the VHD library.
        """
        notes = list(found(self.directory))
        for path, intent in notes:
            LOG.warning("settling what was under way in %s: %s", self.directory, intent)
            self.settle_one(intent, known, drop_log)
            path.unlink()
        for path in self.directory.glob(".*.new"):
            path.unlink()
        return bool(notes)

    def settle_one(self, intent: Intent, known: Callable[[str], bool], drop_log: Callable[[str], None]) -> None:
        """Settle one change that was cut short, by looking at what there is."""
        for uuid in intent.new:
            if not known(uuid):
                drop_log(uuid)
                self.path(uuid).unlink(missing_ok=True)
        if intent.kind == "data-destroy" and known(intent.leaf):
            self.path(intent.leaf).unlink(missing_ok=True)
        elif intent.kind == "destroy":
            drop_log(intent.leaf)  # all of it: half a removal would lead the chain past its neighbours
        if intent.kind == "destroy" and not known(intent.leaf):
            self.destroy(intent.leaf, has_children=self._has_children(intent.leaf))
        elif intent.kind == "snapshot" and self.path(intent.base).exists():
            if self.path(intent.base).samefile(self.path(intent.leaf)):
                self._unbranch(intent.leaf, intent.base)
            else:
                vhd.set_hidden(self.path(intent.base), True)
        elif intent.kind == "leaf-coalesce":
            # before the exchange the parent is still there and hidden; after it the leaf's file is the parent's
            exchanged = not self.path(intent.base).exists()
            vhd.set_hidden(self.path(intent.leaf if exchanged else intent.base), not exchanged)
        (self.directory / f".leaf-{intent.leaf}{self.suffix}").unlink(missing_ok=True)

    # coalesce ----------------------------------------------------------------------------------------------------

    def merge(self, uuid: str) -> None:
        """Write what a file holds into its parent. Readers of the chain see no difference, and doing it again does no
        harm. Raises VhdError, OSError."""
        vhd.coalesce(self.path(uuid))

    def bypass(self, uuid: str, children: list[str]) -> None:
        """Hang the children of a merged file under its parent and remove it. Their chains must be closed."""
        parent = read_node(self.directory, uuid).parent
        assert parent is not None, "it was merged into its parent"
        for child in children:
            vhd.set_parent(self.path(child), self.path(parent))
        self.path(uuid).unlink()

    def promote(self, leaf: str, base: str) -> Node:
        """Let the base copy that the leaf was merged into take the leaf's place. The leaf must be closed."""
        self.path(base).replace(self.path(leaf))
        vhd.set_hidden(self.path(leaf), False)
        return self.node(leaf)


def _failure(number: int, error: Exception) -> Exception:
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return backend_failure(errors.NO_SPACE)
    return backend_failure(number, str(error))
