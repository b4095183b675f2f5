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
"""Nodes of a tree that never change: an edit makes new ones from the changed place up to the root.

So a snapshot is a reference, and a transaction is a root of its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Final, TypeAlias

LONGEST_ABSOLUTE: Final = 3072
LONGEST_RELATIVE: Final = 2048
_NO_CHILDREN: Final[Mapping[str, Node]] = MappingProxyType({})
_PATH = re.compile(r"/|(/[A-Za-z0-9_@-]+)+", re.ASCII)
_PERMISSION = re.compile(r"([nrwb])(\d{1,5})", re.ASCII)

Perms: TypeAlias = tuple[tuple[str, int], ...]
"""(letter, domain id) pairs. The first names the owner, who may do everything, and what all others may do; letters are
n nothing, r read, w write, b both."""

DOM0_ONLY: Final[Perms] = (("n", 0),)


class XenstoreError(Exception):
    """A refusal. ``name`` is what the protocol calls it, for example ``ENOENT``."""

    def __init__(self, name: str, path: str = "") -> None:
        self.name = name
        self.path = path
        super().__init__(f"{name}: {path}" if path else name)


class Node:
    """One node. Treat it as frozen."""

    __slots__ = ("children", "perms", "value")

    def __init__(self, value: bytes, perms: Perms, children: Mapping[str, Node] = _NO_CHILDREN) -> None:
        self.value = value
        self.perms = perms
        self.children = children


def check_path(path: str) -> str:
    """The absolute path, if it is one. Raises XenstoreError EINVAL."""
    if len(path) > LONGEST_ABSOLUTE or not _PATH.fullmatch(path):
        raise XenstoreError("EINVAL", path)
    return path


def parts_of(path: str) -> list[str]:
    """Names from the root down to a checked path."""
    return path[1:].split("/") if path != "/" else []


def parse_perms(texts: list[str]) -> Perms:
    """Read ``["n0", "r5"]``. Raises XenstoreError EINVAL."""
    found = [_PERMISSION.fullmatch(text) for text in texts]
    if not found or None in found:
        raise XenstoreError("EINVAL", " ".join(texts))
    return tuple((match[1], int(match[2])) for match in found if match is not None)


def perms_texts(perms: Perms) -> list[str]:
    return [f"{letter}{domid}" for letter, domid in perms]


def may(perms: Perms, domid: int, letter: str) -> bool:
    """Whether a domain may read (``r``) or write (``w``)."""
    if domid in (0, perms[0][1]):
        return True
    given = next((given for given, other in perms[1:] if other == domid), perms[0][0])
    return given in (letter, "b")


def find(root: Node, path: str) -> Node | None:
    """The node at a checked path."""
    node: Node | None = root
    for name in parts_of(path):
        node = node.children.get(name) if node is not None else None
    return node


def nearest(root: Node, path: str) -> Node:
    """The node at a checked path, or the deepest of its ancestors that exists."""
    node = root
    for name in parts_of(path):
        child = node.children.get(name)
        if child is None:
            break
        node = child
    return node


def placed(root: Node, path: str, new: Node, *, parents: Perms) -> Node:
    """A tree with ``new`` at the path; missing nodes above it get the permissions ``parents``."""
    return _placed(root, parts_of(path), 0, new, parents)


def _placed(node: Node | None, parts: list[str], depth: int, new: Node, parents: Perms) -> Node:
    if depth == len(parts):
        return new
    children = dict(node.children) if node is not None else {}
    name = parts[depth]
    children[name] = _placed(children.get(name), parts, depth + 1, new, parents)
    return Node(node.value, node.perms, children) if node is not None else Node(b"", parents, children)


def without(root: Node, path: str) -> Node:
    """A tree without the node at the path, which exists and is not the root."""
    return _without(root, parts_of(path), 0)


def _without(node: Node, parts: list[str], depth: int) -> Node:
    children = dict(node.children)
    name = parts[depth]
    if depth == len(parts) - 1:
        del children[name]
    else:
        children[name] = _without(children[name], parts, depth + 1)
    return Node(node.value, node.perms, children)


def walk(node: Node, path: str) -> Iterator[tuple[str, Node]]:
    """The node and all below it, with their paths."""
    yield path, node
    for name, child in node.children.items():
        yield from walk(child, f"{path.rstrip('/')}/{name}")


def count_owned(node: Node, domid: int) -> int:
    """How many nodes of a subtree a domain owns."""
    return (node.perms[0][1] == domid) + sum(count_owned(child, domid) for child in node.children.values())
