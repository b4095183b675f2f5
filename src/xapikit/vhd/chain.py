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
"""A disk: a VHD with all its parents, read and written as one array of bytes.

This is the data path of guests (one process per attached disk serves it) and of imports and exports. Only the first
file, the leaf, is ever written. Thread-safe: one lock guards the metadata; reads of data happen outside it, since a
block never moves and is never overwritten by another while the disk is open.
"""

import threading
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from types import TracebackType

from .errors import (
    ChainTooDeep,
    DiskReadOnly,
    OutOfRange,
    ParentMismatch,
    ParentMissing,
    Reason,
    SizeRefused,
    VhdRejected,
)
from .format import MACX, SECTOR, UNALLOCATED, W2KU, W2RU, decode_locator
from .image import Image
from .rawio import Buffer, read_exactly, read_into, start_writeback
from .zeros import ZEROS, is_zero

#: XAPI hosts stop at 30; what is deeper than this is a loop
MAX_DEPTH = 256


def parent_name(image: Image) -> str:
    """The file name of the parent of a differencing image, from its locators, else from the header's field."""
    assert image.header
    found: dict[bytes, str] = {}
    for locator in image.header.locators:
        if locator.length <= 4096:
            text = decode_locator(
                locator.code, read_exactly(image.fd, locator.length, locator.offset, "parent locator")
            )
            if text:
                found.setdefault(locator.code, text)
    path = next((found[code] for code in (MACX, W2RU, W2KU) if code in found), image.header.parent_name)
    return PurePosixPath(path.replace("\\", "/")).name


def open_parents(leaf: Image) -> list[Image]:
    """The images behind `leaf`, nearest first, opened read-only; closes what it opened when it fails."""
    levels: list[Image] = []
    current = leaf
    try:
        while current.differencing:
            assert current.header
            if len(levels) >= MAX_DEPTH:
                raise ChainTooDeep(leaf.path, MAX_DEPTH)
            name = parent_name(current)
            wanted = current.header.parent_unique_id
            # a parent lies beside its child: nothing that a VHD says can make us open a file elsewhere
            path = current.path.parent / name
            if not name or name in (".", ".."):
                raise ParentMissing(current.path, name, "no usable name")
            try:
                parent = Image(path, raw=wanted.int == 0)
            except (OSError, VhdRejected) as error:
                raise ParentMissing(current.path, name, str(error)) from error
            levels.append(parent)
            if parent.footer is not None and parent.footer.unique_id != wanted:
                raise ParentMismatch(current.path, path, str(parent.footer.unique_id), str(wanted))
            current = parent
    except BaseException:
        for image in levels:
            image.close()
        raise
    return levels


class Disk:
    """An open chain; see `open_chain`. Offsets and lengths are bytes, of any alignment.

    What happens to the files meanwhile (a resize, another parent) shows after closing and opening it again.
    """

    def __init__(self, levels: list[Image], writable: bool, write_behind: int = 0) -> None:
        self.levels = levels
        self.leaf = levels[0]
        self.path = self.leaf.path
        self.size = self.leaf.size
        self.writable = writable
        self._lock = threading.Lock()
        self._write_behind = write_behind
        # up to where in the leaf's file writing back was begun
        self._begun = self.leaf.end if writable else 0

    def __enter__(self) -> "Disk":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close all files; nothing is held back, so nothing is lost without it."""
        for image in self.levels:
            image.close()

    def flush(self) -> None:
        """What was written before is on stable storage when this returns (OSError otherwise)."""
        if self.writable:
            self.leaf.flush()

    # -- reading ---------------------------------------------------------------------------------------------------

    def _check(self, offset: int, length: int) -> None:
        if offset < 0 or length < 0 or offset + length > self.size:
            raise OutOfRange(self.path, offset, length, self.size)

    def _locate(self, level: int, offset: int, length: int, out: list[tuple[int, int, int, int]]) -> None:
        """Collect (offset, length, fd, position) of what the chain holds from `level` down; zeros are left out."""
        image = self.levels[level]
        below = level + 1 < len(self.levels)
        for start, count, position in image.segments(offset, length):
            if position is not None:
                out.append((start, count, image.fd, position))
            elif below:
                # beyond the end of this file the disk is zero, whatever a longer parent has there
                inside = min(count, image.size - start)
                if inside > 0:
                    self._locate(level + 1, start, inside, out)

    def _pieces(self, offset: int, length: int) -> list[tuple[int, int, int, int]]:
        out: list[tuple[int, int, int, int]] = []
        with self._lock:
            self._locate(0, offset, length, out)
        return out

    def pread(self, offset: int, length: int) -> bytes:
        """Bytes of the disk; raises OutOfRange beyond its end."""
        self._check(offset, length)
        pieces = self._pieces(offset, length)
        if not pieces:
            return bytes(length) if length != len(ZEROS) else ZEROS
        if len(pieces) == 1 and pieces[0][1] == length:
            _, _, fd, position = pieces[0]
            return read_exactly(fd, length, position, "data")
        buffer = bytearray(length)
        self._fill(memoryview(buffer), offset, pieces)
        return bytes(buffer)

    def pread_into(self, offset: int, buffer: bytearray | memoryview) -> None:
        """Like pread, into the caller's buffer (all of it is written)."""
        view = memoryview(buffer).cast("B")
        self._check(offset, len(view))
        pieces = self._pieces(offset, len(view))
        at = offset
        for start, count, _, _ in pieces:
            if at < start:
                _zero(view[at - offset : start - offset])
            at = start + count
        _zero(view[at - offset :])
        self._fill(view, offset, pieces)

    def _fill(self, view: memoryview, offset: int, pieces: list[tuple[int, int, int, int]]) -> None:
        for start, count, fd, position in pieces:
            got = read_into(fd, view[start - offset : start - offset + count], position)
            if got < count:
                raise VhdRejected(Reason.TRUNCATED, f"data at {position}: {got} of {count} bytes are there", self.path)

    def extents(self, offset: int = 0, length: int | None = None) -> Iterator[tuple[int, int]]:
        """Ranges (offset, length) that some file of the chain holds, ascending and merged; the rest reads as zeros."""
        if length is None:
            length = self.size - offset
        self._check(offset, length)
        begin, stop = offset, offset
        end = offset + length
        # in steps, so that one call on a large disk neither holds the lock nor collects for long
        while offset < end:
            step = min(1 << 28, end - offset)
            for start, count, _, _ in self._pieces(offset, step):
                if start == stop:
                    stop += count
                    continue
                if begin < stop:
                    yield begin, stop - begin
                begin, stop = start, start + count
            offset += step
        if begin < stop:
            yield begin, stop - begin

    # -- writing ---------------------------------------------------------------------------------------------------

    def pwrite(self, offset: int, data: Buffer) -> None:
        """Write; zeros where the disk has no data yet take no space.

        Raises OutOfRange, DiskReadOnly, OSError (a full file system: what was written before stays sound).
        """
        view = memoryview(data).cast("B")
        length = len(view)
        self._check(offset, length)
        if not self.writable:
            raise DiskReadOnly(self.path)
        if not length:
            return
        with self._lock:
            if offset % SECTOR or length % SECTOR:
                offset, view = self._whole_sectors(offset, view)
                length = len(view)
            block_size = self.leaf.block_size
            done = 0
            while done < length:
                block, start = divmod(offset + done, block_size)
                count = min(block_size - start, length - done)
                self._write_block(block, start, view[done : done + count])
                done += count
            begin, end = self._begun, self.leaf.end
            behind = bool(self._write_behind) and end - begin >= self._write_behind
            if behind:
                self._begun = end
        if behind:
            start_writeback(self.leaf.fd, begin, end - begin)

    def write_zeroes(self, offset: int, length: int) -> None:
        """Make a range read as zeros without storing them where nothing is stored."""
        for start, count in self.extents(offset, length):
            for at in range(start, start + count, len(ZEROS)):
                self.pwrite(at, memoryview(ZEROS)[: min(len(ZEROS), start + count - at)])

    def _write_block(self, block: int, start: int, view: memoryview) -> None:
        leaf = self.leaf
        if leaf.table.entries[block] == UNALLOCATED and is_zero(view):
            below: list[tuple[int, int, int, int]] = []
            self._locate(0, block * leaf.block_size + start, len(view), below)
            if not below:
                return
        leaf.write(block, start // SECTOR, view)

    def _whole_sectors(self, offset: int, view: memoryview) -> tuple[int, memoryview]:
        """Widen a write to whole sectors with what the disk has around it (called with the lock held)."""
        low = offset - offset % SECTOR
        high = min(-(-(offset + len(view)) // SECTOR) * SECTOR, self.size)
        whole = bytearray(high - low)
        for at in {low, high - SECTOR}:
            pieces: list[tuple[int, int, int, int]] = []
            self._locate(0, at, SECTOR, pieces)
            self._fill(memoryview(whole)[at - low : at - low + SECTOR], at, pieces)
        whole[offset - low : offset - low + len(view)] = view
        return low, memoryview(whole)


def _zero(view: memoryview) -> None:
    for at in range(0, len(view), len(ZEROS)):
        part = view[at : at + len(ZEROS)]
        part[:] = memoryview(ZEROS)[: len(part)]


def open_chain(path: Path | str, writable: bool = False, *, write_behind: int = 0) -> Disk:
    """Open a VHD and all its parents.

    Parents are looked for in the child's own directory and must carry the unique id that the child names.
    Writable takes a lock on the leaf that ends with the process. With `write_behind` (bytes; imports want 32 MiB or so)
    the kernel begins to write new blocks to the disk whenever so much has been added, so that the flush at the end
    finds little to do; without it, it decides by itself, which is better for guests. Raises VhdRejected, ParentMissing,
    ParentMismatch, ChainTooDeep, DiskBusy, OSError.
    """
    leaf = Image(Path(path), writable=writable)
    try:
        levels = [leaf, *open_parents(leaf)]
    except BaseException:
        leaf.close()
        raise
    return Disk(levels, writable, write_behind)


def check_fits(child_size: int, parent_size: int) -> None:
    if child_size < parent_size:
        raise SizeRefused(child_size, f"smaller than the parent's {parent_size} bytes")
