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
"""VHD streams as sources: extents in stream order, raw bytes, or written onto a disk."""

import os
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from uuid import UUID

from xapikit.vhd.chain import Disk
from xapikit.vhd.errors import Reason, VhdRejected
from xapikit.vhd.format import DiskType
from xapikit.vhd.rawio import Buffer, start_writeback, write_all
from xapikit.vhd.zeros import ZEROS, is_zero

from .parser import Extent, StreamParser

#: so much of a file is written before its way to the disk begins
WRITE_BEHIND = 32 << 20


class VhdStream:
    """A VHD that arrives: what its head says, then its extents. Made by `read`; iterate it once."""

    def __init__(self, chunks: Iterable[Buffer], length: int | None) -> None:
        self._chunks = iter(chunks)
        self.parser = StreamParser(length)
        self._pending: list[Extent] = []
        while not self.parser.ready:
            chunk = next(self._chunks, None)
            self._pending += self.parser.finish() if chunk is None else self.parser.feed(chunk)

    @property
    def virtual_size(self) -> int | None:
        """Bytes of the disk; None only for a fixed VHD of unknown length (known after the last extent)."""
        return self.parser.virtual_size

    @property
    def type(self) -> DiskType:
        return DiskType.FIXED if self.parser.footer is None else self.parser.footer.type

    @property
    def unique_id(self) -> UUID | None:
        """None for a fixed VHD before its end."""
        return None if self.parser.footer is None else self.parser.footer.unique_id

    @property
    def parent_name(self) -> str | None:
        """The parent's file name, without directories; None unless differencing."""
        return self.parser.parent_name

    @property
    def parent_unique_id(self) -> UUID | None:
        return self.parser.parent_unique_id

    @property
    def block_size(self) -> int:
        """0 for a fixed VHD."""
        return 0 if self.parser.header is None else self.parser.header.block_size

    @property
    def allocated_blocks(self) -> int:
        return len(self.parser.order)

    @property
    def ascending(self) -> bool:
        """Whether the blocks come in the order of the disk."""
        return all(before < after for before, after in pairwise(self.parser.order))

    def __iter__(self) -> Iterator[Extent]:
        """(disk offset, bytes) in stream order; the views are valid until the next step.

        Ends with the closing footer, without asking for bytes behind it. Raises VhdRejected for what is wrong or
        missing.
        """
        pending, self._pending = self._pending, []
        yield from pending
        parser = self.parser
        while not parser.complete:
            chunk = next(self._chunks, None)
            yield from parser.finish() if chunk is None else parser.feed(chunk)


def read(chunks: Iterable[Buffer], length: int | None = None) -> VhdStream:
    """Read a VHD stream up to its block table; iterate the answer for the data.

    `length` is the number of bytes that come, where known: a fixed VHD then has its size at once, and a table that
    points outside is refused at once. Raises VhdRejected.
    """
    return VhdStream(chunks, length)


def to_raw(chunks: Iterable[Buffer], length: int | None = None) -> Iterator[memoryview]:
    """The disk of a stand-alone VHD stream as raw bytes, zeros included.

    Raises VhdRejected: DIFFERENCING, or BLOCK_ORDER before the first byte when blocks do not come in the order of the
    disk (such a VHD needs a seek: write it onto a disk with `onto`).
    """
    stream = read(chunks, length)
    if stream.type is DiskType.DIFFERENCING:
        raise VhdRejected(Reason.DIFFERENCING, f"its parent {stream.parent_name!r} has the rest of the data")
    if not stream.ascending:
        raise VhdRejected(Reason.BLOCK_ORDER, "blocks do not come in the order of the disk")
    return _raw(stream)


def _raw(stream: VhdStream) -> Iterator[memoryview]:
    at = 0
    for offset, data in stream:
        yield from holes(offset - at)
        yield data
        at = offset + len(data)
    assert stream.virtual_size is not None
    yield from holes(stream.virtual_size - at)


def holes(length: int) -> Iterator[memoryview]:
    """`length` zero bytes in pieces; the pieces share memory."""
    zeros = memoryview(ZEROS)
    while length >= len(zeros):
        yield zeros
        length -= len(zeros)
    if length:
        yield zeros[:length]


def to_file(path: Path | str, chunks: Iterable[Buffer], length: int | None = None) -> int:
    """The disk of a stand-alone VHD stream as a new raw file, blocks in any order, holes where it has no data.

    Answers its size. Raises VhdRejected (DIFFERENCING too), FileExistsError, OSError; what was written of a file then
    goes.
    """
    path = Path(path)
    stream = read(chunks, length)
    if stream.type is DiskType.DIFFERENCING:
        raise VhdRejected(Reason.DIFFERENCING, f"its parent {stream.parent_name!r} has the rest of the data")
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    try:
        first = last = 0
        for offset, data in stream:
            if is_zero(data):
                continue
            write_all(fd, data, offset)
            last = offset + len(data)
            if last - first >= WRITE_BEHIND:
                start_writeback(fd, first, last - first)
                first = last
        size = stream.virtual_size
        assert size is not None
        os.ftruncate(fd, size)
    except BaseException:
        path.unlink()
        raise
    finally:
        os.close(fd)
    return size


def save(path: Path | str, chunks: Iterable[Buffer]) -> int:
    """A stream, of whatever it is, as a new file; answers its length. What was written of a file that fails goes.

    Its way to the disk begins while it is written, so that an fsync afterwards is short. Raises FileExistsError,
    OSError.
    """
    path = Path(path)
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    at = begun = 0
    try:
        for chunk in chunks:
            write_all(fd, chunk, at)
            at += len(chunk)
            if at - begun >= WRITE_BEHIND:
                start_writeback(fd, begun, at - begun)
                begun = at
    except BaseException:
        path.unlink()
        raise
    finally:
        os.close(fd)
    return at


def onto(disk: Disk, chunks: Iterable[Buffer], length: int | None = None) -> VhdStream:
    """Write a VHD stream onto an open disk: blocks that it lacks are left as they are, which is what makes deltas work.

    Its parent is not compared with anything, nor its size: data beyond the end of the disk raises OutOfRange, and what
    came before it is written. The caller flushes. Raises VhdRejected, OutOfRange, OSError.
    """
    stream = read(chunks, length)
    gathered, start = bytearray(), 0
    # small pieces that follow each other become one write of up to a block
    limit = disk.leaf.block_size
    for offset, data in stream:
        if len(data) >= limit // 2 and not gathered:
            disk.pwrite(offset, data)
            continue
        if gathered and (offset != start + len(gathered) or len(gathered) + len(data) > limit):
            disk.pwrite(start, gathered)
            gathered = bytearray()
        if not gathered:
            start = offset
        gathered += data
    if gathered:
        disk.pwrite(start, gathered)
    return stream
