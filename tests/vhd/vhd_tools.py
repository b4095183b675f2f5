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
"""What the VHD tests share: qemu-img, sparse contents, streams cut at random, and VHDs that are wrong in one place."""

import random
import shutil
import struct
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from xapikit.vhd.format import SECTOR, checksum

MIB = 1 << 20

needs_qemu_img = pytest.mark.skipif(shutil.which("qemu-img") is None, reason="qemu-img (qemu-utils) is not installed")


def qemu_img(*arguments: object) -> str:
    done = subprocess.run(["qemu-img", *map(str, arguments)], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, f"qemu-img {arguments}: {done.stdout}{done.stderr}"
    return done.stdout


def sparse_content(size: int, seed: int, pieces: int = 8, longest: int = 700_000) -> bytearray:
    """Zeros with some random data in it, at odd places."""
    rnd = random.Random(seed)
    content = bytearray(size)
    for _ in range(pieces):
        length = min(size, rnd.randrange(1, longest))
        start = rnd.randrange(0, size - length + 1)
        content[start : start + length] = rnd.randbytes(length)
    return content


def cut_randomly(
    data: bytes | bytearray, seed: int, sizes: tuple[int, ...] = (1, 7, 511, 512, 4096, 65536, 3 * MIB)
) -> Iterator[bytes]:
    rnd = random.Random(seed)
    at = 0
    while at < len(data):
        step = rnd.choice(sizes)
        yield bytes(data[at : at + step])
        at += step


def save(path: Path, chunks: Iterable[bytes | bytearray | memoryview]) -> Path:
    with path.open("wb") as file:
        for chunk in chunks:
            file.write(chunk)
    return path


def joined(chunks: Iterable[bytes | bytearray | memoryview]) -> bytes:
    return b"".join(bytes(chunk) for chunk in chunks)


def patch_footer(vhd: bytes, offset: int, value: bytes, *, where: str = "both", fix: bool = True) -> bytes:
    """Change a footer field in the front copy, the end, or both; `fix` makes the checksum right again."""
    out = bytearray(vhd)
    for at in {"both": (0, len(out) - SECTOR), "front": (0,), "end": (len(out) - SECTOR,)}[where]:
        out[at + offset : at + offset + len(value)] = value
        if fix:
            out[at + 64 : at + 68] = bytes(4)
            out[at + 64 : at + 68] = struct.pack(">I", checksum(bytes(out[at : at + SECTOR])))
    return bytes(out)


def patch_header(vhd: bytes, offset: int, value: bytes, *, fix: bool = True) -> bytes:
    out = bytearray(vhd)
    at = SECTOR
    out[at + offset : at + offset + len(value)] = value
    if fix:
        out[at + 36 : at + 40] = bytes(4)
        out[at + 36 : at + 40] = struct.pack(">I", checksum(bytes(out[at : at + 1024])))
    return bytes(out)


def patch_table(vhd: bytes, block: int, sector: int) -> bytes:
    out = bytearray(vhd)
    struct.pack_into(">I", out, 1536 + block * 4, sector)
    return bytes(out)


def table_entry(vhd: bytes, block: int) -> int:
    return int(struct.unpack_from(">I", vhd, 1536 + block * 4)[0])
