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
"""Whole-file operations: create, look, resize, mark, re-parent, coalesce.

Each leaves the file sound at every instant: new files appear under their name complete, changed metadata is written
in an order that a reader finds either the old or the new.
"""

import os
import secrets
import uuid as uuid_module
from dataclasses import dataclass, replace
from pathlib import Path

from .blocktable import BlockTable
from .chain import check_fits, open_chain, open_parents, parent_name
from .errors import SizeRefused, VhdError
from .format import (
    BLOCK_SIZE,
    EPOCH,
    FOOTER_SIZE,
    HEADER_SIZE,
    MACX,
    SECTOR,
    UNALLOCATED,
    W2KU,
    W2RU,
    DiskType,
    Footer,
    Header,
    Locator,
    batmap_size,
    check_virtual_size,
    encode_locator,
    pack_batmap,
    round_up,
    table_size,
    timestamp_now,
)
from .image import Image
from .rawio import read_exactly, write_all
from .zeros import ZEROS

TABLE_OFFSET = FOOTER_SIZE + HEADER_SIZE


@dataclass(frozen=True, slots=True)
class VhdInfo:
    """What one VHD file says about itself. Sizes in bytes."""

    path: Path
    virtual_size: int
    type: DiskType
    unique_id: uuid_module.UUID
    hidden: bool
    #: file name of the parent, which lies in the same directory; None unless differencing
    parent_name: str | None
    #: None unless differencing; zero when the parent is a raw file
    parent_unique_id: uuid_module.UUID | None
    block_size: int
    #: blocks present in this file alone
    allocated_blocks: int
    #: length of the file
    file_size: int
    #: bytes that the file takes on its file system
    physical_size: int
    creator: bytes
    #: seconds since 2000-01-01
    timestamp: int

    @property
    def parent_path(self) -> Path | None:
        return None if self.parent_name is None else self.path.parent / self.parent_name


def info(path: Path | str) -> VhdInfo:
    """Inspect one file without its parents; raises VhdRejected and OSError."""
    image = Image(Path(path))
    try:
        return _info(image)
    finally:
        image.close()


def _info(image: Image) -> VhdInfo:
    footer, header = image.footer, image.header
    assert footer
    stat = os.fstat(image.fd)
    return VhdInfo(
        path=image.path,
        virtual_size=image.size,
        type=footer.type,
        unique_id=footer.unique_id,
        hidden=footer.hidden,
        parent_name=parent_name(image) if image.differencing else None,
        parent_unique_id=header.parent_unique_id if header and image.differencing else None,
        block_size=header.block_size if header else 0,
        allocated_blocks=image.table.allocated() if header else 0,
        file_size=stat.st_size,
        physical_size=stat.st_blocks * 512,
        creator=footer.creator,
        timestamp=footer.timestamp,
    )


def layout(footer: Footer, parent: str | None, parent_id: uuid_module.UUID, parent_stamp: int) -> tuple[Header, bytes]:
    """Header, and what stands between table and first block (batmap and parent locators)."""
    entries = -(-footer.current_size // BLOCK_SIZE)
    behind = TABLE_OFFSET + table_size(entries)
    tail = bytearray(pack_batmap(behind, entries))
    locators = []
    if parent is not None:
        for code in (W2KU, W2RU, MACX):
            data = encode_locator(code, parent)
            space = round_up(max(len(data), 1), SECTOR)
            locators.append(Locator(code, space, len(data), behind + len(tail)))
            tail += data.ljust(space, b"\0")
    header = Header(
        table_offset=TABLE_OFFSET, max_entries=entries, block_size=BLOCK_SIZE, parent_unique_id=parent_id,
        parent_timestamp=parent_stamp, parent_name=parent or "", locators=tuple(locators),
    )  # fmt: skip
    return header, bytes(tail)


def create(
    path: Path | str,
    virtual_size: int | None = None,
    *,
    unique_id: uuid_module.UUID | None = None,
    parent: Path | str | None = None,
    parent_is_raw: bool = False,
    hidden: bool = False,
) -> VhdInfo:
    """Create an empty dynamic VHD, or with `parent` an empty differencing one.

    `virtual_size` in bytes (a multiple of 512, at most 2040 GiB) may be left out with a parent and is then the
    parent's; it may be larger than the parent's, never smaller. The parent must lie in the same
    directory. The file appears under its name complete. Raises SizeRefused, FileExistsError, VhdError, OSError.
    """
    path = Path(path)
    parent_id, parent_stamp, name = uuid_module.UUID(int=0), 0, None
    if parent is not None:
        parent = Path(parent)
        parent_size, parent_id, parent_stamp = _parent_facts(path, parent, parent_is_raw)
        name = parent.name
        if virtual_size is None:
            virtual_size = parent_size
        check_fits(virtual_size, parent_size)
    if virtual_size is None:
        raise SizeRefused(0, "a disk without parent needs a size")
    check_virtual_size(virtual_size)
    footer = Footer(
        current_size=virtual_size, type=DiskType.DYNAMIC if parent is None else DiskType.DIFFERENCING,
        unique_id=unique_id or uuid_module.uuid4(), timestamp=timestamp_now(), hidden=hidden,
    )  # fmt: skip
    header, tail = layout(footer, name, parent_id, parent_stamp)
    packed = footer.pack()
    table = BlockTable.empty(header.max_entries).pack()
    if path.exists():
        raise FileExistsError(f"{path} exists")
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.new")
    fd = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    try:
        write_all(fd, b"".join((packed, header.pack(), table, tail, packed)), 0)
        # link, unlike rename, never replaces a file that appeared meanwhile
        os.link(temporary, path)
    finally:
        os.close(fd)
        temporary.unlink()
    return info(path)


def _parent_facts(path: Path, parent: Path, raw: bool) -> tuple[int, uuid_module.UUID, int]:
    if parent.absolute().parent != path.absolute().parent:
        raise VhdError(f"{path}: its parent {parent} must lie in the same directory")
    image = Image(parent, raw=raw)
    try:
        stamp = max(0, int(os.fstat(image.fd).st_mtime) - EPOCH) & 0xFFFFFFFF
        return image.size, image.footer.unique_id if image.footer else uuid_module.UUID(int=0), stamp
    finally:
        image.close()


def set_hidden(path: Path | str, hidden: bool) -> None:
    """Mark a file as base copy ("hidden"), or not; raises VhdRejected, DiskBusy, OSError."""
    image = Image(Path(path), writable=True)
    try:
        assert image.footer
        if image.footer.hidden != hidden:
            image.replace_footer(replace(image.footer, hidden=hidden))
            image.flush()
    finally:
        image.close()


def set_parent(path: Path | str, parent: Path | str, *, parent_is_raw: bool = False) -> None:
    """Point a differencing VHD at another parent in its directory; the caller answers for the contents being the same.

    Raises VhdError when the file is not differencing or is smaller than the parent.
    """
    path, parent = Path(path), Path(parent)
    image = Image(path, writable=True)
    try:
        if not image.differencing:
            raise VhdError(
                f"{path}: has no parent (it is not differencing); only a differencing VHD can change parents"
            )
        assert image.header
        size, unique_id, stamp = _parent_facts(path, parent, parent_is_raw)
        check_fits(image.size, size)
        # new locators first, at a new place: until the header names them the old ones are whole
        locators, data = [], bytearray()
        base = image.end + FOOTER_SIZE
        for code in (W2KU, W2RU, MACX):
            text = encode_locator(code, parent.name)
            locators.append(Locator(code, SECTOR * -(-len(text) // SECTOR), len(text), base + len(data)))
            data += text.ljust(round_up(len(text), SECTOR), b"\0")
        image.append(bytes(data))
        image.replace_header(
            replace(
                image.header, parent_unique_id=unique_id, parent_timestamp=stamp, parent_name=parent.name,
                locators=tuple(locators),
            )
        )  # fmt: skip
        image.flush()
    finally:
        image.close()


def resize(path: Path | str, new_size: int) -> None:
    """Grow a VHD to `new_size` bytes; the new part reads as zeros.

    A table that has no room for more entries is written anew behind the data. Raises SizeRefused (smaller, too large,
    not whole sectors), DiskBusy, VhdRejected, OSError.
    """
    path = Path(path)
    check_virtual_size(new_size)
    image = Image(path, writable=True)
    try:
        assert image.footer and image.header
        old = image.size
        if new_size < old:
            raise SizeRefused(new_size, f"smaller than the {old} bytes it has; VHDs only grow")
        if new_size == old:
            return
        entries = -(-new_size // image.block_size)
        _clear_tail(image, old)
        if entries > image.header.max_entries and _fits_in_place(image.header.max_entries, entries):
            # the padding of the table becomes part of it
            padding = table_size(entries) - image.header.max_entries * 4
            write_all(image.fd, b"\xff" * padding, image.header.table_offset + image.header.max_entries * 4)
            image.replace_header(replace(image.header, max_entries=entries))
        elif entries > image.header.max_entries:
            table = BlockTable(image.table.entries + BlockTable.empty(entries - image.header.max_entries).entries)
            packed = table.pack()
            place = image.append(packed + pack_batmap(image.end + FOOTER_SIZE + len(packed), entries))
            image.flush()
            # a header whose table is longer than the size needs is sound: the size follows
            image.replace_header(replace(image.header, table_offset=place, max_entries=entries))
        image.replace_footer(replace(image.footer, current_size=new_size, chs=None))
        image.flush()
    finally:
        image.close()


def _fits_in_place(old: int, new: int) -> bool:
    """Whether a table of `new` entries, and the batmap behind it, take no more sectors than with `old` entries."""
    return table_size(old) == table_size(new) and batmap_size(old) == batmap_size(new)


def _clear_tail(image: Image, size: int) -> None:
    """Zero what the last block has beyond the old end (other tools may have left something there)."""
    block, start = divmod(size, image.block_size)
    if not start or image.table.entries[block] == UNALLOCATED:
        return
    position = image.table.entries[block] * SECTOR + image.bitmap_bytes
    for at in range(start, image.block_size, len(ZEROS)):
        write_all(image.fd, memoryview(ZEROS)[: min(len(ZEROS), image.block_size - at)], position + at)


def coalesce(child: Path | str) -> Path:
    """Write what a differencing VHD holds into its parent, which then reads as the child does; answers that path.

    The parent grows to the child's size when it is smaller. Running it again after a kill ends the work. What is to do
    then belongs to the caller: grandchildren get a new parent (`set_parent`), the child goes. Readers that have the
    whole chain open are not disturbed, since the child covers everything that changes in the parent.
    """
    child = Path(child)
    image = Image(child)
    try:
        if not image.differencing:
            raise VhdError(f"{child}: has no parent to be coalesced into")
        name = parent_name(image)
        for level in open_parents(image):
            level.close()
        parent = child.parent / name
        raw = image.header is not None and image.header.parent_unique_id.int == 0
        if raw:
            raise VhdError(f"{child}: its parent {parent} is a raw file; coalescing into raw files is not done")
        if info(parent).virtual_size < image.size:
            resize(parent, image.size)
        with open_chain(parent, writable=True) as disk:
            step = image.block_size
            for block in image.table.blocks():
                offset = block * step
                for start, length, position in image.segments(offset, min(step, image.size - offset)):
                    if position is not None:
                        disk.pwrite(start, read_exactly(image.fd, length, position, f"block {block}"))
            disk.flush()
        return parent
    finally:
        image.close()
