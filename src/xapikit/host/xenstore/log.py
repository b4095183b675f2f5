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
"""Keeps a XenStore: one line per edit, appended before the edit is seen, so a killed server loses none.

The file starts with a line for the whole tree; it is written anew when it has grown.
"""

from __future__ import annotations

import errno
import json
import logging
import os
from io import FileIO
from pathlib import Path
from typing import Any, Final

from xapikit.host.xenstore.node import DOM0_ONLY, Node, Perms, XenstoreError, parse_perms, perms_texts
from xapikit.host.xenstore.store import Step, applied

LOG = logging.getLogger(__name__)

SMALLEST_REWRITE: Final = 4 << 20
"""Bytes below which the file is never written anew while the server runs."""
_WORTHWHILE: Final = 4
"""It is written anew when it has this many times the bytes of the tree that it begins with."""


class FileLog:
    """``file`` is made when absent. ``root`` is the tree that it held."""

    def __init__(self, file: Path) -> None:
        self._file = file
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.root, first, whole = _load(file)
        self._stream: FileIO | None = None
        if whole > max(_WORTHWHILE * first, SMALLEST_REWRITE) or not first:
            self._rewrite(self.root)
        else:
            self._base, self._size = first, whole
            self._stream = self._open()
            self._stream.truncate(whole)  # what was being written when the server was killed is no edit

    def append(self, domid: int, steps: list[Step], root: Node) -> None:
        line = _line(domid, steps)
        if self._stream is None or self._stream.closed:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF), str(self._file))
        if self._stream.write(line) != len(line):
            self._stream.truncate(self._size)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self._file))
        self._size += len(line)
        if self._size > max(SMALLEST_REWRITE, _WORTHWHILE * self._base):
            try:
                self._rewrite(root)
            except OSError as error:
                LOG.warning("%s grows on: %s", self._file, error)
                self._base = self._size

    def close(self) -> None:
        if self._stream is not None:
            self._stream.close()

    def _rewrite(self, root: Node) -> None:
        line = _line(0, [("graft", "/", root)])
        new = self._file.with_suffix(".new")
        new.write_bytes(line)
        new.replace(self._file)
        self._base = self._size = len(line)
        if self._stream is not None:
            self._stream.close()
        self._stream = self._open()

    def _open(self) -> FileIO:
        # unbuffered: what was written is the kernel's when the call returns
        return self._file.open("ab", buffering=0)


def _load(file: Path) -> tuple[Node, int, int]:
    """The tree, the bytes of the first line, and the bytes up to the end of the last whole one."""
    root, first, whole = Node(b"", DOM0_ONLY), 0, 0
    if not file.exists():
        return root, first, whole
    with file.open("rb") as stream:
        for number, line in enumerate(stream, 1):
            if not line.endswith(b"\n"):
                LOG.warning("%s ends in the middle of line %d", file, number)
                break
            try:
                domid, items = json.loads(line)
                steps = [_unpacked_step(item) for item in items]
            except (ValueError, TypeError, KeyError, IndexError, XenstoreError) as error:
                LOG.error("%s cannot be read from line %d on: %s", file, number, error)
                break
            for step in steps:
                root = applied(root, step, domid)
            whole += len(line)
            first = first or whole
    return root, first, whole


def _line(domid: int, steps: list[Step]) -> bytes:
    return json.dumps([domid, [_step(step) for step in steps]], separators=(",", ":")).encode() + b"\n"


def _step(step: Step) -> list[Any]:
    kind, path, given = step
    match given:
        case bytes():
            return [kind, path, given.decode("latin-1")]
        case Node():
            return [kind, path, _packed(given, ())]
        case tuple():
            return [kind, path, perms_texts(given)]
    return [kind, path]


def _unpacked_step(item: list[Any]) -> Step:
    kind, path = str(item[0]), str(item[1])
    match kind:
        case "write":
            return kind, path, item[2].encode("latin-1")
        case "graft":
            return kind, path, _unpacked(item[2], DOM0_ONLY)
        case "perms":
            return kind, path, parse_perms(item[2])
    return kind, path, None


def _packed(node: Node, above: Perms) -> Any:
    """A leaf with the permissions of its parent is its value; everything else ``[value, permissions, children]``."""
    value = node.value.decode("latin-1")
    if not node.children and node.perms == above:
        return value
    perms = perms_texts(node.perms) if node.perms != above else []
    return [value, perms, {name: _packed(child, node.perms) for name, child in node.children.items()}]


def _unpacked(data: Any, above: Perms) -> Node:
    if isinstance(data, str):
        return Node(data.encode("latin-1"), above)
    value, texts, children = data
    perms = parse_perms(texts) if texts else above
    below = {name: _unpacked(child, perms) for name, child in children.items()}
    return Node(value.encode("latin-1"), perms, below) if below else Node(value.encode("latin-1"), perms)
