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
"""A decoder of baseline JPEG after ITU T.81, for looking at what the encoder made: slow, strict, and short."""

import math
import struct

Pixel = tuple[int, int, int]


def read_jpeg(data: bytes) -> tuple[int, int, list[Pixel]]:
    """Width, height and pixels of a picture of three components. Raises AssertionError for what is no such file."""
    assert data[:2] == b"\xff\xd8" and data[-2:] == b"\xff\xd9"
    steps: dict[int, bytes] = {}
    codes: dict[int, dict[tuple[int, int], int]] = {}
    width = height = 0
    components: list[tuple[int, int, int, int]] = []
    position = 2
    while True:
        marker, length = struct.unpack(">HH", data[position : position + 4])
        content = data[position + 4 : position + 2 + length]
        position += 2 + length
        if marker == 0xFFDB:
            steps[content[0]] = content[1:65]
        elif marker == 0xFFC0:
            depth, height, width, count = struct.unpack(">BHHB", content[:6])
            assert (depth, count) == (8, 3)
            components = [
                (content[i], content[i + 1] >> 4, content[i + 1] & 15, content[i + 2]) for i in range(6, 15, 3)
            ]
        elif marker == 0xFFC4:
            codes[content[0]] = _codes(content[1:17], content[17:])
        elif marker == 0xFFDA:
            tables = {content[i]: content[i + 1] for i in range(1, 7, 2)}
            break
    scan = data[position:-2]
    for index in range(len(scan) - 1):
        assert scan[index] != 0xFF or scan[index + 1] == 0, "a marker inside the scan"
    bits = _Reader(scan.replace(b"\xff\0", b"\xff"))
    most_x, most_y = max(c[1] for c in components), max(c[2] for c in components)
    across, down = -(-width // (8 * most_x)), -(-height // (8 * most_y))
    planes = {c[0]: [[0.0] * (across * 8 * c[1]) for _ in range(down * 8 * c[2])] for c in components}
    before = {c[0]: 0 for c in components}
    for tile in range(across * down):
        for number, h, v, table in components:
            for part in range(h * v):
                block, before[number] = _block(bits, codes, tables[number], steps[table], before[number])
                left = (tile % across * h + part % h) * 8
                top = (tile // across * v + part // h) * 8
                for y in range(8):
                    planes[number][top + y][left : left + 8] = block[y]
    pixels = []
    for y in range(height):
        for x in range(width):
            light, blue, red = (planes[number][y * v // most_y][x * h // most_x] for number, h, v, _ in components)
            rgb = (light + 1.402 * red, light - 0.344136 * blue - 0.714136 * red, light + 1.772 * blue)
            r, g, b = (min(255, max(0, round(value + 128))) for value in rgb)
            pixels.append((r, g, b))
    return width, height, pixels


def _codes(lengths: bytes, symbols: bytes) -> dict[tuple[int, int], int]:
    assert sum(lengths) == len(symbols) == len(set(symbols))
    found, code, at = {}, 0, 0
    for bits, count in enumerate(lengths, 1):
        for _ in range(count):
            assert code < (1 << bits) - 1, "a code of ones alone is not allowed"
            found[bits, code] = symbols[at]
            code, at = code + 1, at + 1
        code <<= 1
    return found


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._text = "".join(f"{byte:08b}" for byte in data)
        self._at = 0

    def take(self, count: int) -> int:
        text = self._text[self._at : self._at + count]
        assert len(text) == count, "the scan ends early"
        self._at += count
        return int(text, 2) if text else 0

    def symbol(self, codes: dict[tuple[int, int], int]) -> int:
        code = 0
        for bits in range(1, 17):
            code = code << 1 | self.take(1)
            if (bits, code) in codes:
                return codes[bits, code]
        raise AssertionError("no such code")

    def number(self, size: int) -> int:
        value = self.take(size)
        return value if size and value >> (size - 1) else value - (1 << size) + 1


_WAVES = [
    [math.cos((2 * x + 1) * u * math.pi / 16) * (math.sqrt(0.125) if u == 0 else 0.5) for x in range(8)]
    for u in range(8)
]
_ORDER = sorted(
    ((u, v) for u in range(8) for v in range(8)),
    key=lambda place: (sum(place), place[0] if sum(place) % 2 == 0 else place[1]),
)


def _block(
    bits: _Reader, codes: dict[int, dict[tuple[int, int], int]], table: int, steps: bytes, before: int
) -> tuple[list[list[float]], int]:
    first = before + bits.number(bits.symbol(codes[table >> 4]))
    kept = [first] + [0] * 63
    place = 1
    while place < 64:
        symbol = bits.symbol(codes[0x10 | table & 15])
        if symbol == 0:
            break
        place += symbol >> 4
        if symbol != 0xF0:
            kept[place] = bits.number(symbol & 15)
        place += 1
    waves = [[0.0] * 8 for _ in range(8)]
    for number, (u, v) in enumerate(_ORDER):
        waves[v][u] = kept[number] * steps[number]
    if not any(kept[1:]):
        return [[waves[0][0] / 8] * 8 for _ in range(8)], first
    rows = [[sum(row[u] * _WAVES[u][x] for u in range(8)) for x in range(8)] for row in waves]
    return [[sum(rows[v][x] * _WAVES[v][y] for v in range(8)) for x in range(8)] for y in range(8)], first
