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
"""Chains read as the sum of their files, whatever is written, snapshotted, grown and coalesced in whatever order."""

import itertools
import struct
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vhd.vhd_tools import MIB, cut_randomly, joined, needs_qemu_img, patch_header, qemu_img, save, sparse_content
from xapikit import vhd
from xapikit.vhd.format import DiskType

LARGEST = 7 * MIB


@dataclass
class Model:
    """A chain in a directory beside what each of its disks must read as."""

    directory: Path
    size: int
    chain: list[Path] = field(default_factory=list)
    contents: list[bytearray] = field(default_factory=list)
    names: "itertools.count[int]" = field(default_factory=itertools.count)

    def __post_init__(self) -> None:
        self.snapshot()

    def new_path(self) -> Path:
        return self.directory / f"{next(self.names)}.vhd"

    def snapshot(self) -> None:
        path = self.new_path()
        if self.chain:
            vhd.create(path, parent=self.chain[-1])
            self.contents.append(bytearray(self.contents[-1]))
        else:
            vhd.create(path, self.size)
            self.contents.append(bytearray(self.size))
        self.chain.append(path)

    def write(self, where: float, length: int, fill: int) -> None:
        content = self.contents[-1]
        offset = int(where * len(content))
        length = min(length, len(content) - offset)
        data = bytes([fill]) * length
        with vhd.open_chain(self.chain[-1], writable=True) as disk:
            disk.pwrite(offset, data)
            assert disk.pread(offset, length) == data
        content[offset : offset + length] = data

    def write_zeroes(self, where: float, length: int) -> None:
        content = self.contents[-1]
        offset = int(where * len(content))
        length = min(length, len(content) - offset)
        with vhd.open_chain(self.chain[-1], writable=True) as disk:
            disk.write_zeroes(offset, length)
        content[offset : offset + length] = bytes(length)

    def grow(self, more: int) -> None:
        size = min(LARGEST, len(self.contents[-1]) + more * 512)
        vhd.resize(self.chain[-1], size)
        self.contents[-1] += bytes(size - len(self.contents[-1]))

    def coalesce_leaf(self) -> None:
        if len(self.chain) < 2:
            return
        leaf = self.chain.pop()
        assert vhd.coalesce(leaf) == self.chain[-1]
        leaf.unlink()
        del self.contents[-2]

    def coalesce_middle(self) -> None:
        if len(self.chain) < 3:
            return
        middle = self.chain.pop(-2)
        parent = vhd.coalesce(middle)
        vhd.set_parent(self.chain[-1], parent)
        middle.unlink()
        del self.contents[-3]

    def flatten(self) -> None:
        path = save(self.new_path(), vhd.stream.from_chain(self.chain[-1]))
        self.chain.append(path)
        self.contents.append(bytearray(self.contents[-1]))
        # the flat copy starts a chain of its own; what came before is no longer looked at
        self.chain, self.contents = self.chain[-1:], self.contents[-1:]

    def check(self) -> None:
        for path, content in zip(self.chain, self.contents, strict=True):
            with vhd.open_chain(path) as disk:
                assert disk.size == len(content)
                assert disk.pread(0, disk.size) == content
                covered = bytearray(disk.size)
                for offset, length in disk.extents():
                    covered[offset : offset + length] = content[offset : offset + length]
                assert covered == content, "data outside the extents"
        assert joined(vhd.stream.chain_to_raw(self.chain[-1])) == self.contents[-1]


WHERE = st.floats(0, 1, exclude_max=True)
LENGTH = st.one_of(st.integers(1, 5000), st.sampled_from([512, 4096, 2 * MIB, 3 * MIB]))
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("write"), WHERE, LENGTH, st.integers(0, 3)),
        st.tuples(st.just("write_zeroes"), WHERE, LENGTH),
        st.tuples(st.just("grow"), st.integers(1, 3000)),
        st.sampled_from([("snapshot",), ("snapshot",), ("coalesce_leaf",), ("coalesce_middle",), ("flatten",)]),
    ),
    min_size=3,
    max_size=14,
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(size=st.integers(1, 5 * MIB // 512), steps=STEPS)
def test_any_sequence_reads_like_the_model(size: int, steps: list[tuple[object, ...]]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        model = Model(Path(directory), size * 512)
        for name, *arguments in steps:
            getattr(model, str(name))(*arguments)
        model.check()


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    size=st.integers(8, 5 * MIB // 512),
    ours=st.lists(st.tuples(WHERE, LENGTH, st.integers(0, 3)), max_size=4),
    theirs=st.lists(st.tuples(WHERE, LENGTH, st.integers(0, 3)), max_size=4),
    seed=st.integers(0, 1000),
)
def test_a_delta_onto_a_copy_of_its_base_gives_the_disk(
    size: int, ours: list[tuple[float, int, int]], theirs: list[tuple[float, int, int]], seed: int
) -> None:
    with tempfile.TemporaryDirectory() as directory:
        model = Model(Path(directory), size * 512)
        model.write(0.3, 300_000, 9)
        root = model.chain[0]
        model.snapshot()
        for one in ours:
            model.write(*one)
        # a sibling that shares the root: an earlier snapshot that went its own way
        sibling = model.new_path()
        vhd.create(sibling, parent=root)
        with vhd.open_chain(sibling, writable=True) as disk:
            for where, length, fill in theirs:
                offset = int(where * disk.size)
                disk.pwrite(offset, bytes([fill]) * min(length, disk.size - offset))
        for base in (root, sibling):
            delta = joined(vhd.stream.from_chain(model.chain[-1], base))
            head = vhd.stream.read(cut_randomly(delta, seed))
            assert head.type is DiskType.DIFFERENCING
            assert head.parent_name == base.name
            assert head.parent_unique_id == vhd.info(base).unique_id
            copy = save(model.new_path(), vhd.stream.from_chain(base))
            with vhd.open_chain(copy, writable=True) as disk:
                vhd.stream.onto(disk, cut_randomly(delta, seed + 1))
                assert disk.pread(0, disk.size) == model.contents[-1]
            # and as a file beside its base it is a child of it
            child = save(model.new_path(), [delta])
            with vhd.open_chain(child) as disk:
                assert disk.pread(0, disk.size) == model.contents[-1]


@needs_qemu_img
def test_a_flattened_chain_is_what_qemu_reads(tmp_path: Path) -> None:
    model = Model(tmp_path, 5 * MIB + 512)
    for level in range(5):
        model.write(level / 6, 900_000, level + 1)
        model.snapshot()
    raw = save(tmp_path / "raw", [model.contents[-1]])
    flat = save(tmp_path / "flat.vhd", vhd.stream.from_chain(model.chain[-1]))
    qemu_img("compare", "-f", "raw", "-F", "vpc", raw, flat)


def test_a_thirty_level_chain_reads_and_writes(tmp_path: Path) -> None:
    model = Model(tmp_path, 3 * MIB)
    for level in range(29):
        model.write((level % 7) / 8, 3000, level + 1)
        model.snapshot()
    model.write(0.5, 1_000_000, 200)
    model.check()


def test_a_base_copy_takes_over_the_name_and_children_follow(tmp_path: Path) -> None:
    """What a host does for a snapshot: the leaf becomes a hidden base copy under a new name, with two children."""
    content = sparse_content(4 * MIB, seed=1)
    leaf, base, snapshot = tmp_path / "leaf.vhd", tmp_path / "base.vhd", tmp_path / "snapshot.vhd"
    vhd.create(leaf, len(content))
    with vhd.open_chain(leaf, writable=True) as disk:
        disk.pwrite(0, content)
    leaf.rename(base)
    vhd.set_hidden(base, True)
    for child in (leaf, snapshot):
        assert vhd.create(child, parent=base).parent_path == base
    assert vhd.info(base).hidden and not vhd.info(leaf).hidden
    with vhd.open_chain(leaf, writable=True) as disk:
        disk.pwrite(100, b"changed")
    with vhd.open_chain(snapshot) as disk:
        assert disk.pread(0, disk.size) == content
    # and back: the only child left is merged, the base takes its place
    snapshot.unlink()
    assert vhd.coalesce(leaf) == base
    vhd.set_hidden(base, False)
    base.rename(leaf)
    content[100:107] = b"changed"
    with vhd.open_chain(leaf) as disk:
        assert disk.pread(0, disk.size) == content
        assert disk.leaf.footer and not disk.leaf.footer.hidden


def test_a_raw_parent_is_read(tmp_path: Path) -> None:
    content = sparse_content(3 * MIB, seed=2)
    raw, child = save(tmp_path / "base.raw", [content]), tmp_path / "child.vhd"
    vhd.create(child, parent=raw, parent_is_raw=True)
    with vhd.open_chain(child, writable=True) as disk:
        disk.pwrite(5, b"hello")
        content[5:10] = b"hello"
        assert disk.pread(0, disk.size) == content
    assert joined(vhd.stream.to_raw(vhd.stream.from_chain(child))) == content


def test_zeros_take_no_space_and_still_hide_the_parent(tmp_path: Path) -> None:
    base, child = tmp_path / "base.vhd", tmp_path / "child.vhd"
    vhd.create(base, 64 * MIB)
    with vhd.open_chain(base, writable=True) as disk:
        disk.pwrite(0, bytes(8 * MIB))
        assert list(disk.extents()) == []
        disk.pwrite(10 * MIB, b"data")
    assert vhd.info(base).allocated_blocks == 1
    vhd.create(child, parent=base)
    with vhd.open_chain(child, writable=True) as disk:
        disk.pwrite(0, bytes(64 * MIB))
        assert disk.pread(10 * MIB, 4) == bytes(4)
    assert vhd.info(child).allocated_blocks == 1


def test_growing_a_clone_beyond_its_parent_reads_zeros(tmp_path: Path) -> None:
    base, child, grandchild = (tmp_path / f"{name}.vhd" for name in ("base", "child", "grandchild"))
    vhd.create(base, MIB)
    with vhd.open_chain(base, writable=True) as disk:
        disk.pwrite(0, b"x" * MIB)
    vhd.create(child, parent=base)
    vhd.resize(child, 10 * MIB)
    vhd.create(grandchild, 20 * MIB, parent=child)
    with vhd.open_chain(grandchild) as disk:
        assert disk.pread(0, 20 * MIB) == b"x" * MIB + bytes(19 * MIB)
        assert list(disk.extents()) == [(0, MIB)] or list(disk.extents()) == [(0, 2 * MIB)]


def test_other_block_sizes_are_read_written_and_streamed(tmp_path: Path) -> None:
    """Hosts write blocks of 2 MiB; other tools make disks with blocks of 512 KiB."""
    size, small = 8 * MIB, MIB // 2
    base, child = tmp_path / "base.vhd", tmp_path / "child.vhd"
    vhd.create(base, size)
    head = patch_header(base.read_bytes(), 28, struct.pack(">II", size // small, small))
    save(base, [head])
    content = sparse_content(size, seed=8)
    with vhd.open_chain(base, writable=True) as disk:
        assert disk.leaf.block_size == small
        vhd.stream.raw_onto(disk, cut_randomly(content, 1))
    image = base.read_bytes()
    assert joined(vhd.stream.to_raw(cut_randomly(image, 2))) == content
    vhd.create(child, parent=base)
    with vhd.open_chain(child, writable=True) as disk:
        disk.pwrite(small - 3, b"across")
        content[small - 3 : small + 3] = b"across"
        assert disk.pread(0, size) == content
    assert joined(vhd.stream.to_raw(vhd.stream.from_chain(child))) == content
    vhd.coalesce(child)
    vhd.resize(base, 2 * size)
    with vhd.open_chain(base) as disk:
        assert disk.pread(0, 2 * size) == content + bytes(size)


class TestRefusals:
    def test_wrong_parent(self, tmp_path: Path) -> None:
        base, child = tmp_path / "base.vhd", tmp_path / "child.vhd"
        vhd.create(base, MIB)
        vhd.create(child, parent=base)
        base.unlink()
        with pytest.raises(vhd.ParentMissing, match=r"base\.vhd"):
            vhd.open_chain(child)
        other = vhd.create(base, MIB)
        with pytest.raises(vhd.ParentMismatch, match=str(other.unique_id)):
            vhd.open_chain(child)

    def test_loop(self, tmp_path: Path) -> None:
        one, two = tmp_path / "one.vhd", tmp_path / "two.vhd"
        vhd.create(one, MIB)
        vhd.create(two, parent=one)
        one.unlink()
        two.rename(one)
        vhd.set_parent(one, one)
        with pytest.raises(vhd.ChainTooDeep):
            vhd.open_chain(one)

    def test_parent_elsewhere(self, tmp_path: Path) -> None:
        (tmp_path / "sub").mkdir()
        vhd.create(tmp_path / "base.vhd", MIB)
        with pytest.raises(vhd.VhdError, match="same directory"):
            vhd.create(tmp_path / "sub" / "child.vhd", parent=tmp_path / "base.vhd")

    def test_smaller_than_the_parent_and_shrinking(self, tmp_path: Path) -> None:
        vhd.create(tmp_path / "base.vhd", MIB)
        with pytest.raises(vhd.SizeRefused, match="parent"):
            vhd.create(tmp_path / "child.vhd", MIB // 2, parent=tmp_path / "base.vhd")
        with pytest.raises(vhd.SizeRefused, match="only grow"):
            vhd.resize(tmp_path / "base.vhd", MIB // 2)

    def test_an_existing_file_is_never_replaced(self, tmp_path: Path) -> None:
        path = save(tmp_path / "disk.vhd", [b"precious"])
        with pytest.raises(FileExistsError):
            vhd.create(path, MIB)
        assert path.read_bytes() == b"precious"
        assert list(tmp_path.iterdir()) == [path]

    def test_one_writer_at_a_time(self, tmp_path: Path) -> None:
        path = tmp_path / "disk.vhd"
        vhd.create(path, MIB)
        with vhd.open_chain(path, writable=True):
            with pytest.raises(vhd.DiskBusy):
                vhd.open_chain(path, writable=True)
            with pytest.raises(vhd.DiskBusy):
                vhd.resize(path, 2 * MIB)
            vhd.open_chain(path).close()
        vhd.open_chain(path, writable=True).close()

    def test_access_beyond_the_end_and_writes_when_read_only(self, tmp_path: Path) -> None:
        path = tmp_path / "disk.vhd"
        vhd.create(path, MIB)
        with vhd.open_chain(path) as disk:
            with pytest.raises(vhd.OutOfRange):
                disk.pread(MIB - 1, 2)
            with pytest.raises(vhd.DiskReadOnly):
                disk.pwrite(0, b"x")
        with vhd.open_chain(path, writable=True) as disk, pytest.raises(vhd.OutOfRange):
            disk.pwrite(-1, b"x")
