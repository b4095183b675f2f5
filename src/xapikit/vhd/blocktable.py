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
"""The block table: for each block of the disk the sector of the file where it starts, and the checks it must pass."""

import sys
from array import array
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import pairwise
from operator import sub

from .errors import Reason, VhdRejected
from .format import SECTOR, UNALLOCATED, bitmap_size, table_size

# array type code of an unsigned integer of four bytes
UINT32 = next(code for code in "IL" if array(code).itemsize == 4)
_RUN = 4096
_EMPTY_RUN = array(UINT32, [UNALLOCATED]) * _RUN


class BlockTable:
    """Entries of all blocks in memory, 4 bytes each (4 MiB for the largest disk)."""

    __slots__ = ("entries",)

    def __init__(self, entries: "array[int]") -> None:
        self.entries = entries

    @classmethod
    def empty(cls, count: int) -> "BlockTable":
        return cls(array(UINT32, [UNALLOCATED]) * count)

    @classmethod
    def unpack(cls, data: bytes | bytearray | memoryview, count: int) -> "BlockTable":
        """Parse the first `count` entries of a table as it stands in the file."""
        entries = array(UINT32)
        entries.frombytes(memoryview(data)[: count * 4])
        if sys.byteorder == "little":
            entries.byteswap()
        return cls(entries)

    def pack(self) -> bytes:
        """The table as it stands in the file, padded with free entries to whole sectors."""
        entries = array(UINT32, self.entries)
        if sys.byteorder == "little":
            entries.byteswap()
        return entries.tobytes().ljust(table_size(len(self.entries)), b"\xff")

    def __len__(self) -> int:
        return len(self.entries)

    def allocated(self) -> int:
        """How many blocks are in the file."""
        return len(self.entries) - self.entries.count(UNALLOCATED)

    def blocks(self) -> Iterator[int]:
        """Numbers of the blocks that are in the file, ascending; quick over long free stretches."""
        entries = self.entries
        for base in range(0, len(entries), _RUN):
            part = entries[base : base + _RUN]
            if part == _EMPTY_RUN[: len(part)]:
                continue
            for index, sector in enumerate(part, base):
                if sector != UNALLOCATED:
                    yield index

    def in_file_order(self) -> "array[int]":
        """Numbers of the blocks that are in the file, as they follow each other there."""
        keys = sorted(self.entries[block] << 32 | block for block in self.blocks())
        return array(UINT32, (key & 0xFFFFFFFF for key in keys))

    def free_run(self, block: int, limit: int) -> int:
        """First block at or after `block`, at most `limit`, that is in the file (or `limit`)."""
        entries = self.entries
        while block < limit:
            step = min(_RUN, limit - block)
            if step == _RUN and entries[block : block + _RUN] == _EMPTY_RUN:
                block += _RUN
                continue
            for index in range(block, block + step):
                if entries[index] != UNALLOCATED:
                    return index
            block += step
        return limit

    def check(
        self, block_size: int, virtual_size: int, reserved: Sequence[tuple[int, int]], end_of_file: int | None
    ) -> list[int]:
        """Refuse entries that overlap or point outside; answers the allocated sectors, ascending.

        `reserved` are the byte ranges (start, end) of the metadata, `end_of_file` bounds the blocks
        (None when it is not known yet). Raises VhdRejected.
        """
        needed = -(-virtual_size // block_size)
        if len(self.entries) > needed and self.entries[needed:].count(UNALLOCATED) != len(self.entries) - needed:
            raise VhdRejected(Reason.BLOCK_OUTSIDE, f"the table has blocks beyond the virtual size {virtual_size}")
        count = self.allocated()
        if count == 0:
            return []
        if count < len(self.entries) // 8:
            sectors = sorted(self.entries[block] for block in self.blocks())
        else:
            # free entries are the largest of all numbers; files are mostly in order, which sorts fast
            sectors = sorted(self.entries)[:count]
        span = (bitmap_size(block_size) + block_size) // SECTOR
        for start, end in reserved:
            # the last block that starts before the range ends
            at = bisect_left(sectors, -(-end // SECTOR)) - 1
            if at >= 0 and (sectors[at] + span) * SECTOR > start:
                raise VhdRejected(
                    Reason.BLOCK_OVERLAP, f"a block at {sectors[at] * SECTOR} overlaps metadata at {start} to {end}"
                )
        if count > 1 and min(map(sub, sectors[1:], sectors)) < span:
            before, after = next((a, b) for a, b in pairwise(sectors) if b - a < span)
            raise VhdRejected(
                Reason.BLOCK_OVERLAP,
                f"blocks at {before * SECTOR} and {after * SECTOR} need {span * SECTOR} bytes each",
            )
        last = (sectors[-1] + span) * SECTOR
        if end_of_file is not None and last > end_of_file:
            raise VhdRejected(Reason.BLOCK_OUTSIDE, f"a block ends at {last}, the file at {end_of_file}")
        return sectors
