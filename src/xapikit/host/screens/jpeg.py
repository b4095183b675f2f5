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
"""Baseline JPEG (ITU T.81) with colours halved in both directions, in plain Python.

Screens are mostly the same few tiles, so each kind of tile is transformed once. The code tables are our own: short
codes for "nothing changed" and "nothing more", one length for the rest, which suits flat surfaces.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Sequence
from operator import mul
from typing import Final, TypeAlias

from xapikit.host.screens.rfb import Screen

Block: TypeAlias = tuple[int, int, int]
"""The first coefficient, and the code of the others as number and count of bits."""

_TILE: Final = 16
_STEPS: Final = tuple(3 + 2 * (u + v) for v in range(8) for u in range(8))
"""How coarsely each frequency is kept."""


def _zigzag() -> tuple[int, ...]:
    places = ((u + v, u if (u + v) % 2 else v, u, v) for v in range(8) for u in range(8))
    # even diagonals go up, odd ones down
    return tuple(8 * v + u for _, _, u, v in sorted(places, key=lambda p: (p[0], p[3] if p[0] % 2 else p[2])))


_ORDER: Final = _zigzag()
_SCALE: Final = tuple(1 / _STEPS[place] for place in _ORDER)
_EVEN, _ODD = (
    tuple(
        tuple(math.cos((2 * x + 1) * u * math.pi / 16) * (math.sqrt(0.125) if u == 0 else 0.5) for x in range(4))
        for u in range(first, 8, 2)
    )
    for first in (0, 1)
)
# code tables: bits and code by symbol. DC: size 0 in one bit; AC: end of block in one bit
_DC: Final = {0: (1, 0), **{size: (5, 0b10000 + size - 1) for size in range(1, 12)}}
_AC_SYMBOLS: Final = (*(run << 4 | size for run in range(16) for size in range(1, 11)), 0xF0)
_AC: Final = {0: (1, 0), **{symbol: (9, 0b100000000 + number) for number, symbol in enumerate(_AC_SYMBOLS)}}


def encode(screen: Screen) -> bytes:
    """A JPEG file of a screen."""
    return b"".join((_head(screen), _scan(screen), b"\xff\xd9"))


def _segment(marker: int, content: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content


def _head(screen: Screen) -> bytes:
    components = ((1, 0x22), (2, 0x11), (3, 0x11))
    frame = struct.pack(">BHHB", 8, screen.height, screen.width, 3)
    frame += b"".join(bytes((number, sampling, 0)) for number, sampling in components)
    scan = b"\3" + b"".join(bytes((number, 0)) for number, _ in components) + b"\0\x3f\0"
    return b"".join((
        b"\xff\xd8",
        _segment(0xE0, b"JFIF\0" + struct.pack(">HBHHBB", 0x0101, 0, 1, 1, 0, 0)),
        _segment(0xDB, b"\0" + bytes(_STEPS[place] for place in _ORDER)),
        _segment(0xC0, frame),
        _segment(0xC4, b"\0" + _lengths({1: 1, 5: 11}) + bytes(_DC)),
        _segment(0xC4, b"\x10" + _lengths({1: 1, 9: len(_AC_SYMBOLS)}) + bytes(_AC)),
        _segment(0xDA, scan),
    ))  # fmt: skip


def _lengths(counts: dict[int, int]) -> bytes:
    return bytes(counts.get(bits, 0) for bits in range(1, 17))


# pixels --------------------------------------------------------------------------------------------------------------


def _scan(screen: Screen) -> bytes:
    known: dict[bytes, list[Block]] = {}
    out = _Bits()
    before = [0, 0, 0]
    for tile in _tiles(screen):
        blocks = known.get(tile)
        if blocks is None:
            blocks = known[tile] = _transformed(memoryview(tile).cast("I"))
        for number, (first, code, bits) in enumerate(blocks):
            component = max(0, number - 3)
            out.add(*_difference(first - before[component]))
            out.add(code, bits)
            before[component] = first
    return out.finish()


def _tiles(screen: Screen) -> Iterator[bytes]:
    """Tiles of 16 by 16 pixels; what lies beyond the edge repeats it."""
    across = -(-screen.width // _TILE) * _TILE
    for top in range(0, screen.height, _TILE):
        rows = []
        for y in range(top, top + _TILE):
            start = min(y, screen.height - 1) * screen.width
            row = bytes(screen.pixels[start : start + screen.width])
            rows.append(row + row[-4:] * (across - screen.width))
        for left in range(0, 4 * across, 4 * _TILE):
            yield b"".join([row[left : left + 4 * _TILE] for row in rows])


def _transformed(pixels: Sequence[int]) -> list[Block]:
    """Four blocks of brightness and one of each colour difference."""
    red = [pixel >> 16 & 255 for pixel in pixels]
    green = [pixel >> 8 & 255 for pixel in pixels]
    blue = [pixel & 255 for pixel in pixels]
    light = [0.299 * r + 0.587 * g + 0.114 * b - 128 for r, g, b in zip(red, green, blue, strict=True)]
    made = []
    for top, left in ((0, 0), (0, 8), (8, 0), (8, 8)):
        made.append(_block([light[_TILE * y + left : _TILE * y + left + 8] for y in range(top, top + 8)]))
    r4, g4, b4 = _halved(red), _halved(green), _halved(blue)
    for weights in ((-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312)):
        of_r, of_g, of_b = (weight / 4 for weight in weights)
        plane = [r * of_r + g * of_g + b * of_b for r, g, b in zip(r4, g4, b4, strict=True)]
        made.append(_block([plane[8 * y : 8 * y + 8] for y in range(8)]))
    return made


def _halved(values: list[int]) -> list[int]:
    """Sums of squares of four."""
    found: list[int] = []
    for y in range(0, _TILE, 2):
        upper, lower = values[_TILE * y : _TILE * (y + 1)], values[_TILE * (y + 1) : _TILE * (y + 2)]
        both = [a + b for a, b in zip(upper, lower, strict=True)]
        found += [a + b for a, b in zip(both[::2], both[1::2], strict=True)]
    return found


def _block(rows: list[list[float]]) -> Block:
    columns = list(zip(*(_cosines(row) for row in rows), strict=True))
    waves = list(zip(*(_cosines(column) for column in columns), strict=True))
    flat = [value for row in waves for value in row]
    kept = [round(flat[place] * scale) for place, scale in zip(_ORDER, _SCALE, strict=True)]
    return kept[0], *_rest(kept)


def _cosines(values: Sequence[float]) -> list[float]:
    """The one-dimensional transform, sums and differences of mirrored values apart."""
    a, b, c, d, e, f, g, h = values
    sums, differences = (a + h, b + g, c + f, d + e), (a - h, b - g, c - f, d - e)
    even = [sum(map(mul, sums, wave)) for wave in _EVEN]
    odd = [sum(map(mul, differences, wave)) for wave in _ODD]
    return [even[0], odd[0], even[1], odd[1], even[2], odd[2], even[3], odd[3]]


# codes ---------------------------------------------------------------------------------------------------------------


def _difference(value: int) -> tuple[int, int]:
    size = abs(value).bit_length()
    bits, code = _DC[size]
    return code << size | _low(value, size), bits + size


def _rest(kept: list[int]) -> tuple[int, int]:
    code = length = run = 0
    for value in kept[1:]:
        if not value:
            run += 1
            continue
        while run > 15:
            bits, symbol = _AC[0xF0]
            code, length, run = code << bits | symbol, length + bits, run - 16
        size = abs(value).bit_length()
        bits, symbol = _AC[run << 4 | size]
        code = (code << bits | symbol) << size | _low(value, size)
        length += bits + size
        run = 0
    if run:
        bits, symbol = _AC[0]
        code, length = code << bits | symbol, length + bits
    return code, length


def _low(value: int, size: int) -> int:
    return value if value >= 0 else value + (1 << size) - 1


class _Bits:
    """Bits become bytes; one of 255 is followed by a zero, so that it is no marker."""

    def __init__(self) -> None:
        self._done = bytearray()
        self._value = 0
        self._length = 0

    def add(self, code: int, bits: int) -> None:
        self._value = self._value << bits | code
        self._length += bits
        if self._length >= 4096:
            left = self._length % 8
            self._flush(self._value >> left, self._length // 8)
            self._value, self._length = self._value & ((1 << left) - 1), left

    def finish(self) -> bytes:
        fill = -self._length % 8
        self._flush(self._value << fill | (1 << fill) - 1, (self._length + fill) // 8)
        return bytes(self._done)

    def _flush(self, value: int, count: int) -> None:
        self._done += value.to_bytes(count, "big").replace(b"\xff", b"\xff\0")
