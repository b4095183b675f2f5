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
"""Changed-block logs: which 64 KiB blocks of a disk were written since its last snapshot.

A log is ``<uuid>.cbtlog`` beside the disk: uuid of the log before it and of the one after it, a mark whether it tells
the truth, the size of the disk, and a bitmap, as the storage manager's ``cbt-util`` has it (its header file is the
reference). The log of a snapshot says what was written to the disk before it, since the snapshot that is its parent;
the chain ends in the log of the disk itself, which :class:`ChangeTracker` keeps while the disk is open for writing.

This module knows files only: whose log is whose, and when, is the business of :mod:`.tracking`.
"""

from __future__ import annotations

import mmap
import os
import struct
import threading
import uuid as uuids
from dataclasses import dataclass
from pathlib import Path

from xapikit.host.storage.names import CBT_SUFFIX, is_uuid

BLOCK = 64 << 10
"""Bytes that one bit stands for."""

_HEADER = struct.Struct("<16s16sI4xQ")
_CONSISTENT = struct.Struct("<I")
_CONSISTENT_AT = 32
_NOBODY = bytes(16)
_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


class DamagedLog(OSError):
    """A file that is no changed-block log, or one that contradicts itself or its neighbours."""

    def __init__(self, path: Path, why: str) -> None:
        self.path = path
        self.why = why
        super().__init__(f"{path}: {why}")


@dataclass(frozen=True)
class Log:
    """Header of a log."""

    parent: str | None
    """uuid of the log before it."""
    child: str | None
    """uuid of the log after it."""
    consistent: bool
    """False while the disk is open for writing, and when it was not closed in good order."""
    size: int
    """Bytes of the disk."""


def log_path(directory: Path, uuid: str) -> Path:
    """Path of the log of a VDI. Raises ValueError for anything but a uuid."""
    if not is_uuid(uuid):
        raise ValueError(f"{uuid!r} is not the uuid of a VDI")
    return directory / (uuid + CBT_SUFFIX)


def beside(disk: Path) -> Path:
    """Path that the log of a disk has, whether there is one or not."""
    return disk.with_suffix(CBT_SUFFIX)


def bitmap_bytes(size: int) -> int:
    """Length of the bitmap of a disk of ``size`` bytes."""
    return -(-size // (BLOCK * 8))


def read(path: Path) -> Log:
    """Raises DamagedLog, FileNotFoundError."""
    return _read(path)[0]


def _read(path: Path) -> tuple[Log, bytes]:
    data = path.read_bytes()
    if len(data) < _HEADER.size:
        raise DamagedLog(path, "it is shorter than its header")
    parent, child, consistent, size = _HEADER.unpack_from(data)
    if len(data) < _HEADER.size + bitmap_bytes(size):
        raise DamagedLog(path, f"its bitmap is too short for a disk of {size} bytes")
    log = Log(_name(parent), _name(child), bool(consistent), size)
    return log, data[_HEADER.size : _HEADER.size + bitmap_bytes(size)]


def _name(raw: bytes) -> str | None:
    return None if raw == _NOBODY else str(uuids.UUID(bytes=raw))


def write(path: Path, log: Log, bitmap: bytes) -> None:
    """Write a whole log; readers find the old one or the new one. Raises OSError."""
    temporary = path.with_name(f".{path.name}.new")
    raw = (uuids.UUID(name).bytes if name is not None else _NOBODY for name in (log.parent, log.child))
    temporary.write_bytes(_HEADER.pack(*raw, log.consistent, log.size) + bitmap.ljust(bitmap_bytes(log.size), b"\0"))
    temporary.replace(path)


def create(path: Path, size: int, *, consistent: bool, parent: str | None = None) -> None:
    """A log of a disk that nothing was written to yet. Raises OSError."""
    write(path, Log(parent, None, consistent, size), b"")


def relink(path: Path, *, parent: str | None, child: str | None) -> None:
    """Give a log other neighbours, without touching its bitmap. Nothing happens when there is no such log."""
    raw = (uuids.UUID(name).bytes if name is not None else _NOBODY for name in (parent, child))
    _poke(path, 0, b"".join(raw))


def set_consistent(path: Path, consistent: bool) -> None:
    """Set or clear the mark that the bitmap tells the truth."""
    _poke(path, _CONSISTENT_AT, _CONSISTENT.pack(consistent))


def _poke(path: Path, offset: int, data: bytes) -> None:
    # in place: a tracker may have the file mapped
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)


def resize(path: Path, size: int) -> None:
    """Follow a disk that grew; what is new of it counts as unwritten. Raises DamagedLog, OSError."""
    log, bitmap = _read(path)
    write(path, Log(log.parent, log.child, log.consistent, size), bitmap)


def snapshot(directory: Path, leaf: str, new: str, *, consistent: bool) -> None:
    """The log of the disk becomes that of its snapshot ``new``, and the disk gets an empty one. The disk is closed.

    Cut short anywhere, it is undone by ``remove(directory, new)``. Raises DamagedLog, OSError.
    """
    path = log_path(directory, leaf)
    log, bitmap = _read(path)
    write(log_path(directory, new), Log(log.parent, leaf, True, log.size), bitmap)
    _hand_on(directory, log.parent, child=new)
    write(path, Log(new, log.child, consistent, log.size), b"")  # it has a child where it is a snapshot itself


def remove(directory: Path, uuid: str) -> None:
    """Take a log out of its chain: what it tells of goes to the log after it, whose disk must be closed.

    Nothing happens when there is none. Raises OSError; a log that cannot be read goes without a trace.
    """
    path = log_path(directory, uuid)
    try:
        log, bitmap = _read(path)
    except FileNotFoundError:
        return
    except DamagedLog:
        path.unlink()
        return
    child = log.child if log.child is not None and log_path(directory, log.child).exists() else None
    if child is not None:
        below, written = _read(log_path(directory, child))
        merged = int.from_bytes(written, "little") | int.from_bytes(bitmap, "little")
        kept = merged.to_bytes(max(len(written), len(bitmap)), "little")[: bitmap_bytes(below.size)]
        write(log_path(directory, child), Log(log.parent, below.child, below.consistent, below.size), kept)
    _hand_on(directory, log.parent, child=child)
    path.unlink()


def detach(directory: Path, uuid: str) -> None:
    """Remove the log at the end of a chain, as VDI.disable_cbt does: the one before it ends the chain then."""
    path = log_path(directory, uuid)
    try:
        parent = read(path).parent
    except (DamagedLog, FileNotFoundError):
        parent = None
    path.unlink(missing_ok=True)
    _hand_on(directory, parent, child=None)


def _hand_on(directory: Path, parent: str | None, *, child: str | None) -> None:
    if parent is not None:
        path = log_path(directory, parent)
        try:
            relink(path, parent=read(path).parent, child=child)
        except FileNotFoundError:  # a chain may begin with a log that is gone
            return


def changed_blocks(directory: Path, first: str, last: str) -> bytes | None:
    """Blocks that differ between two snapshots (or a snapshot and its disk): a bit per block, the highest bit of a
    byte first. None when ``last`` does not come after ``first``. Raises DamagedLog."""
    merged, size = 0, 0
    current = first
    seen = {first}
    while current != last:
        try:
            after = read(log_path(directory, current)).child
            if after is None or after in seen:
                return None
            path = log_path(directory, after)
            log, bitmap = _read(path)
        except FileNotFoundError:
            return None
        if log.size < size:
            raise DamagedLog(path, f"its disk of {log.size} bytes is smaller than the one before, of {size}")
        merged, size = merged | int.from_bytes(bitmap, "little"), log.size
        seen.add(after)
        current = after
    return merged.to_bytes(bitmap_bytes(size), "little").translate(_REVERSED) if size else None


class ChangeTracker:
    """The log of a disk that is open for writing, mapped into memory: a bit is set before its block is written, so
    that a killed process leaves a log that tells the truth."""

    def __init__(self, path: Path) -> None:
        """Raises DamagedLog, OSError."""
        self._size = read(path).size
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            self._map = mmap.mmap(fd, _HEADER.size + bitmap_bytes(self._size))
        finally:
            os.close(fd)
        self._lock = threading.Lock()

    def mark(self, offset: int, length: int) -> None:
        """Bytes from ``offset`` on are about to be written."""
        if length <= 0:
            return
        first, last = offset // BLOCK, (min(offset + length, self._size) - 1) // BLOCK
        with self._lock:
            for at in range(_HEADER.size + first // 8, _HEADER.size + last // 8 + 1):
                start = (at - _HEADER.size) * 8
                bits = 0xFF << max(0, first - start) & 0xFF >> max(0, start + 7 - last)
                if self._map[at] | bits != self._map[at]:
                    self._map[at] |= bits

    def flush(self) -> None:
        """Bring the bitmap to stable storage. Raises OSError."""
        self._map.flush()

    def close(self) -> None:
        self._map.close()


def tracker_of(disk: Path) -> ChangeTracker | None:
    """The tracker of a disk that has a log. Raises DamagedLog, OSError."""
    path = beside(disk)
    return ChangeTracker(path) if path.exists() else None
