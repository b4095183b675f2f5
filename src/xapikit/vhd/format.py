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
"""The VHD format: footer, dynamic header, parent locators, batmap, geometry; bytes in, values out, no I/O.

All integers are big endian; checksums are the ones' complement of the sum of all bytes with the checksum field taken as
zero. Facts: Microsoft's "Virtual Hard Disk Image Format Specification" (2006) and what XAPI hosts add to it: byte 85 of
the footer says "hidden" (a base copy that no one should attach), and a batmap behind the block table.
"""

import struct
import time
import uuid as uuid_module
from dataclasses import dataclass, field
from enum import IntEnum

from .errors import Reason, SizeRefused, VhdRejected

SECTOR = 512
MIB = 1 << 20
GIB = 1 << 30
#: default block size; every tool on a XAPI host uses it
BLOCK_SIZE = 2 * MIB
#: largest virtual size that XAPI hosts accept for a VHD
MAX_VIRTUAL_SIZE = 2040 * GIB
#: entry of the block table for a block that is not in the file
UNALLOCATED = 0xFFFFFFFF
#: bound of the block table kept in memory (4 MiB): the largest disk in blocks of 2 MiB
MAX_TABLE_ENTRIES = 1 << 20
MIN_BLOCK_SIZE = 4096
MAX_BLOCK_SIZE = 16 * MIB
#: data of blocks starts at a multiple of this, as the hosts' own tools lay it out; the bitmap sits right before it
DATA_ALIGNMENT = 4096

FOOTER_SIZE = 512
HEADER_SIZE = 1024
FOOTER_COOKIE = b"conectix"
HEADER_COOKIE = b"cxsparse"
BATMAP_COOKIE = b"tdbatmap"
NO_UUID = uuid_module.UUID(int=0)
NO_OFFSET = 0xFFFFFFFFFFFFFFFF
#: seconds between the epochs of Unix and of the format (2000-01-01)
EPOCH = 946684800

_FOOTER = struct.Struct(">8sIIQI4sI4sQQHBBII16sBB426s")
_HEADER = struct.Struct(">8sQQIIII16sII512s192s256s")
_LOCATOR = struct.Struct(">4sIIIQ")
_BATMAP = struct.Struct(">8sQIII")

MACX = b"MACX"
W2KU = b"W2ku"
W2RU = b"W2ru"


class DiskType(IntEnum):
    """Footer field "type"."""

    FIXED = 2
    DYNAMIC = 3
    DIFFERENCING = 4


def checksum(data: bytes) -> int:
    """Ones' complement of the byte sum; the checksum field must be zero in `data`."""
    return ~sum(data) & 0xFFFFFFFF


def round_up(value: int, unit: int) -> int:
    return -(-value // unit) * unit


def timestamp_now() -> int:
    return max(0, int(time.time()) - EPOCH)


def bitmap_size(block_size: int) -> int:
    """Bytes that the sector bitmap of one block takes in the file (whole sectors)."""
    return round_up(block_size // SECTOR // 8, SECTOR)


def table_size(entries: int) -> int:
    """Bytes that the block table takes in the file (whole sectors)."""
    return round_up(entries * 4, SECTOR)


def check_virtual_size(size: int) -> None:
    """Raise SizeRefused unless a VHD may have this virtual size: whole sectors, 1 to 2040 GiB."""
    if size <= 0:
        raise SizeRefused(size, "must be positive")
    if size % SECTOR:
        raise SizeRefused(size, f"must be a multiple of {SECTOR} bytes")
    if size > MAX_VIRTUAL_SIZE:
        raise SizeRefused(size, f"a VHD holds at most {MAX_VIRTUAL_SIZE} bytes (2040 GiB)")


def geometry(size: int) -> tuple[int, int, int]:
    """Cylinders, heads and sectors per track for a size, by the specification's algorithm."""
    total = min(size // SECTOR, 65535 * 16 * 255)
    if total >= 65535 * 16 * 63:
        return total // 255 // 16, 16, 255
    sectors = 17
    tracks = total // sectors
    heads = max((tracks + 1023) // 1024, 4)
    if tracks >= heads * 1024 or heads > 16:
        sectors, heads = 31, 16
        tracks = total // sectors
    if tracks >= heads * 1024:
        sectors, heads = 63, 16
        tracks = total // sectors
    return tracks // heads, heads, sectors


@dataclass(frozen=True, slots=True)
class Footer:
    """The footer, which also stands at offset 0 of dynamic and differencing files. Sizes in bytes."""

    current_size: int
    type: DiskType
    unique_id: uuid_module.UUID
    data_offset: int = FOOTER_SIZE
    original_size: int = 0
    timestamp: int = 0
    creator: bytes = b"tap\0"
    creator_version: int = 0x00010003
    creator_os: bytes = b"\0\0\0\0"
    features: int = 2
    saved_state: int = 0
    hidden: bool = False
    #: cylinders, heads, sectors as found in a file (some readers derive the size from them); None: computed
    chs: tuple[int, int, int] | None = None

    def pack(self) -> bytes:
        cylinders, heads, sectors = self.chs or geometry(self.current_size)
        fields = [
            FOOTER_COOKIE, self.features, 0x00010000, self.data_offset, self.timestamp, self.creator,
            self.creator_version, self.creator_os, self.original_size or self.current_size, self.current_size,
            cylinders, heads, sectors,
            int(self.type), 0, self.unique_id.bytes, self.saved_state, int(self.hidden), bytes(426),
        ]  # fmt: skip
        fields[14] = checksum(_FOOTER.pack(*fields))
        return _FOOTER.pack(*fields)

    @classmethod
    def unpack(cls, data: bytes) -> "Footer":
        """Parse 512 bytes; raises VhdRejected (cookie, version, checksum, type, size)."""
        if len(data) < FOOTER_SIZE:
            raise VhdRejected(Reason.TRUNCATED, f"a footer has {FOOTER_SIZE} bytes, found {len(data)}")
        data = bytes(data[:FOOTER_SIZE])
        (cookie, features, version, data_offset, stamp, creator, creator_version, creator_os, original, current,
         cylinders, heads, sectors, kind, found, unique, saved, hidden, _rest) = _FOOTER.unpack(data)  # fmt: skip
        if cookie != FOOTER_COOKIE:
            raise VhdRejected(Reason.NOT_VHD, f"footer starts with {cookie!r}, not {FOOTER_COOKIE!r}")
        expected = checksum(data[:64] + bytes(4) + data[68:])
        if found != expected:
            raise VhdRejected(Reason.CHECKSUM, f"footer says {found:#010x}, its bytes give {expected:#010x}")
        if version >> 16 != 1:
            raise VhdRejected(Reason.VERSION, f"footer version {version:#010x}, known is 1.x")
        try:
            disk_type = DiskType(kind)
        except ValueError:
            raise VhdRejected(
                Reason.TYPE, f"footer type {kind}; 2 (fixed), 3 (dynamic), 4 (differencing) exist"
            ) from None
        try:
            check_virtual_size(current)
        except SizeRefused as error:
            raise VhdRejected(Reason.SIZE_LIMIT, str(error)) from None
        return cls(
            current_size=current, type=disk_type, unique_id=uuid_module.UUID(bytes=unique), data_offset=data_offset,
            original_size=original, timestamp=stamp, creator=creator, creator_version=creator_version,
            creator_os=creator_os, features=features, saved_state=saved, hidden=bool(hidden),
            chs=(cylinders, heads, sectors),
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Locator:
    """Where a parent's path is stored: platform code, reserved space, length and position in the file (bytes)."""

    code: bytes
    space: int
    length: int
    offset: int

    @property
    def reserved(self) -> int:
        """Reserved bytes; some tools write the field in sectors, some in bytes."""
        return max(self.space * SECTOR if self.space < SECTOR else self.space, round_up(self.length, SECTOR))


@dataclass(frozen=True, slots=True)
class Header:
    """The dynamic header. `parent_unique_id` zero on a differencing disk means that the parent is a raw file."""

    table_offset: int
    max_entries: int
    block_size: int = BLOCK_SIZE
    parent_unique_id: uuid_module.UUID = NO_UUID
    parent_timestamp: int = 0
    parent_name: str = ""
    locators: tuple[Locator, ...] = field(default=())

    def pack(self) -> bytes:
        entries = [_LOCATOR.pack(one.code, one.space, one.length, 0, one.offset) for one in self.locators]
        name = self.parent_name.encode("utf-16-be", "surrogatepass")[:510]
        fields = [
            HEADER_COOKIE, NO_OFFSET, self.table_offset, 0x00010000, self.max_entries, self.block_size, 0,
            self.parent_unique_id.bytes, self.parent_timestamp, 0, name, b"".join(entries), bytes(256),
        ]  # fmt: skip
        fields[6] = checksum(_HEADER.pack(*fields))
        return _HEADER.pack(*fields)

    @classmethod
    def unpack(cls, data: bytes, virtual_size: int) -> "Header":
        """Parse 1024 bytes of a disk of `virtual_size` bytes; raises VhdRejected."""
        if len(data) < HEADER_SIZE:
            raise VhdRejected(Reason.TRUNCATED, f"a dynamic header has {HEADER_SIZE} bytes, found {len(data)}")
        data = bytes(data[:HEADER_SIZE])
        (cookie, _next, table_offset, version, entries, block_size, found, parent, stamp, _reserved, name, locators,
         _rest) = _HEADER.unpack(data)  # fmt: skip
        if cookie != HEADER_COOKIE:
            raise VhdRejected(Reason.NOT_VHD, f"dynamic header starts with {cookie!r}, not {HEADER_COOKIE!r}")
        expected = checksum(data[:36] + bytes(4) + data[40:])
        if found != expected:
            raise VhdRejected(Reason.CHECKSUM, f"dynamic header says {found:#010x}, its bytes give {expected:#010x}")
        if version >> 16 != 1:
            raise VhdRejected(Reason.VERSION, f"dynamic header version {version:#010x}, known is 1.x")
        if not MIN_BLOCK_SIZE <= block_size <= MAX_BLOCK_SIZE or block_size & (block_size - 1):
            raise VhdRejected(
                Reason.BLOCK_SIZE,
                f"block size {block_size}: must be a power of two from {MIN_BLOCK_SIZE} to {MAX_BLOCK_SIZE}",
            )
        needed = -(-virtual_size // block_size)
        if entries < needed:
            raise VhdRejected(
                Reason.TABLE_SIZE, f"block table has {entries} entries, {virtual_size} bytes need {needed}"
            )
        if entries > MAX_TABLE_ENTRIES:
            raise VhdRejected(Reason.TABLE_SIZE, f"block table has {entries} entries, at most {MAX_TABLE_ENTRIES}")
        if table_offset % SECTOR:
            raise VhdRejected(Reason.TABLE_POSITION, f"block table at {table_offset}, not at a sector")
        found_locators = []
        for index in range(8):
            code, space, length, _zero, offset = _LOCATOR.unpack_from(locators, index * _LOCATOR.size)
            if code != bytes(4):
                found_locators.append(Locator(code, space, length, offset))
        return cls(
            table_offset=table_offset, max_entries=entries, block_size=block_size,
            parent_unique_id=uuid_module.UUID(bytes=parent), parent_timestamp=stamp,
            parent_name=name.decode("utf-16-be", "replace").partition("\0")[0], locators=tuple(found_locators),
        )  # fmt: skip


def pack_batmap(offset: int, entries: int) -> bytes:
    """Batmap header sector and map for a table of `entries`, no block marked full (a set bit is only a hint).

    `offset` is where the header sector stands in the file; hosts' tools expect it right behind the block table.
    """
    map_bytes = round_up(-(-entries // 8), SECTOR)
    head = _BATMAP.pack(BATMAP_COOKIE, offset + SECTOR, map_bytes // SECTOR, 0x00010002, checksum(b""))
    return head.ljust(SECTOR, b"\0") + bytes(map_bytes)


def batmap_size(entries: int) -> int:
    """Bytes that header sector and map take."""
    return SECTOR + round_up(-(-entries // 8), SECTOR)


def encode_locator(code: bytes, file_name: str) -> bytes:
    """The bytes a locator points to, for a parent in the child's own directory."""
    if code == MACX:
        return f"file://./{file_name}".encode()
    return f".\\{file_name}".encode("utf-16-le", "surrogatepass")


def decode_locator(code: bytes, data: bytes) -> str | None:
    """The parent's path as a locator has it (with forward slashes), None for platforms that are not known."""
    if code == MACX:
        text = data.rstrip(b"\0").decode("utf-8", "replace")
        return text.removeprefix("file://") if text.startswith("file://") else text
    if code in (W2KU, W2RU):
        return data.decode("utf-16-le", "replace").rstrip("\0").replace("\\", "/")
    return None
