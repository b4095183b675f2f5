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
"""Sector bitmaps: which sectors of a block a file holds itself.

In the file a bitmap is one bit per sector, most significant bit first. In memory a partly filled block also keeps one
byte per sector, so that runs are found with `bytearray.find` instead of a loop over bits.
"""

from collections.abc import Iterator

# byte -> its eight bits, one byte each
_SPREAD = tuple(bytes((value >> (7 - bit)) & 1 for bit in range(8)) for value in range(256))


class Bitmap:
    """The bitmap of one block, both packed (as in the file) and spread (one byte per sector)."""

    __slots__ = ("packed", "spread")

    def __init__(self, packed: bytes, sectors: int) -> None:
        self.packed = bytearray(packed)
        self.spread = bytearray(b"".join(map(_SPREAD.__getitem__, packed)))[:sectors]

    def full(self) -> bool:
        return self.spread.find(0) < 0

    def covers(self, start: int, end: int) -> bool:
        """Whether every sector from `start` up to, not including, `end` is present."""
        return self.spread.find(0, start, end) < 0

    def set(self, start: int, end: int) -> None:
        """Mark sectors [start, end) present."""
        self.spread[start:end] = b"\1" * (end - start)
        first, last = start >> 3, (end - 1) >> 3
        if first == last:
            self.packed[first] |= (0xFF >> (start & 7)) & (0xFF << (7 - ((end - 1) & 7))) & 0xFF
            return
        self.packed[first] |= 0xFF >> (start & 7)
        self.packed[last] |= (0xFF << (7 - ((end - 1) & 7))) & 0xFF
        if last - first > 1:
            self.packed[first + 1 : last] = b"\xff" * (last - first - 1)

    def runs(self, start: int, end: int) -> Iterator[tuple[int, int, bool]]:
        """Split [start, end) into runs (start, end, present), in order."""
        spread = self.spread
        while start < end:
            present = bool(spread[start])
            stop = spread.find(0 if present else 1, start, end)
            if stop < 0:
                stop = end
            yield start, stop, present
            start = stop


def packed_range(start: int, end: int, size: int) -> bytes:
    """A packed bitmap of `size` bytes in which just the sectors [start, end) are present."""
    value = (1 << (size * 8 - start)) - (1 << (size * 8 - end))
    return value.to_bytes(size, "big")


def merge(bitmaps: list[bytes]) -> bytes:
    """Union of packed bitmaps of equal size."""
    value = 0
    for one in bitmaps:
        value |= int.from_bytes(one, "big")
    return value.to_bytes(len(bitmaps[0]), "big")
