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
"""VHD streams as targets: from raw bytes, from files, from chains; nothing is written twice, so no target has to seek.

The block table stands at the front of a VHD and says which blocks follow. A source that comes by once cannot be asked
which of its blocks are zero before the first byte goes out: `from_raw` takes that knowledge as `blocks`. Files and
chains are asked (holes of the file system, block tables), and `from_file` looks through the data itself first.
"""

import os
import uuid as uuid_module
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from xapikit.vhd.bitmap import merge
from xapikit.vhd.blocktable import BlockTable
from xapikit.vhd.chain import Disk, open_chain
from xapikit.vhd.errors import Reason, VhdError, VhdRejected
from xapikit.vhd.files import TABLE_OFFSET, layout
from xapikit.vhd.format import (
    BLOCK_SIZE,
    DATA_ALIGNMENT,
    EPOCH,
    SECTOR,
    DiskType,
    Footer,
    bitmap_size,
    check_virtual_size,
    round_up,
    table_size,
    timestamp_now,
)
from xapikit.vhd.image import Image
from xapikit.vhd.rawio import Buffer, read_into
from xapikit.vhd.zeros import is_zero

from .blocks import cut
from .reader import holes

_BITMAP = bitmap_size(BLOCK_SIZE)
_FULL = b"\xff" * _BITMAP
_STRIDE = round_up(_BITMAP + BLOCK_SIZE, DATA_ALIGNMENT)


def _head(footer: Footer, blocks: Sequence[int], parent: str | None, parent_id: uuid_module.UUID, stamp: int) -> bytes:
    """Everything before the first block, padded so that the first bitmap can follow."""
    header, tail = layout(footer, parent, parent_id, stamp)
    end = TABLE_OFFSET + table_size(header.max_entries) + len(tail)
    first = round_up(end + _BITMAP, DATA_ALIGNMENT) - _BITMAP
    table = BlockTable.empty(header.max_entries)
    for index, block in enumerate(blocks):
        table.entries[block] = (first + index * _STRIDE) // SECTOR
    return b"".join((footer.pack(), header.pack(), table.pack(), tail)).ljust(first, b"\0")


def length_of(virtual_size: int, blocks: int) -> int:
    """Bytes of a stand-alone stream with so many blocks in it, for a Content-Length."""
    footer = Footer(current_size=virtual_size, type=DiskType.DYNAMIC, unique_id=uuid_module.UUID(int=0))
    return len(_head(footer, (), None, uuid_module.UUID(int=0), 0)) + blocks * _STRIDE + SECTOR


# between the data of one block and the bitmap of the next
_PAD = bytes(_STRIDE - BLOCK_SIZE - _BITMAP)


def from_raw(
    chunks: Iterable[Buffer],
    size: int,
    *,
    blocks: Iterable[int] | None = None,
    unique_id: uuid_module.UUID | None = None,
) -> Iterator[Buffer]:
    """A dynamic VHD from `size` raw bytes that come in chunks of any length, in one pass.

    `blocks` are the numbers of the 2 MiB blocks that are not zero (see `data_blocks`): the others are skipped. Without
    it every block goes out, since the table precedes the data. A size that is not whole sectors is padded with zeros.
    Raises SizeRefused; VhdRejected(TRUNCATED, TRAILING_DATA) when there are not exactly `size` bytes, and VhdError
    when a block that `blocks` leaves out is not zero.
    """
    virtual_size = round_up(size, SECTOR)
    check_virtual_size(virtual_size)
    total = -(-size // BLOCK_SIZE)
    chosen = range(total) if blocks is None else sorted(set(blocks))
    footer = Footer(
        current_size=virtual_size, type=DiskType.DYNAMIC, unique_id=unique_id or uuid_module.uuid4(),
        timestamp=timestamp_now(),
    )  # fmt: skip
    return _from_raw(chunks, size, chosen, footer)


def _from_raw(chunks: Iterable[Buffer], size: int, chosen: Sequence[int], footer: Footer) -> Iterator[Buffer]:
    yield _head(footer, chosen, None, uuid_module.UUID(int=0), 0)
    wanted = iter(chosen)
    following = next(wanted, None)
    between = _FULL
    seen = 0
    for block, data in enumerate(cut(chunks)):
        seen += len(data)
        if seen > size:
            raise VhdRejected(Reason.TRAILING_DATA, f"more than the {size} raw bytes that were announced")
        if block == following:
            following = next(wanted, None)
            yield between
            yield data
            if len(data) < BLOCK_SIZE:
                yield from holes(BLOCK_SIZE - len(data))
            between = _PAD + _FULL
        elif not is_zero(data):
            raise VhdError(f"block {block} was said to be zero and is not: the source changed under its conversion")
    if seen < size:
        raise VhdRejected(Reason.TRUNCATED, f"{seen} raw bytes, {size} were announced")
    yield _PAD + footer.pack() if between is not _FULL else footer.pack()


def data_blocks(chunks: Iterable[Buffer]) -> list[int]:
    """Numbers of the 2 MiB blocks of raw bytes that are not all zero."""
    return [block for block, data in enumerate(cut(chunks)) if not is_zero(data)]


def from_file(path: Path | str, *, unique_id: uuid_module.UUID | None = None) -> Iterator[Buffer]:
    """A dynamic VHD from a raw file: looked through once for zeros (holes are not even read), then read.

    Raises what `from_raw` raises, and OSError.
    """
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        size = os.fstat(fd).st_size
        chosen = [block for block, data in _file_blocks(fd, size) if not is_zero(data)]
        virtual_size = round_up(size, SECTOR)
        check_virtual_size(virtual_size)
        footer = Footer(
            current_size=virtual_size, type=DiskType.DYNAMIC, unique_id=unique_id or uuid_module.uuid4(),
            timestamp=timestamp_now(),
        )  # fmt: skip
        yield _head(footer, chosen, None, uuid_module.UUID(int=0), 0)
        view = memoryview(bytearray(BLOCK_SIZE))
        between = _FULL
        for block in chosen:
            got = read_into(fd, view, block * BLOCK_SIZE)
            if got < BLOCK_SIZE:
                view[got:] = bytes(BLOCK_SIZE - got)
            yield between
            yield view
            between = _PAD + _FULL
        yield _PAD + footer.pack() if chosen else footer.pack()
    finally:
        os.close(fd)


def _file_blocks(fd: int, size: int) -> Iterator[tuple[int, memoryview]]:
    """Blocks of a file that are not wholly holes."""
    view = memoryview(bytearray(BLOCK_SIZE))
    at = 0
    while at < size:
        try:
            at = os.lseek(fd, at, os.SEEK_DATA)
        except OSError:
            return
        block = at // BLOCK_SIZE
        got = read_into(fd, view, block * BLOCK_SIZE)
        yield block, view[:got]
        at = (block + 1) * BLOCK_SIZE


def chain_to_raw(path: Path | str) -> Iterator[Buffer]:
    """The disk of a chain as raw bytes, exactly its virtual size; what no file holds is not read."""
    with open_chain(path) as disk:
        at = 0
        while at < disk.size:
            step = min(BLOCK_SIZE, disk.size - at)
            yield disk.pread(at, step)
            at += step


def from_chain(
    path: Path | str, base: Path | str | None = None, *, unique_id: uuid_module.UUID | None = None
) -> Iterator[Buffer]:
    """A chain as one VHD stream: flattened, or with `base` a differencing VHD of what differs from that disk.

    `base` is an ancestor, or any disk that shares ancestors (an earlier snapshot): what lies in files that only one of
    the two has is sent, as `path` reads it. Its parent locator names the file of `base`. Raises what `open_chain` does.
    """
    with open_chain(path) as disk:
        if base is None:
            yield from _send(disk, disk.levels, None, unique_id)
            return
        with open_chain(base) as other:
            theirs = {image.identity for image in other.levels}
            ours = {image.identity for image in disk.levels}
            changed = [image for image in disk.levels if image.identity not in theirs]
            changed += [image for image in other.levels if image.identity not in ours]
            yield from _send(disk, changed, other.leaf, unique_id)


def _send(
    disk: Disk, levels: Sequence[Image], base: Image | None, unique_id: uuid_module.UUID | None
) -> Iterator[Buffer]:
    total = -(-disk.size // BLOCK_SIZE)
    chosen = sorted({block for image in levels for block in _blocks_of(image, total)})
    footer = Footer(
        current_size=disk.size, type=DiskType.DYNAMIC if base is None else DiskType.DIFFERENCING,
        unique_id=unique_id or uuid_module.uuid4(), timestamp=timestamp_now(),
    )  # fmt: skip
    parent, parent_id, stamp = None, uuid_module.UUID(int=0), 0
    if base is not None:
        parent = base.path.name
        parent_id = base.footer.unique_id if base.footer else parent_id
        stamp = max(0, int(os.fstat(base.fd).st_mtime) - EPOCH)
    yield _head(footer, chosen, parent, parent_id, stamp)
    for block in chosen:
        offset = block * BLOCK_SIZE
        inside = min(BLOCK_SIZE, disk.size - offset)
        bitmap = _FULL if base is None else _bitmap_of(levels, offset, inside)
        yield bitmap
        yield disk.pread(offset, inside)
        yield from holes(BLOCK_SIZE - inside)
        yield _PAD
    yield footer.pack()


def _blocks_of(image: Image, total: int) -> Iterable[int]:
    """2 MiB blocks of which one file holds something."""
    if image.header is None:
        return range(min(total, -(-image.size // BLOCK_SIZE)))
    if image.block_size == BLOCK_SIZE:
        return (block for block in image.table.blocks() if block < total)
    size = image.block_size
    return (
        part
        for block in image.table.blocks()
        for part in range(block * size // BLOCK_SIZE, -(-((block + 1) * size) // BLOCK_SIZE))
        if part < total
    )


def _bitmap_of(levels: Sequence[Image], offset: int, length: int) -> bytes:
    """Union of the sectors that any of the files holds within one block."""
    spread = []
    for image in levels:
        value = 0
        for start, count, position in image.segments(offset, length):
            if position is not None:
                first, last = (start - offset) // SECTOR, -(-(start - offset + count) // SECTOR)
                value |= (1 << (_BITMAP * 8 - first)) - (1 << (_BITMAP * 8 - last))
        spread.append(value.to_bytes(_BITMAP, "big"))
    return merge(spread)


def raw_onto(disk: Disk, chunks: Iterable[Buffer], offset: int = 0) -> int:
    """Write raw bytes onto an open disk from `offset`, in whole blocks; answers how many bytes came.

    Zeros take no space where the disk has no data. Raises OutOfRange, OSError; the caller flushes.
    """
    start = offset
    for data in cut(chunks, disk.leaf.block_size):
        disk.pwrite(offset, data)
        offset += len(data)
    return offset - start
