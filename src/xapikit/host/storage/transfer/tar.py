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
"""Disks as tar streams: members of 1 MiB with a checksum behind each (wire reference 5.2).

A member is ``<disk>/<number>``, its checksum ``<disk>/<number>.xxhash`` (16 hex digits of XXH64) or, from older hosts,
``.checksum`` (SHA-1). Chunks of zeros are left out, except the first and the last.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import re
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from xapikit.host.storage.disks import SwitchableDisk

CHUNK = 1 << 20
BLOCK = 512
END = bytes(2 * BLOCK)
"""What an archive ends with."""
_NAME = re.compile(r"(?P<stem>[^/\0]+/(?P<number>[0-9]{8,10}))(?:\.(?P<checksum>xxhash|checksum))?")
_ZEROS = bytes(CHUNK)


@dataclass(frozen=True)
class Member:
    """A header: ``name`` without the checksum's suffix, ``offset`` on the disk, ``size`` in bytes."""

    name: str
    offset: int
    size: int
    checksum: str | None
    """None for data, else the kind of checksum that the member holds."""


def member_of(header: bytes) -> Member | None:
    """Parse the header of a disk's member; None for the block of zeros that ends an archive. Raises ValueError."""
    found = name_and_size(header)
    if found is None:
        return None
    match = _NAME.fullmatch(found[0])
    if match is None:
        raise ValueError("a tar member that is no part of a disk")
    return Member(match["stem"], int(match["number"]) * CHUNK, found[1], match["checksum"])


def name_and_size(header: bytes) -> tuple[str, int] | None:
    """Parse a tar header; None for a block of zeros. Raises ValueError."""
    if not header.strip(b"\0"):
        return None
    stated = int(header[148:156].strip(b" \0") or b"0", 8)
    if stated != sum(header[:148]) + 8 * 0x20 + sum(header[156:]):
        raise ValueError("a tar header with a wrong checksum")
    size = int(header[124:136].strip(b" \0"), 8)
    if size < 0:
        raise ValueError("a tar member of less than nothing")
    return header[:100].partition(b"\0")[0].decode("ascii"), size


class Checksum:
    """A kind of checksum by the suffix of its members."""

    def __init__(self, kind: str) -> None:
        self._digest = _xxh64() if kind == "xxhash" else _sha1

    def of(self, data: memoryview) -> str:
        return self._digest(data)


def _sha1(data: memoryview) -> str:
    return hashlib.sha1(data, usedforsecurity=False).hexdigest()


def _xxh64() -> Callable[[memoryview], str]:
    try:
        import xxhash  # type: ignore[import-not-found,unused-ignore]
    except ImportError:
        return _library() or (lambda data: f"{xxh64(data):016x}")
    return lambda data: str(xxhash.xxh64_hexdigest(data))


@functools.cache
def _library() -> Callable[[memoryview], str] | None:
    """The C library, which most systems have and which is thousands of times faster than our own loop."""
    try:
        function = ctypes.CDLL("libxxhash.so.0").XXH64
    except (OSError, AttributeError):
        return None
    function.restype = ctypes.c_uint64
    function.argtypes = (ctypes.c_char_p, ctypes.c_size_t, ctypes.c_uint64)
    return lambda data: f"{function(bytes(data), len(data), 0):016x}"


def export_tar(disk: SwitchableDisk) -> Iterator[bytes | memoryview]:
    """A disk as a tar stream of its own."""
    checksum = Checksum("xxhash")
    yield from disk_members(disk, "vdi", checksum.of)
    yield END


def disk_members(disk: SwitchableDisk, stem: str, digest: Callable[[memoryview], str]) -> Iterator[bytes | memoryview]:
    """The members of one disk; ``digest`` gives the text of a chunk's XXH64. A piece is valid until the next one."""
    total = -(-disk.size // CHUNK)
    buffer = memoryview(bytearray(CHUNK))
    held = _chunks_held(disk)
    for number in range(total):
        view = buffer[: min(CHUNK, disk.size - number * CHUNK)]
        if number in held:
            disk.pread_into(number * CHUNK, view)
        else:
            view[:] = memoryview(_ZEROS)[: len(view)]
        if 0 < number < total - 1 and _ZEROS.startswith(view):
            continue
        name = f"{stem}/{number:08d}"
        yield header(name, len(view))
        yield view
        stated = digest(view).encode()
        yield padding(len(view)) + header(f"{name}.xxhash", len(stated)) + stated + padding(len(stated))


def _chunks_held(disk: SwitchableDisk) -> set[int]:
    held: set[int] = set()
    for offset, length in disk.extents():
        held.update(range(offset // CHUNK, -(-(offset + length) // CHUNK)))
    return held


def padding(size: int) -> bytes:
    """What follows a member's content up to the next header."""
    return bytes(-size % BLOCK)


def header(name: str, size: int, *, moment: int = 0) -> bytes:
    """The header of a plain file; ``moment`` is its time of modification in seconds of the epoch."""
    header = bytearray(BLOCK)
    for position, text in (
        (0, name),
        (100, "0000644"),
        (108, "0000000"),
        (116, "0000000"),
        (124, f"{size:011o}"),
        (136, f"{moment:011o}"),
        (148, " " * 8),
        (156, "0"),
        (257, "ustar"),
        (263, "00"),
    ):
        header[position : position + len(text)] = text.encode()
    header[148:156] = f"{sum(header):06o}\0 ".encode()
    return bytes(header)


# XXH64, from its published specification -----------------------------------------------------------------------------

_P1, _P2, _P3, _P4, _P5 = (
    0x9E3779B185EBCA87,
    0xC2B2AE3D27D4EB4F,
    0x165667B19E3779F9,
    0x85EBCA77C2B2AE63,
    0x27D4EB2F165667C5,
)
_M = (1 << 64) - 1


def _rotate(value: int, bits: int) -> int:
    return (value << bits | value >> (64 - bits)) & _M


def _round(lane: int, word: int) -> int:
    return _rotate((lane + word * _P2) & _M, 31) * _P1 & _M


def xxh64(data: bytes | memoryview) -> int:
    """XXH64 with seed 0. About 0.1 s for 1 MiB; the package ``xxhash`` is used instead where it is installed."""
    view = memoryview(data)
    length = len(view)
    at = length - length % 32
    if length >= 32:
        one, two, three, four = (_P1 + _P2) & _M, _P2, 0, -_P1 & _M
        mask, p1, p2 = _M, _P1, _P2
        # written out: this loop is all the time there is
        for a, b, c, d in struct.iter_unpack("<4Q", view[:at]):
            one = (one + a * p2) & mask
            one = (one << 31 | one >> 33) * p1 & mask
            two = (two + b * p2) & mask
            two = (two << 31 | two >> 33) * p1 & mask
            three = (three + c * p2) & mask
            three = (three << 31 | three >> 33) * p1 & mask
            four = (four + d * p2) & mask
            four = (four << 31 | four >> 33) * p1 & mask
        value = (_rotate(one, 1) + _rotate(two, 7) + _rotate(three, 12) + _rotate(four, 18)) & _M
        for lane in (one, two, three, four):
            value = ((value ^ _round(0, lane)) * _P1 + _P4) & _M
    else:
        value = _P5
    value = (value + length) & _M
    while at + 8 <= length:
        word = int.from_bytes(view[at : at + 8], "little")
        value = (_rotate(value ^ _round(0, word), 27) * _P1 + _P4) & _M
        at += 8
    if at + 4 <= length:
        word = int.from_bytes(view[at : at + 4], "little")
        value = (_rotate(value ^ (word * _P1 & _M), 23) * _P2 + _P3) & _M
        at += 4
    for byte in view[at:]:
        value = _rotate(value ^ (byte * _P5 & _M), 11) * _P1 & _M
    value = (value ^ value >> 33) * _P2 & _M
    value = (value ^ value >> 29) * _P3 & _M
    return value ^ value >> 32
