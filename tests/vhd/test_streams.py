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
"""Streams: in one pass, with any cut, holding little, and saying what is wrong."""

import random
import threading
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest

from vhd.vhd_tools import MIB, cut_randomly, joined, patch_table, sparse_content, table_entry
from xapikit import vhd
from xapikit.vhd import Reason
from xapikit.vhd.format import DiskType
from xapikit.vhd.inspect import StreamInspector

GIB = 1 << 30
SIZE = 13 * MIB + 1024
CONTENT = bytes(sparse_content(SIZE, seed=21))
BLOCKS = vhd.stream.data_blocks([CONTENT])
GOOD = joined(vhd.stream.from_raw([CONTENT], SIZE, blocks=BLOCKS))


@pytest.mark.parametrize("seed", range(8))
def test_any_cut_gives_the_same_bytes(seed: int) -> None:
    assert vhd.stream.data_blocks(cut_randomly(CONTENT, seed)) == BLOCKS
    unique_id = vhd.stream.read([GOOD]).unique_id
    again = joined(vhd.stream.from_raw(cut_randomly(CONTENT, seed), SIZE, blocks=BLOCKS, unique_id=unique_id))
    assert len(again) == len(GOOD) == vhd.stream.length_of(SIZE, len(BLOCKS))
    # the time stamp may differ
    assert again[1536 : len(again) - 512] == GOOD[1536 : len(GOOD) - 512]
    assert joined(vhd.stream.to_raw(cut_randomly(GOOD, seed))) == CONTENT


def test_the_head_is_known_before_the_data_is_asked_for() -> None:
    asked = []

    def chunks() -> Iterator[bytes]:
        for at in range(0, len(GOOD), 512):
            asked.append(at)
            yield GOOD[at : at + 512]

    stream = vhd.stream.read(chunks())
    assert (stream.virtual_size, stream.type, stream.allocated_blocks) == (SIZE, DiskType.DYNAMIC, len(BLOCKS))
    assert asked[-1] < table_entry(GOOD, BLOCKS[0]) * 512
    assert sum(len(data) for _, data in stream) >= len(BLOCKS) * MIB


def test_nothing_is_asked_for_behind_the_closing_footer() -> None:
    def chunks() -> Iterator[bytes]:
        yield GOOD
        raise AssertionError("asked for more than the image")

    assert joined(data for _, data in vhd.stream.read(chunks()))


def test_a_size_that_is_no_whole_sector_is_padded() -> None:
    content = CONTENT[:1_000_001]
    out = joined(vhd.stream.to_raw(vhd.stream.from_raw([content], len(content))))
    assert out == content.ljust(1_000_448, b"\0")


def test_blocks_in_any_order_are_read_but_not_flattened_in_one_pass(tmp_path: Path) -> None:
    path = tmp_path / "disk.vhd"
    vhd.create(path, 16 * MIB)
    content = bytearray(16 * MIB)
    with vhd.open_chain(path, writable=True) as disk:
        for block in (5, 1, 7, 0):
            disk.pwrite(block * 2 * MIB + 5000, bytes([block + 1]) * 700_000)
            content[block * 2 * MIB + 5000 : block * 2 * MIB + 705_000] = bytes([block + 1]) * 700_000
    image = path.read_bytes()
    stream = vhd.stream.read(cut_randomly(image, 1))
    assert not stream.ascending
    starts = list(dict.fromkeys(offset // (2 * MIB) for offset, _ in stream))
    assert starts == [5, 1, 7, 0]
    with pytest.raises(vhd.VhdRejected) as caught:
        vhd.stream.to_raw([image])
    assert caught.value.reason is Reason.BLOCK_ORDER
    assert vhd.stream.to_file(tmp_path / "raw", cut_randomly(image, 3)) == 16 * MIB
    assert (tmp_path / "raw").read_bytes() == content
    with pytest.raises(vhd.VhdRejected):
        vhd.stream.to_file(tmp_path / "cut", [image[:-512]])
    assert not (tmp_path / "cut").exists()
    vhd.create(tmp_path / "copy.vhd", 16 * MIB)
    with vhd.open_chain(tmp_path / "copy.vhd", writable=True) as disk:
        vhd.stream.onto(disk, cut_randomly(image, 2))
        assert disk.pread(0, disk.size) == content


def test_an_import_leaves_what_the_stream_lacks_and_refuses_what_does_not_fit(tmp_path: Path) -> None:
    path = tmp_path / "disk.vhd"
    vhd.create(path, 32 * MIB)
    with vhd.open_chain(path, writable=True) as disk:
        disk.pwrite(0, b"\xee" * 32 * MIB)
        vhd.stream.onto(disk, cut_randomly(GOOD, 1))
        for block in range(16):
            found = disk.pread(block * 2 * MIB, 2 * MIB)
            if block in BLOCKS:
                inside = CONTENT[block * 2 * MIB : (block + 1) * 2 * MIB]
                assert found == inside + b"\xee" * (2 * MIB - len(inside))
            else:
                assert found == b"\xee" * 2 * MIB
    vhd.create(tmp_path / "small.vhd", MIB)
    with vhd.open_chain(tmp_path / "small.vhd", writable=True) as disk, pytest.raises(vhd.OutOfRange):
        vhd.stream.onto(disk, [GOOD])


def test_a_saved_stream_is_a_new_file_or_none(tmp_path: Path) -> None:
    path = tmp_path / "disk.vhd"
    assert vhd.stream.save(path, cut_randomly(GOOD, 1)) == len(GOOD)
    assert path.read_bytes() == GOOD
    with pytest.raises(FileExistsError):
        vhd.stream.save(path, [b"x"])
    with pytest.raises(vhd.VhdRejected):
        vhd.stream.save(tmp_path / "other.vhd", vhd.stream.from_raw([CONTENT[:-512]], SIZE))
    assert [one.name for one in tmp_path.iterdir()] == ["disk.vhd"]


def test_raw_onto_an_offset(tmp_path: Path) -> None:
    path = tmp_path / "disk.vhd"
    vhd.create(path, 16 * MIB)
    with vhd.open_chain(path, writable=True) as disk:
        assert vhd.stream.raw_onto(disk, cut_randomly(CONTENT, 1), offset=777) == SIZE
        assert disk.pread(777, SIZE) == CONTENT
        # what follows an odd piece is still cut at whole blocks, and zeros overwrite
        vhd.stream.raw_onto(disk, [bytes(16 * MIB)])
        assert disk.pread(0, 16 * MIB) == bytes(16 * MIB)


class TestRefusals:
    def test_more_or_less_raw_bytes_than_announced(self) -> None:
        for size, reason in ((SIZE - 512, Reason.TRAILING_DATA), (SIZE + 512, Reason.TRUNCATED)):
            with pytest.raises(vhd.VhdRejected) as caught:
                joined(vhd.stream.from_raw([CONTENT], size))
            assert caught.value.reason is reason

    def test_a_block_said_to_be_zero_that_is_not(self) -> None:
        with pytest.raises(vhd.VhdError, match=f"block {BLOCKS[-1]} was said to be zero"):
            joined(vhd.stream.from_raw([CONTENT], SIZE, blocks=BLOCKS[:-1]))

    def test_a_size_that_no_vhd_has(self) -> None:
        with pytest.raises(vhd.SizeRefused):
            vhd.stream.from_raw([], 2041 * GIB)

    def test_a_differencing_stream_is_not_a_disk(self, tmp_path: Path) -> None:
        vhd.create(tmp_path / "base.vhd", MIB)
        vhd.create(tmp_path / "child.vhd", parent=tmp_path / "base.vhd")
        with pytest.raises(vhd.VhdRejected) as caught:
            vhd.stream.to_raw([(tmp_path / "child.vhd").read_bytes()])
        assert caught.value.reason is Reason.DIFFERENCING
        assert "base.vhd" in str(caught.value)

    @pytest.mark.parametrize("keep", [100, 1000, 5000, MIB, len(GOOD) - 1])
    def test_a_cut_stream(self, keep: int) -> None:
        with pytest.raises(vhd.VhdRejected) as caught:
            joined(vhd.stream.to_raw([GOOD[:keep]]))
        assert caught.value.reason is Reason.TRUNCATED

    def test_a_broken_stream_writes_nothing_before_its_table_is_checked(self, tmp_path: Path) -> None:
        path = tmp_path / "disk.vhd"
        vhd.create(path, 16 * MIB)
        with vhd.open_chain(path, writable=True) as disk, pytest.raises(vhd.VhdRejected):
            vhd.stream.onto(disk, [patch_table(GOOD, BLOCKS[1], table_entry(GOOD, BLOCKS[0]))])
        assert vhd.info(path).allocated_blocks == 0


def test_streams_hold_little_memory() -> None:
    """48 MiB on a disk of 2040 GiB: the reader and the inspector hold the block table, and not the data."""
    size, count = 2040 * GIB, 24
    data = random.Random(1).randbytes(2 * MIB)
    chosen = [index * (size // (2 * MIB) // count) for index in range(count)]
    sound = joined(vhd.stream.from_raw([data], 2 * MIB))
    # one block's stretch (bitmap, data, padding) as the writer lays it out
    first = table_entry(sound, 0) * 512
    stretch = sound[first : len(sound) - 512]
    with_table = vhd.stream.from_raw(iter([]), size, blocks=chosen)
    head = next(with_table)
    footer = bytes(head[:512])

    def chunks() -> Iterator[bytes | bytearray | memoryview]:
        yield head
        for _ in range(count):
            yield from cut_randomly(stretch, 3, sizes=(65536, MIB))
        yield footer

    inspector = StreamInspector("vhd")

    def inspected() -> Iterator[bytes | bytearray | memoryview]:
        for chunk in chunks():
            inspector.feed(chunk)
            yield chunk

    tracemalloc.start()
    try:
        taken = sum(len(part) for _, part in vhd.stream.read(inspected()))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert taken == count * 2 * MIB
    assert inspector.finish().virtual_size == size
    # twice the table of 4 MiB (reader and inspector), the copy it is parsed from, and a chunk or two
    assert peak < 24 * MIB


def test_writing_a_stream_holds_little_memory() -> None:
    data = random.Random(1).randbytes(2 * MIB)
    tracemalloc.start()
    try:
        length = sum(len(chunk) for chunk in vhd.stream.from_raw((data for _ in range(100)), 200 * MIB))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert length == vhd.stream.length_of(200 * MIB, 100)
    assert peak < 6 * MIB


def test_readers_and_a_writer_share_an_open_disk(tmp_path: Path) -> None:
    base, path = tmp_path / "base.vhd", tmp_path / "disk.vhd"
    vhd.create(base, 32 * MIB)
    with vhd.open_chain(base, writable=True) as disk:
        disk.pwrite(0, b"\x01" * 32 * MIB)
    vhd.create(path, parent=base)
    failures: list[str] = []
    done = threading.Event()
    with vhd.open_chain(path, writable=True) as disk:

        def read(seed: int) -> None:
            rnd = random.Random(seed)
            while not done.is_set():
                piece = disk.pread(rnd.randrange(32 * MIB // 4096) * 4096, 4096)
                if piece not in (b"\x01" * 4096, b"\x02" * 4096):
                    failures.append(f"torn: {set(piece)}")
                    return

        readers = [threading.Thread(target=read, args=(seed,)) for seed in range(3)]
        for reader in readers:
            reader.start()
        order = list(range(32 * MIB // 4096))
        random.Random(9).shuffle(order)
        for place in order:
            disk.pwrite(place * 4096, b"\x02" * 4096)
        done.set()
        for reader in readers:
            reader.join(20)
        assert disk.pread(0, disk.size) == b"\x02" * disk.size
    assert not failures


def test_write_behind_changes_nothing_but_the_time_of_the_flush(tmp_path: Path) -> None:
    paths = [tmp_path / "plain.vhd", tmp_path / "behind.vhd"]
    data = random.Random(4).randbytes(20 * MIB)
    for path, behind in zip(paths, (0, 4 * MIB), strict=True):
        vhd.create(path, 32 * MIB)
        with vhd.open_chain(path, writable=True, write_behind=behind) as disk:
            vhd.stream.raw_onto(disk, cut_randomly(data, 5), offset=MIB)
            disk.flush()
            assert disk.pread(MIB, len(data)) == data
