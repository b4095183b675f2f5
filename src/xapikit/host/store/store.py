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
"""The database of one pool: committed rows, the commit itself, waiting for changes."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol, TypeAlias, TypeVar

from xapikit.host.errors import ApiError
from xapikit.host.store.journal import FileJournal, StoredRow
from xapikit.host.store.loading import filled_tables
from xapikit.host.store.table import Change, Entry, Row, Table
from xapikit.host.store.transaction import Transaction, View, targets
from xapikit.host.store.values import STORED_CLASSES, persistent_fields

T = TypeVar("T")

Deriver: TypeAlias = Callable[[View, str, Row], Any]
"""Computes one field of a row: (view, reference, row) -> value."""

Via: TypeAlias = "str | Callable[[View, Row], Iterable[str]]"
"""How a row of another class names the rows it matters to: a field, or a function of (view, row)."""


@dataclass(frozen=True)
class Commit:
    """What one transaction did. ``generation`` is the counter after it."""

    generation: int
    changes: tuple[Change, ...]
    touched: tuple[tuple[str, str], ...] = ()


class Journal(Protocol):
    """Where commits are made durable before anybody sees them."""

    def append(self, first: int, changes: Iterable[Change]) -> None: ...
    def compact_if_large(self, generation: int) -> None: ...
    def close(self) -> None: ...


@dataclass(frozen=True)
class _Derivation:
    class_name: str
    field: str
    compute: Deriver
    via: Mapping[str, Via]


class Watch:
    """Wakes one thread when rows of the classes it watches change. A context manager; see ``Store.watch``."""

    def __init__(self, store: Store, classes: frozenset[str]) -> None:
        self._store = store
        self.classes = classes
        self._event = threading.Event()

    def wait(self, timeout: float | None) -> bool:
        """Block until something changed since the last ``wait`` (or ``wake`` was called); False after ``timeout`` s."""
        if not self._event.wait(timeout):
            return False
        self._event.clear()
        return True

    def clear(self) -> None:
        """Forget changes up to now: call it before reading, so that what comes later wakes ``wait``."""
        self._event.clear()

    def wake(self) -> None:
        """Let ``wait`` return although nothing changed."""
        self._event.set()

    def __enter__(self) -> Watch:
        self._store._add_watch(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._store._remove_watch(self)


class Store:
    """Rows of all classes. Reads need no transaction and give immutable snapshots; writes go through one."""

    def __init__(self, *, journal: Journal | None = None, new_uuid: Callable[[], str] | None = None) -> None:
        self._journal = journal
        self._new_uuid = new_uuid or (lambda: str(uuid.uuid4()))
        self._tables = {name: Table(name) for name in STORED_CLASSES}
        self._generation = 0
        self._writer = threading.RLock()
        # held only while a commit is being made visible, or while somebody reads several rows at once
        self._state = threading.Condition(threading.RLock())
        self._current: Transaction | None = None
        self._derivations: list[_Derivation] = []
        self._listeners: list[Callable[[Commit], None]] = []
        self._watches: dict[str, set[Watch]] = {}
        self._sealed = False

    # reading -----------------------------------------------------------------------------------------------------

    @property
    def generation(self) -> int:
        """Grows with every row created, changed or deleted."""
        return self._generation

    def get(self, class_name: str, ref: str) -> Row:
        """The row. Raises ApiError HANDLE_INVALID."""
        entry = self._tables[class_name].entries.get(ref)
        if entry is None:
            raise ApiError("HANDLE_INVALID", class_name, ref)
        return entry.row

    def peek(self, class_name: str, ref: str) -> Row | None:
        """The row, or None."""
        entry = self._tables[class_name].entries.get(ref)
        return entry.row if entry is not None else None

    def all(self, class_name: str) -> dict[str, Row]:
        """All rows of a class by reference, oldest first."""
        with self._state:
            return {ref: entry.row for ref, entry in self._tables[class_name].entries.items()}

    def find(self, class_name: str, **fields: Any) -> dict[str, Row]:
        """Rows whose fields equal the given values, by reference: ``store.find("VM", name_label="a")``."""
        wanted = fields.get("uuid")
        if wanted is not None:
            ref = self.by_uuid(class_name, wanted)
            rows = {} if ref is None else {ref: self.get(class_name, ref)}
        else:
            rows = self.all(class_name)
        return {ref: row for ref, row in rows.items() if all(row[name] == value for name, value in fields.items())}

    def by_uuid(self, class_name: str, uuid_: str) -> str | None:
        """Reference of the row with that uuid, or None."""
        return self._tables[class_name].by_uuid.get(uuid_)

    def count(self, class_name: str) -> int:
        return len(self._tables[class_name].entries)

    @contextmanager
    def frozen(self) -> Iterator[Mapping[str, Table]]:
        """The tables, with commits kept out for the (short) time of the block. For events and encoders."""
        with self._state:
            yield self._tables

    def entries(self, class_name: str) -> list[tuple[str, Entry]]:
        """All entries of a class, oldest first: rows with their stamps and encoded forms."""
        with self._state:
            return list(self._tables[class_name].entries.items())

    def entry(self, class_name: str, ref: str) -> Entry | None:
        return self._tables[class_name].entries.get(ref)

    # writing -----------------------------------------------------------------------------------------------------

    def new_ref(self) -> str:
        return "OpaqueRef:" + self._new_uuid()

    def new_uuid(self) -> str:
        return self._new_uuid()

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """Change rows: one at a time per store, all or nothing, visible and durable when the block ends.

        Keep the block short: no waiting, no files, no network in it. A transaction inside another one of the same
        thread joins it (its changes alone are undone when it fails and the outer one catches the exception).
        """
        with self._writer:
            outer = self._current
            if outer is not None:
                saved = outer.savepoint()
                try:
                    yield outer
                except BaseException:
                    outer.restore(saved)
                    raise
                return
            tx = self._current = Transaction(self)
            try:
                yield tx
                commit = self._commit(tx)
            finally:
                self._current = None
            if commit is not None:
                for listener in self._listeners:
                    listener(commit)

    def derive(self, class_name: str, field: str, compute: Deriver, *, via: Mapping[str, Via] | None = None) -> None:
        """Have a field computed for each row that a transaction touches, before its commit.

        ``via`` names further classes whose changes matter, with their field that refers to this class, or a function
        from such a row to references: ``store.derive("VDI", "allowed_operations", fn, via={"VBD": "VDI"})``.
        """
        self._derivations.append(_Derivation(class_name, field, compute, dict(via or {})))

    def on_commit(self, listener: Callable[[Commit], None]) -> None:
        """Call ``listener`` after each commit, in order. It must be quick; a transaction inside is a new one."""
        self._listeners.append(listener)

    def rederive(self) -> None:
        """Compute all derived fields of all rows (after loading, when the rules are all registered)."""
        with self.transaction() as tx:
            for rule in self._derivations:
                for ref, row in self.all(rule.class_name).items():
                    # rules look at what is stored, not at each other's results: a view of the store is enough, and
                    # costs nothing for the thousands of rows that this transaction changes
                    tx.set_derived(rule.class_name, ref, rule.field, rule.compute(self, ref, row))
            tx.derived = True

    def seal(self) -> None:
        """Refuse every change of what is kept (HOST_STILL_BOOTING) from now on; tasks and sessions go on. Raises that
        when it is sealed already."""
        with self._writer:
            if self._sealed:
                raise ApiError("HOST_STILL_BOOTING")
            self._sealed = True

    def unseal(self) -> None:
        """The reverse."""
        self._sealed = False

    # persistence -------------------------------------------------------------------------------------------------

    @classmethod
    def open(cls, journal: FileJournal, *, new_uuid: Callable[[], str] | None = None) -> tuple[Store, bool]:
        """A store with what the journal holds, and whether that was nothing. Raises JournalDamaged."""
        loaded = journal.load()
        store = cls(journal=journal, new_uuid=new_uuid)
        store._generation = loaded.generation
        for name, stored in filled_tables(loaded).items():
            store._tables[name] = stored
        journal.rows_from(store._persistent_rows)
        return store, loaded.fresh

    def close(self) -> None:
        """Let go of the journal, between two commits; a commit after that fails with OSError."""
        with self._writer:
            if self._journal is not None:
                self._journal.close()

    def _persistent_rows(self) -> Iterator[tuple[str, str, StoredRow]]:
        for name, table in self._tables.items():
            fields = persistent_fields(name)
            if fields:
                for ref, entry in table.entries.items():
                    kept = {k: v for k, v in entry.row.items() if k in fields}
                    yield name, ref, StoredRow(entry.created, entry.modified, kept)

    # waiting -----------------------------------------------------------------------------------------------------

    def wait(self, predicate: Callable[[], T], timeout: float | None = None) -> T:
        """Block until ``predicate()`` is true after some commit; returns its value (false after ``timeout`` s)."""
        deadline = None if timeout is None else time.monotonic() + timeout
        with self._state:
            while True:
                value = predicate()
                if value:
                    return value
                left = None if deadline is None else deadline - time.monotonic()
                if left is not None and left <= 0:
                    return value
                self._state.wait(left)

    def watch(self, classes: Iterable[str]) -> Watch:
        """A :class:`Watch` over classes (API spelling); enter it before reading what must not change unseen."""
        return Watch(self, frozenset(classes))

    def _add_watch(self, watch: Watch) -> None:
        with self._state:
            for name in watch.classes:
                self._watches.setdefault(name, set()).add(watch)

    def _remove_watch(self, watch: Watch) -> None:
        with self._state:
            for name in watch.classes:
                self._watches[name].discard(watch)

    # the commit --------------------------------------------------------------------------------------------------

    def _commit(self, tx: Transaction) -> Commit | None:
        if not tx.derived:
            self._derive(tx)
        changes = tuple(tx.changes())
        touched = tuple(tx.touched())
        if not changes and not touched:
            return None
        if self._sealed and any(persistent_fields(change.class_name) for change in changes):
            raise ApiError("HOST_STILL_BOOTING")
        first = self._generation + 1
        if self._journal is not None and changes:
            self._journal.append(first, changes)
        with self._state:
            woken: set[str] = set()
            for generation, change in enumerate(changes, first):
                self._tables[change.class_name].apply(change, generation)
                woken.add(change.class_name)
            self._generation += len(changes)
            for class_name, ref in touched:
                if self._tables[class_name].touch(ref, self._generation + 1):
                    self._generation += 1
                    woken.add(class_name)
            self._state.notify_all()
            for name in woken:
                for watch in self._watches.get(name, ()):
                    watch.wake()
        if self._journal is not None:
            self._journal.compact_if_large(self._generation)
        return Commit(self._generation, changes, touched)

    def _derive(self, tx: Transaction) -> None:
        if not self._derivations:
            return
        changes = list(tx.changes())
        for rule in self._derivations:
            for ref in self._affected(tx, rule, changes):
                row = tx.peek(rule.class_name, ref)
                if row is not None:
                    tx.set_derived(rule.class_name, ref, rule.field, rule.compute(tx, ref, row))

    @staticmethod
    def _affected(tx: Transaction, rule: _Derivation, changes: list[Change]) -> dict[str, None]:
        refs: dict[str, None] = {}
        for change in changes:
            if change.class_name == rule.class_name:
                refs[change.ref] = None
            via = rule.via.get(change.class_name)
            if via is None:
                continue
            for row in (change.before, change.after):
                if row is not None:
                    found = targets(row[via]) if isinstance(via, str) else via(tx, row)
                    refs.update(dict.fromkeys(found))
        return refs
