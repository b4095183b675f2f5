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
"""Persistence: a snapshot and an append-only journal of commits, one record per transaction.

Every record is one line, ``CRC32 JSON``, written by one ``write``: after ``kill -9`` all acknowledged commits are
there, after a power cut all that were forced to the disk (see ``Sync``). A torn last record is dropped; damage before
it is reported, never skipped. Rows keep their stamps, so that event tokens stay comparable across restarts.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import threading
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

from xapikit.host.store.table import Change, Deletion
from xapikit.host.store.values import persistent_fields

LOG = logging.getLogger(__name__)

Sync: TypeAlias = Literal["commit", "interval", "never"]
SYNC_INTERVAL_SECONDS = 1.0
COMPACT_BYTES = 8 << 20
"""A journal larger than this, and than the last snapshot, is folded into a new snapshot."""
RESERVED_GENERATIONS = 100_000
"""Generations used by what is not persisted (tasks, sessions) must not come again: the counter is kept in steps."""
FORMAT = 1

_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), check_circular=False).encode


class JournalDamaged(Exception):
    """The database of a state directory cannot be read; the text names file and place."""


class StateInUse(Exception):
    """Another server runs on this state directory."""


@dataclass
class StoredRow:
    """A row as persisted: its stamps and its persistent fields."""

    created: int
    modified: int
    fields: dict[str, Any]


@dataclass
class Loaded:
    """What a state directory held."""

    generation: int = 0
    rows: dict[str, dict[str, StoredRow]] = field(default_factory=dict)
    deletions: dict[str, list[Deletion]] = field(default_factory=dict)

    @property
    def fresh(self) -> bool:
        """Nothing was stored yet."""
        return not self.rows


class FileJournal:
    """The database files in one directory, held by one server at a time."""

    def __init__(self, directory: Path, sync: Sync = "interval") -> None:
        self._directory = directory
        self._sync = sync
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._lock_file = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._lock_file)
            raise StateInUse(f"another server runs on {directory.parent}") from None
        self._number = max((_number(path) for path in directory.glob("snapshot-*") if _number(path)), default=0)
        self._file = -1
        self._size = 0
        self._snapshot_size = 0
        self._reserved = 0
        self._dirty = threading.Event()
        self._closed = threading.Event()
        self._rows: Callable[[], Iterator[tuple[str, str, StoredRow]]] | None = None

    # loading -----------------------------------------------------------------------------------------------------

    def load(self) -> Loaded:
        """Read snapshot and journal and open the journal for appending. Raises JournalDamaged."""
        loaded = Loaded()
        snapshot = self._path("snapshot")
        if self._number:
            self._snapshot_size = snapshot.stat().st_size
            for record in _records(snapshot, whole=True):
                _apply_snapshot(loaded, record)
        journal = self._path("journal")
        end = 0
        if journal.exists():
            for record in _records(journal, whole=False):
                end = record["end"]
                _apply_commit(loaded, record)
        self._file = os.open(journal, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        if os.fstat(self._file).st_size != end:
            LOG.warning("dropped an unfinished record at the end of %s", journal)
            os.ftruncate(self._file, end)
        self._size = end
        self._reserved = loaded.generation
        if self._sync == "interval":
            threading.Thread(target=self._flush, name="xapi-journal", daemon=True).start()
        return loaded

    def rows_from(self, rows: Callable[[], Iterator[tuple[str, str, StoredRow]]]) -> None:
        """Where a new snapshot takes its rows from."""
        self._rows = rows

    # writing -----------------------------------------------------------------------------------------------------

    def append(self, first: int, changes: Iterable[Change]) -> None:
        """Make one commit durable; its changes have the generations from ``first`` on. Raises OSError."""
        if self._closed.is_set():
            raise OSError("the database is closed: the server stops")
        items: list[list[Any]] = []
        last = first - 1
        for last, change in enumerate(changes, first):
            item = _item(last, change)
            if item is not None:
                items.append(item)
        reserve = last > self._reserved
        if not items and not reserve:
            return
        record: dict[str, Any] = {"c": items}
        if reserve:
            self._reserved = record["r"] = last + RESERVED_GENERATIONS
        self._write(_line(record))

    def compact_if_large(self, generation: int) -> None:
        """Fold a large journal into a new snapshot; the caller keeps commits out."""
        if self._size > COMPACT_BYTES and self._size > self._snapshot_size:
            self.compact(generation)

    def compact(self, generation: int) -> None:
        """Write a snapshot and start an empty journal. Raises OSError; the old files stay valid until the end."""
        assert self._rows is not None
        number = self._number + 1
        snapshot = self._directory / f"snapshot-{number:06d}"
        temporary = snapshot.with_suffix(".new")
        with temporary.open("wb") as file:
            os.fchmod(file.fileno(), 0o600)
            file.write(_line({"format": FORMAT, "generation": generation}))
            rows = 0
            for class_name, ref, row in self._rows():
                file.write(_line({"row": [class_name, ref, row.created, row.modified, row.fields]}))
                rows += 1
            file.write(_line({"rows": rows}))
            file.flush()
            os.fsync(file.fileno())
            size = file.tell()
        journal = self._directory / f"journal-{number:06d}"
        new_file = os.open(journal, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC, 0o600)
        temporary.rename(snapshot)
        _sync_directory(self._directory)
        old = [self._path("snapshot"), self._path("journal")]
        os.close(self._file)
        self._number, self._file, self._size, self._snapshot_size = number, new_file, 0, size
        self._reserved = generation
        for path in old:
            path.unlink(missing_ok=True)

    def close(self) -> None:
        """Force everything to the disk and let go of the directory. A second call does nothing."""
        if self._closed.is_set():
            return
        self._closed.set()
        self._dirty.set()
        if self._file >= 0:
            os.fsync(self._file)
            os.close(self._file)
            self._file = -1
        os.close(self._lock_file)

    # inside ------------------------------------------------------------------------------------------------------

    def _path(self, kind: str) -> Path:
        return self._directory / f"{kind}-{self._number:06d}"

    def _write(self, line: bytes) -> None:
        try:
            written = os.write(self._file, line)
            if written != len(line):
                raise OSError(f"wrote {written} of {len(line)} bytes to the journal: is the disk full?")
            if self._sync == "commit":
                os.fdatasync(self._file)
        except OSError:
            # the commit fails: nothing of it may be found by the next start
            os.ftruncate(self._file, self._size)
            raise
        self._size += len(line)
        self._dirty.set()

    def _flush(self) -> None:
        while not self._closed.is_set():
            self._dirty.wait()
            self._dirty.clear()
            if self._closed.wait(SYNC_INTERVAL_SECONDS):
                return
            file = self._file
            try:
                os.fdatasync(file)
            except OSError as error:  # the file was just replaced by a snapshot, which is synced itself
                LOG.debug("journal not synced: %s", error)


def _item(generation: int, change: Change) -> list[Any] | None:
    """``[generation, class, ref, fields or None]``; None when nothing of the change is persistent."""
    fields = persistent_fields(change.class_name)
    if not fields:
        return None
    if change.after is None:
        return [generation, change.class_name, change.ref, None]
    if change.before is None:
        return [generation, change.class_name, change.ref, {k: v for k, v in change.after.items() if k in fields}, 1]
    before = change.before
    delta = {k: v for k, v in change.after.items() if k in fields and v != before[k]}
    return [generation, change.class_name, change.ref, delta] if delta else None


def _apply_snapshot(loaded: Loaded, record: Mapping[str, Any]) -> None:
    if "row" in record:
        class_name, ref, created, modified, fields = record["row"]
        loaded.rows.setdefault(class_name, {})[ref] = StoredRow(created, modified, fields)
    elif "format" in record:
        if record["format"] != FORMAT:
            raise JournalDamaged(f"database format {record['format']} is not known to this version ({FORMAT})")
        loaded.generation = record["generation"]


def _apply_commit(loaded: Loaded, record: Mapping[str, Any]) -> None:
    loaded.generation = max(loaded.generation, record.get("r", 0))
    for generation, class_name, ref, fields, *new in record["c"]:
        rows = loaded.rows.setdefault(class_name, {})
        loaded.generation = max(loaded.generation, generation)
        if fields is None:
            gone = rows.pop(ref)
            loaded.deletions.setdefault(class_name, []).append(Deletion(ref, gone.created, generation))
        elif new:
            rows[ref] = StoredRow(generation, generation, fields)
        else:
            row = rows[ref]
            row.fields.update(fields)
            row.modified = generation


def _line(record: Mapping[str, Any]) -> bytes:
    body = _json(record).encode("utf-8", "surrogatepass")
    return b"%08x %b\n" % (zlib.crc32(body), body)


def _records(path: Path, *, whole: bool) -> Iterator[dict[str, Any]]:
    """The records of a file, each with its ``end`` offset. A bad last line ends a journal; elsewhere it is damage."""
    data = path.read_bytes()
    position = 0
    promised: int | None = None
    rows = 0
    while position < len(data):
        newline = data.find(b"\n", position)
        record = _parse(data[position:newline]) if newline >= 0 else None
        if record is None:
            rest = data[newline + 1 :] if newline >= 0 else b""
            if whole or any(_parse(line) is not None for line in rest.split(b"\n") if line):
                raise JournalDamaged(f"{path}: the record at byte {position} is damaged")
            return
        position = newline + 1
        rows += "row" in record
        promised = record.get("rows", promised)
        record["end"] = position
        yield record
    if whole and promised != rows:
        raise JournalDamaged(f"{path}: {rows} rows of {promised} are there")


def _parse(line: bytes) -> dict[str, Any] | None:
    if len(line) < 10 or line[8:9] != b" ":
        return None
    try:
        if int(line[:8], 16) != zlib.crc32(line[9:]):
            return None
        record = json.loads(line[9:])
    except ValueError:
        return None
    return record if isinstance(record, dict) else None


def _number(path: Path) -> int:
    text = path.name.rpartition("-")[2]
    return int(text) if text.isdigit() else 0


def _sync_directory(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
