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
"""The picture of a guest that does not exist: colour bars and its name, in letters of our own drawing."""

from __future__ import annotations

from dataclasses import dataclass

WIDTH, HEIGHT = 640, 400
SCALE = 4
"""Pixels per dot of a letter."""
LETTER = 4 * SCALE
"""Advance of one letter in pixels: three dots and a gap."""

PALETTE = (
    (16, 16, 24),
    (235, 235, 235),
    (235, 235, 16),
    (16, 235, 235),
    (16, 235, 16),
    (235, 16, 235),
    (235, 16, 16),
    (16, 16, 235),
    (96, 96, 112),
)
"""Red, green, blue by colour number; 0 is the ground, 1 the letters."""

_BARS = (1, 2, 3, 4, 5, 6, 7, 8)

# three dots wide, five rows from the top: each digit is one row, its bits are the dots
_LETTERS = {
    "A": "25755", "B": "65656", "C": "34443", "D": "65556", "E": "74647", "F": "74644", "G": "34553", "H": "55755",
    "I": "72227", "J": "11152", "K": "55655", "L": "44447", "M": "57755", "N": "65555", "O": "25552", "P": "65644",
    "Q": "25563", "R": "65655", "S": "34216", "T": "72222", "U": "55557", "V": "55552", "W": "55775", "X": "55255",
    "Y": "55222", "Z": "71247", "0": "75557", "1": "26227", "2": "61247", "3": "61216", "4": "55711", "5": "74616",
    "6": "34757", "7": "71222", "8": "75757", "9": "75716", "-": "00700", "_": "00007", ".": "00002", ":": "02020",
    "/": "11244", "(": "24442", ")": "21112", "?": "61202", "=": "07070", "#": "57575", ",": "00024", "+": "02720",
    " ": "00000", "'": "22000",
}  # fmt: skip


@dataclass(frozen=True)
class Picture:
    """Rows of colour numbers."""

    width: int
    height: int
    rows: tuple[bytes, ...]

    def encode(self, pixels: tuple[bytes, ...], x: int, y: int, width: int, height: int) -> bytes:
        """A rectangle as pixels, given the bytes of each colour. The rectangle lies within the picture."""
        done: dict[bytes, bytes] = {}  # most rows repeat
        parts = []
        for row in self.rows[y : y + height]:
            cut = row[x : x + width]
            if cut not in done:
                done[cut] = b"".join([pixels[colour] for colour in cut])
            parts.append(done[cut])
        return b"".join(parts)


def draw(lines: tuple[str, ...]) -> Picture:
    """Colour bars above, text below; letters without a drawing are shown as ``?``."""
    bars = b"".join(bytes([colour]) * (WIDTH // len(_BARS)) for colour in _BARS)
    text_rows = 7 * SCALE * len(lines) + 4 * SCALE
    rows = [bars] * (HEIGHT - text_rows) + [bytes(WIDTH)] * (2 * SCALE)
    for line in lines:
        for band in _text_band(line[: WIDTH // LETTER - 1]):
            rows.extend([band] * SCALE)
        rows.extend([bytes(WIDTH)] * (2 * SCALE))
    rows.extend([bytes(WIDTH)] * (HEIGHT - len(rows)))
    return Picture(WIDTH, HEIGHT, tuple(rows[:HEIGHT]))


def _text_band(line: str) -> list[bytes]:
    glyphs = [_LETTERS.get(letter, _LETTERS["?"]) for letter in line.upper()]
    bands = []
    for row in range(5):
        band = bytearray(bytes(2 * SCALE))
        for glyph in glyphs:
            bits = int(glyph[row])
            for bit in (4, 2, 1):
                band += bytes([1 if bits & bit else 0]) * SCALE
            band += bytes(SCALE)
        bands.append(bytes(band[:WIDTH]) + bytes(max(0, WIDTH - len(band))))
    return bands
