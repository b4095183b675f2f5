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
"""One VHD file: its metadata in memory, where its sectors lie, and writing to it in an order that a kill cannot break.

This module knows one file and leaves parents to `chain`. Instances are not thread-safe; `chain.Disk` holds the lock.

Order of writes when a block is added: the footer at its new place behind the block (the file gets longer, the old
footer stays valid until then and is never overwritten while the table does not need it), the data, the bitmap, and last
the entry of the block table. Whoever opens the file after a kill between two of these finds the disk as it was before.
"""

import fcntl
import os
import time
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from .bitmap import Bitmap, packed_range
from .blocktable import BlockTable
from .errors import DiskBusy, Reason, VhdRejected
from .format import (
    BATMAP_COOKIE,
    DATA_ALIGNMENT,
    FOOTER_COOKIE,
    FOOTER_SIZE,
    HEADER_SIZE,
    SECTOR,
    UNALLOCATED,
    DiskType,
    Footer,
    Header,
    batmap_size,
    bitmap_size,
    round_up,
    table_size,
)
from .rawio import Buffer, read_exactly, write_all, write_two

if TYPE_CHECKING:
    import array

# how many partly filled bitmaps stay in memory (about 5 KiB each)
_BITMAPS = 2048

#: (offset on the disk, length, position in the file or None where this file holds nothing)
Segment = tuple[int, int, int | None]


def _lock(fd: int, path: Path) -> None:
    """Take the writer's lock. Raises DiskBusy.

    A lock that was given back may be held on for a moment by a process that another thread is just starting: between
    fork and exec it has all open files. Nothing tells the end of that moment, so a busy file is tried a few times.
    """
    for patience in (0.001, 0.01, 0.05, 0.2, None):
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if patience is None:
                raise DiskBusy(path) from None
            time.sleep(patience)


class Image:
    """An open VHD file, or a raw file taken as the fixed-size root of a chain."""

    def __init__(self, path: Path, *, writable: bool = False, raw: bool = False) -> None:
        """Open and check; raises VhdRejected, DiskBusy (writable only) and OSError."""
        self.path = path
        self.writable = writable
        self.fd = os.open(path, (os.O_RDWR if writable else os.O_RDONLY) | os.O_CLOEXEC)
        try:
            if writable:
                _lock(self.fd, path)
            self._open_raw() if raw else self._open()
        except VhdRejected as error:
            os.close(self.fd)
            raise VhdRejected(error.reason, error.detail, path) from None
        except BaseException:
            os.close(self.fd)
            raise

    # -- opening ---------------------------------------------------------------------------------------------------

    def _open_raw(self) -> None:
        self.footer: Footer | None = None
        self.header: Header | None = None
        self.size = os.fstat(self.fd).st_size

    def _open(self) -> None:
        end = os.fstat(self.fd).st_size
        if end < FOOTER_SIZE:
            raise VhdRejected(Reason.TRUNCATED, f"the file has {end} bytes")
        first = read_exactly(self.fd, FOOTER_SIZE, 0, "footer copy")
        last = read_exactly(self.fd, FOOTER_SIZE, end - FOOTER_SIZE, "footer")
        # the copy at the front outlives a kill while the file grows; a fixed disk has its footer only at the end
        front_sound = True
        try:
            footer = Footer.unpack(first if first.startswith(FOOTER_COOKIE) else last)
            front_sound = footer.type is DiskType.FIXED or first.startswith(FOOTER_COOKIE)
        except VhdRejected:
            if not last.startswith(FOOTER_COOKIE):
                raise
            footer = Footer.unpack(last)
            front_sound = False
        self.footer = footer
        self.size = footer.current_size
        if footer.type is DiskType.FIXED:
            self.header = None
            if footer.current_size > end - FOOTER_SIZE:
                raise VhdRejected(Reason.FIXED_FOOTER, f"a fixed disk of {self.size} bytes in a file of {end} bytes")
            if self.writable:
                # nothing on a host makes these; a stream of one can be read
                raise VhdRejected(Reason.TYPE, "fixed disks are read, not written")
            return
        header = Header.unpack(read_exactly(self.fd, HEADER_SIZE, footer.data_offset, "dynamic header"), self.size)
        self.header = header
        self.block_size = header.block_size
        self.bitmap_bytes = bitmap_size(header.block_size)
        self.block_sectors = header.block_size // SECTOR
        length = header.max_entries * 4
        self.table = BlockTable.unpack(
            read_exactly(self.fd, length, header.table_offset, "block table"), header.max_entries
        )
        self._full = bytearray(header.max_entries)
        self._bitmaps: OrderedDict[int, Bitmap] = OrderedDict()
        reserved = self.reserved()
        sectors = self.table.check(self.block_size, self.size, reserved, end)
        ends = [stop for _, stop in reserved]
        if sectors:
            ends.append(sectors[-1] * SECTOR + self.bitmap_bytes + self.block_size)
        self.end = round_up(max(ends), SECTOR)
        if self.writable and (last != first or end != self.end + FOOTER_SIZE):
            # a kill came between two steps of a write, or another tool lays out its file in its own way
            self._write_footer(self.end)
            os.ftruncate(self.fd, self.end + FOOTER_SIZE)
            if not front_sound:
                self._write_footer(0)

    def reserved(self) -> list[tuple[int, int]]:
        """Byte ranges of the file that hold metadata: (start, end)."""
        assert self.footer and self.header
        table_end = self.header.table_offset + table_size(self.header.max_entries)
        ranges = [
            (0, FOOTER_SIZE),
            (self.footer.data_offset, self.footer.data_offset + HEADER_SIZE),
            (self.header.table_offset, table_end),
        ]
        ranges += [(one.offset, one.offset + one.reserved) for one in self.header.locators if one.offset]
        # the bitmap of a block may stand here instead, and a guest decides what its bits spell
        behind = os.pread(self.fd, len(BATMAP_COOKIE), table_end)
        if behind == BATMAP_COOKIE and table_end // SECTOR not in self.table.entries:
            ranges.append((table_end, table_end + batmap_size(self.header.max_entries)))
        return ranges

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def flush(self) -> None:
        """Everything written so far survives a power cut when this returns."""
        os.fdatasync(self.fd)

    @property
    def identity(self) -> tuple[int, int]:
        """Device and inode: the same file whatever it is called."""
        stat = os.fstat(self.fd)
        return stat.st_dev, stat.st_ino

    @property
    def differencing(self) -> bool:
        return self.footer is not None and self.footer.type is DiskType.DIFFERENCING

    @property
    def entries(self) -> "array.array[int]":
        return self.table.entries

    # -- reading ---------------------------------------------------------------------------------------------------

    def bitmap(self, block: int) -> Bitmap | None:
        """Which sectors of an allocated block are in this file; None when all are."""
        if self._full[block]:
            return None
        known = self._bitmaps.get(block)
        if known is not None:
            self._bitmaps.move_to_end(block)
            return known
        position = self.table.entries[block] * SECTOR
        packed = read_exactly(self.fd, self.block_sectors // 8, position, f"bitmap of block {block}")
        found = Bitmap(packed, self.block_sectors)
        if found.full():
            self._full[block] = 1
            return None
        self._keep(block, found)
        return found

    def _keep(self, block: int, bitmap: Bitmap) -> None:
        """Remember a bitmap; the one that was not asked for the longest goes (the file has it)."""
        self._bitmaps[block] = bitmap
        if len(self._bitmaps) > _BITMAPS:
            self._bitmaps.popitem(last=False)

    def segments(self, offset: int, length: int) -> Iterator[Segment]:
        """Split [offset, offset + length) into what this file holds and what it does not."""
        end = offset + length
        if self.header is None:
            inside = min(end, self.size)
            if offset < inside:
                yield offset, inside - offset, offset
            if max(offset, inside) < end:
                yield max(offset, inside), end - max(offset, inside), None
            return
        inside = min(end, self.size)
        block_size = self.block_size
        while offset < inside:
            block, start = divmod(offset, block_size)
            sector = self.table.entries[block]
            if sector == UNALLOCATED:
                stop = min(self.table.free_run(block + 1, -(-inside // block_size)) * block_size, inside)
                yield offset, stop - offset, None
                offset = stop
                continue
            stop = min(block_size, start + inside - offset)
            data = sector * SECTOR + self.bitmap_bytes
            bitmap = self.bitmap(block)
            if bitmap is None:
                yield offset, stop - start, data + start
            else:
                base = offset - start
                for first, last, present in bitmap.runs(start // SECTOR, -(-stop // SECTOR)):
                    low, high = max(first * SECTOR, start), min(last * SECTOR, stop)
                    yield base + low, high - low, data + low if present else None
            offset += stop - start
        if offset < end:
            yield offset, end - offset, None

    # -- writing ---------------------------------------------------------------------------------------------------

    def holds(self, block: int, start: int, end: int) -> bool:
        """Whether sectors [start, end) of a block are all in this file."""
        if self.table.entries[block] == UNALLOCATED:
            return False
        bitmap = self.bitmap(block)
        return bitmap is None or bitmap.covers(start, end)

    def write(self, block: int, start: int, data: Buffer) -> None:
        """Write whole sectors into one block from sector `start`; adds the block when it is not in the file."""
        sector = self.table.entries[block]
        if sector == UNALLOCATED:
            self._add(block, start, data)
            return
        position = sector * SECTOR
        write_all(self.fd, data, position + self.bitmap_bytes + start * SECTOR)
        bitmap = self.bitmap(block)
        if bitmap is None:
            return
        end = start + len(data) // SECTOR
        if bitmap.covers(start, end):
            return
        bitmap.set(start, end)
        try:
            write_all(self.fd, bitmap.packed, position)
        except BaseException:
            self._bitmaps.pop(block, None)
            raise
        if bitmap.full():
            self._full[block] = 1
            self._bitmaps.pop(block, None)

    def _add(self, block: int, start: int, data: Buffer) -> None:
        # leave the footer that stands at `end` alone: it is the file's last word until the new one is written
        place = round_up(self.end + FOOTER_SIZE + self.bitmap_bytes, DATA_ALIGNMENT) - self.bitmap_bytes
        behind = place + self.bitmap_bytes + self.block_size
        end = start + len(data) // SECTOR
        # without a parent what was not written is zero, as the sparse new end of the file is: one bitmap write for good
        whole = not self.differencing or (start == 0 and end == self.block_sectors)
        bits = b"\xff" * (self.block_sectors // 8) if whole else packed_range(start, end, self.block_sectors // 8)
        packed = bits.ljust(self.bitmap_bytes, b"\0")
        try:
            self._write_footer(behind)
            if start == 0:
                write_two(self.fd, packed, data, place)
            else:
                write_all(self.fd, data, place + self.bitmap_bytes + start * SECTOR)
                write_all(self.fd, packed, place)
            self.write_entry(block, place // SECTOR)
        except BaseException:
            # a full file system: the file keeps its old end, and no stray bytes where the next block must read zeros
            self.table.entries[block] = UNALLOCATED
            os.ftruncate(self.fd, self.end + FOOTER_SIZE)
            raise
        self.end = behind
        if whole:
            self._full[block] = 1
        else:
            self._keep(block, Bitmap(bits, self.block_sectors))

    def write_entry(self, block: int, sector: int) -> None:
        """Set one entry of the block table, in the file and in memory."""
        assert self.header
        write_all(self.fd, sector.to_bytes(4, "big"), self.header.table_offset + block * 4)
        self.table.entries[block] = sector

    def _write_footer(self, position: int) -> None:
        assert self.footer
        write_all(self.fd, self.footer.pack(), position)

    # -- metadata --------------------------------------------------------------------------------------------------

    def replace_footer(self, footer: Footer) -> None:
        """Write a changed footer at the end, then its copy at the front; readers accept either of the two alone."""
        self.footer = footer
        self._write_footer(self.end)
        self._write_footer(0)
        self.size = footer.current_size

    def replace_header(self, header: Header) -> None:
        """Write a changed dynamic header (one write of 1024 bytes)."""
        assert self.footer
        write_all(self.fd, header.pack(), self.footer.data_offset)
        self.header = header

    def append(self, data: bytes) -> int:
        """Put metadata behind everything else; answers its position. The footer moves behind it first."""
        position = self.end + FOOTER_SIZE
        behind = position + round_up(len(data), SECTOR)
        self._write_footer(behind)
        write_all(self.fd, data, position)
        self.end = behind
        return position
