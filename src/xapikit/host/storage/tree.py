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
"""The VHD tree of an SR directory, read from the headers of its files."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from xapikit import vhd
from xapikit.host.storage.changes import beside
from xapikit.host.storage.names import cbt_uuid, vhd_path, vhd_uuid

_ATTEMPTS = 50
_TICK_NS = 50_000_000


class BrokenDisk(Exception):
    """A file of the SR that is no sound VHD, or whose parent is missing."""

    def __init__(self, uuid: str, why: str) -> None:
        self.uuid = uuid
        self.why = why
        super().__init__(f"VHD {uuid}: {why}")


@dataclass(frozen=True)
class Node:
    """One file. Sizes in bytes."""

    uuid: str
    virtual_size: int
    physical_size: int
    """Bytes on the file system."""
    hidden: bool
    """A base copy: nobody's disk."""
    parent: str | None
    """uuid of the parent file."""
    allocated_blocks: int
    tracked: bool = False
    """Whether it has a changed-block log."""


def read_node(directory: Path, uuid: str) -> Node:
    """Look at one file. Raises BrokenDisk; FileNotFoundError when there is none.

    A disk may be written to meanwhile: what looks broken and has changed since is looked at again.
    """
    path = vhd_path(directory, uuid)
    for attempt in range(_ATTEMPTS):
        before = path.stat()
        try:
            info = vhd.info(path)
            break
        except FileNotFoundError:
            raise
        except (vhd.VhdError, OSError) as error:
            after = path.stat()
            changed = (before.st_mtime_ns, before.st_size) != (after.st_mtime_ns, after.st_size)
            if not changed or attempt == _ATTEMPTS - 1:
                raise BrokenDisk(uuid, str(error)) from error
    parent = None
    if info.parent_name is not None:
        parent = vhd_uuid(info.parent_name)
        if parent is None:
            raise BrokenDisk(uuid, f"its parent is called {info.parent_name!r}, which is no VDI")
    return Node(
        uuid, info.virtual_size, info.physical_size, info.hidden, parent, info.allocated_blocks, beside(path).exists()
    )


class NodeCache:
    """Headers that were read before, good as long as the file has not changed since."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[tuple[int, ...], Node]] = {}

    def read(self, directory: Path, uuid: str) -> Node:
        """As ``read_node``."""
        stat = vhd_path(directory, uuid).stat()
        stamp = (stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)
        known = self._known.get(uuid)
        if known is not None and known[0] == stamp:
            return known[1]
        node = read_node(directory, uuid)
        # file systems stamp in ticks of some milliseconds: another change within the tick would not show
        if time.time_ns() - max(stat.st_mtime_ns, stat.st_ctime_ns) > _TICK_NS:
            self._known[uuid] = (stamp, node)
        return node

    def keep_only(self, uuids: Iterable[str]) -> None:
        """Forget all others."""
        self._known = {uuid: self._known[uuid] for uuid in uuids if uuid in self._known}


class Tree:
    """Nodes by uuid, with the children of each."""

    def __init__(self, nodes: Iterable[Node], logs: Iterable[str] = ()) -> None:
        self.nodes = {node.uuid: node for node in nodes}
        self.logs = frozenset(logs)
        """uuids that have a changed-block log, with a file or without."""
        self.children: dict[str, list[str]] = {}
        for node in self.nodes.values():
            if node.parent is not None:
                self.children.setdefault(node.parent, []).append(node.uuid)

    @classmethod
    def read(cls, directory: Path, cache: NodeCache) -> Tree:
        """Read all files that changed. Raises BrokenDisk for the first that is broken or lacks its parent,
        FileNotFoundError when there is no directory."""
        names = sorted(entry.name for entry in directory.iterdir())
        logs = {uuid for uuid in map(cbt_uuid, names) if uuid is not None}
        nodes = []
        for uuid in map(vhd_uuid, names):
            if uuid is None:
                continue
            try:
                node = cache.read(directory, uuid)
            except FileNotFoundError:  # removed since it was listed
                continue
            # what is cached about a file does not say whether there is a log beside it
            nodes.append(node if node.tracked == (uuid in logs) else replace(node, tracked=uuid in logs))
        tree = cls(nodes, logs)
        cache.keep_only(tree.nodes)
        for node in tree.nodes.values():
            if node.parent is not None and node.parent not in tree.nodes:
                raise BrokenDisk(node.uuid, f"its parent {node.parent} is missing")
        return tree

    def leaves_under(self, uuid: str) -> Iterator[str]:
        """Nodes without children in the subtree of a node (itself, when it has none)."""
        children = self.children.get(uuid, [])
        if not children:
            yield uuid
        for child in children:
            yield from self.leaves_under(child)


def depth(directory: Path, uuid: str) -> int:
    """Files in the chain of a disk. Raises BrokenDisk, FileNotFoundError; a loop counts as broken."""
    seen: list[str] = []
    current: str | None = uuid
    while current is not None:
        if current in seen:
            raise BrokenDisk(uuid, "its parents form a loop")
        seen.append(current)
        current = read_node(directory, current).parent
    return len(seen)
