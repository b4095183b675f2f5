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
"""Disks are byte for byte what qemu-img makes of the same contents, in both directions."""

import random
from pathlib import Path

import pytest

from vhd.vhd_tools import MIB, cut_randomly, joined, needs_qemu_img, qemu_img, save, sparse_content
from xapikit import vhd

pytestmark = needs_qemu_img

SIZES = [512, 4096, 2 * MIB - 512, 2 * MIB, 2 * MIB + 512, 9 * MIB + 1536, 40 * MIB]
GIB = 1 << 30


def convert(source: Path, target: Path, subformat: str) -> Path:
    qemu_img("convert", "-O", "vpc", "-o", f"subformat={subformat},force_size=on", source, target)
    return target


@pytest.mark.parametrize("size", SIZES)
def test_qemu_reads_what_we_write_and_we_read_what_it_writes(tmp_path: Path, size: int) -> None:
    content = sparse_content(size, seed=size)
    raw = save(tmp_path / "raw", [content])
    ours = {
        "file": save(tmp_path / "file.vhd", vhd.stream.from_file(raw)),
        "all": save(tmp_path / "all.vhd", vhd.stream.from_raw(cut_randomly(content, 1), size)),
        "sparse": save(
            tmp_path / "sparse.vhd",
            vhd.stream.from_raw(
                cut_randomly(content, 2), size, blocks=vhd.stream.data_blocks(cut_randomly(content, 3))
            ),
        ),
        "written": tmp_path / "written.vhd",
    }
    vhd.create(ours["written"], size)
    with vhd.open_chain(ours["written"], writable=True) as disk:
        assert vhd.stream.raw_onto(disk, cut_randomly(content, 4)) == size
    for path in ours.values():
        qemu_img("compare", "-f", "raw", "-F", "vpc", raw, path)
    theirs = [convert(raw, tmp_path / "dynamic.vhd", "dynamic"), convert(raw, tmp_path / "fixed.vhd", "fixed")]
    for path in [*ours.values(), *theirs]:
        assert vhd.info(path).virtual_size == size
        with vhd.open_chain(path) as disk:
            assert disk.pread(0, size) == content
        assert joined(vhd.stream.to_raw(cut_randomly(path.read_bytes(), 5))) == content
        assert joined(vhd.stream.chain_to_raw(path)) == content


def test_a_disk_made_by_qemu_is_written_and_grown_by_us_and_read_by_qemu(tmp_path: Path) -> None:
    size = 11 * MIB + 512
    content = sparse_content(size, seed=5)
    raw = save(tmp_path / "raw", [content])
    path = convert(raw, tmp_path / "disk.vhd", "dynamic")
    rnd = random.Random(6)
    with vhd.open_chain(path, writable=True) as disk:
        for _ in range(12):
            length = rnd.randrange(1, 500_000)
            offset = rnd.randrange(0, size - length)
            data = rnd.randbytes(length)
            disk.pwrite(offset, data)
            content[offset : offset + length] = data
    qemu_img("compare", "-f", "raw", "-F", "vpc", save(raw, [content]), path)
    # grown twice: within the padding of the table, then beyond it, with the table behind the data
    for grown in (size + 5 * MIB, size + 300 * MIB):
        vhd.resize(path, grown)
        content += bytes(grown - len(content))
        with vhd.open_chain(path, writable=True) as disk:
            disk.pwrite(grown - 777, b"x" * 777)
            content[-777:] = b"x" * 777
        save(raw, [content])
        qemu_img("compare", "-f", "raw", "-F", "vpc", raw, path)


def test_a_disk_of_2040_gib_agrees_with_qemu(tmp_path: Path) -> None:
    size = 2040 * GIB
    raw, path = tmp_path / "raw", tmp_path / "disk.vhd"
    pieces = {0: b"a" * 512, 1023 * GIB + 12345: b"b" * 100_000, size - 4096: b"c" * 4096}
    with raw.open("wb") as file:
        file.truncate(size)
        for offset, data in pieces.items():
            file.seek(offset)
            file.write(data)
    save(path, vhd.stream.from_file(raw))
    theirs = convert(raw, tmp_path / "theirs.vhd", "dynamic")
    for one in (path, theirs):
        assert f'"virtual-size": {size}' in qemu_img("info", "--output=json", one)
        with vhd.open_chain(one) as disk:
            assert disk.size == size
            for offset, data in pieces.items():
                assert disk.pread(offset, len(data)) == data
            assert sum(length for _, length in disk.extents()) <= 8 * MIB
    # both name the same blocks as data
    maps = [qemu_img("map", "--output=json", one).count('"data": true') for one in (path, theirs)]
    assert maps == [3, 3]
    with vhd.open_chain(theirs, writable=True) as disk:
        disk.pwrite(2000 * GIB, b"d" * 512)
    assert qemu_img("map", "--output=json", theirs).count('"data": true') == 4


def test_2040_gib_is_the_end(tmp_path: Path) -> None:
    with pytest.raises(vhd.SizeRefused, match="2040 GiB"):
        vhd.create(tmp_path / "disk.vhd", 2040 * GIB + 512)
    assert not list(tmp_path.iterdir())
