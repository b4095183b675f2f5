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
"""One host's XenStore: edits, transactions, permissions, watches, quotas.

Watches are told by the thread that commits, after it let go of the lock: a callback may edit the store itself.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final, Protocol, TypeAlias

from xapikit.host.xenstore import node as nodes
from xapikit.host.xenstore.node import DOM0_ONLY, Node, Perms, XenstoreError

LOG = logging.getLogger(__name__)

LARGEST_VALUE: Final = 4096
"""Bytes of a value: the payload of a message."""
LARGEST_GUEST_VALUE: Final = 2048
MOST_GUEST_NODES: Final = 1000
INTRODUCED: Final = "@introduceDomain"
RELEASED: Final = "@releaseDomain"

Step: TypeAlias = tuple[str, str, object]
"""What an edit did: ``("write", path, bytes)``, ``("mkdir", path, None)``, ``("rm", path, None)``,
``("perms", path, Perms)``, ``("graft", path, Node)``."""


class StepLog(Protocol):
    """Where steps are kept before anybody sees them."""

    def append(self, domid: int, steps: list[Step], root: Node) -> None:
        """Keep the steps of a domain that led to ``root``. Raises OSError."""
        ...

    def close(self) -> None: ...


@dataclass(eq=False)
class Watch:
    """One registered watch. ``fire`` gets the path that changed, made relative when the watch was."""

    path: str
    fire: Callable[[str], None]
    relative_to: str = ""

    def tell(self, path: str) -> None:
        told = path.removeprefix(f"{self.relative_to}/") if self.relative_to else path
        try:
            self.fire(told)
        except Exception:
            LOG.exception("what watches %s failed", self.path)


@dataclass
class Edit:
    """Changes on the way, as one domain is allowed to make them. Made by ``XenStore.edit`` and ``begin``.

    Paths are absolute and are checked here. Every method raises XenstoreError.
    """

    domid: int
    base: Node
    root: Node
    steps: list[Step] = field(default_factory=list)
    seen: set[str] = field(default_factory=set)
    """Paths whose state decided something: a transaction is void when they changed meanwhile."""
    _owned: int = -1
    """Nodes that the domain owns, once somebody had to know."""

    def _find(self, path: str, letter: str) -> Node:
        nodes.check_path(path)
        self.seen.add(path)
        found = nodes.find(self.root, path)
        if not nodes.may((found or nodes.nearest(self.root, path)).perms, self.domid, letter):
            raise XenstoreError("EACCES", path)
        if found is None:
            raise XenstoreError("ENOENT", path)
        return found

    def read(self, path: str) -> bytes:
        return self._find(path, "r").value

    def directory(self, path: str) -> list[str]:
        """Names of the children."""
        return list(self._find(path, "r").children)

    def perms(self, path: str) -> Perms:
        return self._find(path, "r").perms

    def exists(self, path: str) -> bool:
        nodes.check_path(path)
        self.seen.add(path)
        return nodes.find(self.root, path) is not None

    def subtree(self, path: str) -> Node:
        """The node with all below it, whoever owns that."""
        return self._find(path, "r")

    def write(self, path: str, value: bytes | str) -> None:
        content = value.encode() if isinstance(value, str) else value
        if len(content) > (LARGEST_GUEST_VALUE if self.domid else LARGEST_VALUE):
            raise XenstoreError("ENOSPC", path)
        self._make(path)
        self._do(("write", path, content))

    def mkdir(self, path: str) -> None:
        """Make a node; one that exists stays as it is."""
        nodes.check_path(path)
        if nodes.find(self.root, path) is None:
            self._make(path)
            self._do(("mkdir", path, None))
        else:
            self._find(path, "w")

    def rm(self, path: str) -> None:
        """Remove a node and all below it. Nothing happens when it does not exist while its parent does."""
        nodes.check_path(path)
        if path == "/":
            raise XenstoreError("EINVAL", path)
        parent = path.rpartition("/")[0] or "/"
        try:
            self._find(path, "w")
        except XenstoreError as error:
            if error.name == "ENOENT" and nodes.find(self.root, parent) is not None:
                return
            raise
        self._do(("rm", path, None))

    def set_perms(self, path: str, perms: Perms) -> None:
        found = self._find(path, "w")
        owner = found.perms[0][1]
        if self.domid and (owner != self.domid or perms[0][1] != owner):
            raise XenstoreError("EPERM", path)
        self._do(("perms", path, perms))

    def graft(self, path: str, subtree: Node) -> None:
        """Put a built subtree in place of whatever is there; for the toolstack."""
        nodes.check_path(path)
        self._do(("graft", path, subtree))

    def _make(self, path: str) -> None:
        nodes.check_path(path)
        found = nodes.find(self.root, path)
        if not nodes.may((found or nodes.nearest(self.root, path)).perms, self.domid, "w"):
            raise XenstoreError("EACCES", path)
        if self.domid and found is None:
            if self._owned < 0:
                home = nodes.find(self.root, home_of(self.domid))
                self._owned = nodes.count_owned(home, self.domid) if home is not None else 0
            self._owned += 1
            if self._owned > MOST_GUEST_NODES:
                raise XenstoreError("ENOSPC", path)

    def _do(self, step: Step) -> None:
        self.root = applied(self.root, step, self.domid)
        self.steps.append(step)


def home_of(domid: int) -> str:
    """Where relative paths of a domain begin."""
    return f"/local/domain/{domid}"


def applied(root: Node, step: Step, domid: int = 0) -> Node:
    """The tree after a step. New nodes get the permissions of their nearest ancestor and, when a guest makes them,
    that guest as owner."""
    kind, path, given = step
    if kind == "rm":
        return nodes.without(root, path) if nodes.find(root, path) is not None else root
    found = nodes.find(root, path)
    perms = nodes.nearest(root, path).perms
    if domid and found is None:
        perms = ((perms[0][0], domid), *perms[1:])
    match kind, given:
        case "write", bytes():
            new = Node(given, perms, found.children) if found is not None else Node(given, perms)
        case "mkdir", None:
            new = found or Node(b"", perms)
        case "perms", tuple() if found is not None:
            new = Node(found.value, given, found.children)
        case "graft", Node():
            new = given
        case _:
            return root
    return nodes.placed(root, path, new, parents=perms)


class XenStore:
    """The store of one host. Safe from any thread."""

    def __init__(self, *, root: Node | None = None, log: StepLog | None = None) -> None:
        self._lock = threading.Lock()
        self._root = root or Node(b"", DOM0_ONLY)
        self._log = log
        self._watches: dict[str, list[Watch]] = {}
        self._listeners: list[Callable[[Edit], None]] = []

    @property
    def root(self) -> Node:
        """The tree now, as a snapshot."""
        return self._root

    def find(self, path: str) -> Node | None:
        """The node at a checked path, as dom0 sees it."""
        return nodes.find(self._root, path)

    def value(self, path: str, default: str = "") -> str:
        """A value as text, as dom0 sees it."""
        found = self.find(path)
        return found.value.decode("utf-8", "replace") if found is not None else default

    # edits -------------------------------------------------------------------------------------------------------

    @contextmanager
    def edit(self, domid: int = 0) -> Iterator[Edit]:
        """Read and change the tree, alone in it for the (short) time of the block; all or nothing."""
        with self._lock:
            edit = Edit(domid, self._root, self._root)
            yield edit
            before = self._install(edit, edit.root)
        self._fire(before, edit)

    def begin(self, domid: int) -> Edit:
        """A transaction: it sees the tree as it is now, until ``commit``."""
        root = self._root
        return Edit(domid, root, root)

    def commit(self, edit: Edit) -> None:
        """Raises XenstoreError EAGAIN when what it looked at was changed by others meanwhile."""
        with self._lock:
            root = edit.root
            if self._root is not edit.base:
                if any(_differs(edit.base, self._root, path) for path in edit.seen):
                    raise XenstoreError("EAGAIN")
                root = self._root
                for step in edit.steps:
                    root = applied(root, step, edit.domid)
            before = self._install(edit, root)
        self._fire(before, edit)

    def _install(self, edit: Edit, root: Node) -> Node:
        before = self._root
        if edit.steps:
            if self._log is not None:
                try:
                    self._log.append(edit.domid, edit.steps, root)
                except OSError as error:
                    LOG.error("XenStore cannot be written: %s", error)
                    raise XenstoreError("ENOSPC") from error
            self._root = root
        return before

    def close(self) -> None:
        """Edits fail from now on when there is a log."""
        with self._lock:
            if self._log is not None:
                self._log.close()

    # watches -----------------------------------------------------------------------------------------------------

    def watch(self, path: str, fire: Callable[[str], None], *, relative_to: str = "") -> Watch:
        """Have changes at and below a path told. Unlike over the wire nothing is told at once."""
        if path not in (INTRODUCED, RELEASED):
            nodes.check_path(path)
        watch = Watch(path, fire, relative_to)
        with self._lock:
            self._watches.setdefault(path, []).append(watch)
        return watch

    def on_commit(self, listener: Callable[[Edit], None]) -> None:
        """Have each edit that changed something told, once and after the fact."""
        self._listeners.append(listener)

    def unwatch(self, watch: Watch) -> None:
        """Does nothing when it is not registered any more."""
        with self._lock:
            there = self._watches.get(watch.path, [])
            if watch in there:
                there.remove(watch)
                if not there:
                    del self._watches[watch.path]

    def announce(self, special: str) -> None:
        """Tell watches of ``@introduceDomain`` or ``@releaseDomain``."""
        with self._lock:
            told = list(self._watches.get(special, ()))
        for watch in told:
            watch.tell(special)

    def _fire(self, before: Node, edit: Edit) -> None:
        if not edit.steps:
            return
        for watch, path in self._told(before, edit.steps):
            watch.tell(path)
        for listener in self._listeners:
            listener(edit)

    def _told(self, before: Node, steps: list[Step]) -> dict[tuple[Watch, str], None]:
        told: dict[tuple[Watch, str], None] = {}
        with self._lock:
            for kind, path, given in steps if self._watches else ():
                for above in _ancestors(path):
                    told.update(dict.fromkeys((watch, path) for watch in self._watches.get(above, ())))
                if kind in ("rm", "graft"):
                    # what is watched there is looked up, since there are far more watches than nodes of a subtree
                    for subtree in (nodes.find(before, path), given):
                        for below, _ in nodes.walk(subtree, path) if isinstance(subtree, Node) else ():
                            told.update(dict.fromkeys((watch, below) for watch in self._watches.get(below, ())))
        return told


def _ancestors(path: str) -> Iterator[str]:
    yield path
    while path.rfind("/") > 0:
        path = path[: path.rfind("/")]
        yield path
    if path != "/":
        yield "/"


def _differs(before: Node, now: Node, path: str) -> bool:
    old, new = nodes.find(before, path), nodes.find(now, path)
    if old is None or new is None:
        return old is not new
    return old is not new and (
        old.value != new.value or old.perms != new.perms or old.children.keys() != new.children.keys()
    )
