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
"""Rows of one class with their stamps, and the memory of the newest deletions."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

Row: TypeAlias = Mapping[str, Any]
"""An immutable snapshot of an object: never change it, nor the lists and maps in it."""

DELETIONS_KEPT = 512
DELETIONS_AFTER_TRIM = 256


class Entry:
    """A row at one generation. A change makes a new entry, so that a reader may keep the old one."""

    __slots__ = ("created", "encoded", "modified", "row")

    def __init__(self, row: Row, created: int, modified: int) -> None:
        self.row = row
        self.created = created
        self.modified = modified
        self.encoded: dict[str, bytes] = {}
        """The record as bytes, per protocol: filled by whoever encodes it first."""


@dataclass(frozen=True)
class Deletion:
    ref: str
    created: int
    deleted: int


@dataclass(frozen=True)
class Change:
    """What a commit did to one row: ``before`` is None for a new one, ``after`` None for a deleted one."""

    class_name: str
    ref: str
    before: Row | None
    after: Row | None


class Table:
    """The rows of one class. Only the store's commit writes here."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.entries: dict[str, Entry] = {}
        self.by_uuid: dict[str, str] = {}
        self.deletions: deque[Deletion] = deque()
        # keys in the order of their last change, so that "what changed since" does not visit every row
        self._recent: dict[str, None] = {}

    def fill(self, entries: dict[str, Entry]) -> None:
        """Take over rows that were persisted."""
        self.entries = entries
        self.by_uuid = {entry.row["uuid"]: ref for ref, entry in entries.items() if entry.row.get("uuid")}
        self._recent = dict.fromkeys(sorted(entries, key=lambda ref: entries[ref].modified))

    def apply(self, change: Change, generation: int) -> None:
        if change.after is None:
            self.remove(change.ref, generation)
        else:
            self.put(change.ref, change.after, generation)

    def put(self, ref: str, row: Row, generation: int) -> None:
        old = self.entries.get(ref)
        self.entries[ref] = Entry(row, old.created if old else generation, generation)
        self._recent.pop(ref, None)
        self._recent[ref] = None
        uuid = row.get("uuid")
        if old is not None and old.row.get("uuid") != uuid:
            self._forget_uuid(ref, old)
        if uuid:
            self.by_uuid[uuid] = ref

    def touch(self, ref: str, generation: int) -> bool:
        """Stamp a row as changed without changing it (event.inject). False when there is no such row."""
        old = self.entries.get(ref)
        if old is None:
            return False
        self.put(ref, old.row, generation)
        self.entries[ref].encoded = old.encoded
        return True

    def remove(self, ref: str, generation: int) -> None:
        old = self.entries.pop(ref)
        self._recent.pop(ref, None)
        self._forget_uuid(ref, old)
        self.deletions.append(Deletion(ref, old.created, generation))
        if len(self.deletions) > DELETIONS_KEPT:
            while len(self.deletions) > DELETIONS_AFTER_TRIM:
                self.deletions.popleft()

    def changed_since(self, generation: int) -> Iterator[tuple[str, Entry]]:
        """Rows created or modified after a generation, newest change first."""
        for ref in reversed(self._recent):
            entry = self.entries[ref]
            if entry.modified <= generation:
                return
            yield ref, entry

    def deleted_since(self, generation: int) -> Iterator[Deletion]:
        """Remembered deletions of rows that existed at that generation, newest first."""
        for deletion in reversed(self.deletions):
            if deletion.deleted <= generation:
                return
            if deletion.created <= generation:
                yield deletion

    def _forget_uuid(self, ref: str, entry: Entry) -> None:
        uuid = entry.row.get("uuid")
        if uuid and self.by_uuid.get(uuid) == ref:
            del self.by_uuid[uuid]
