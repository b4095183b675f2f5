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
"""The inspector lets sound stand-alone images pass and refuses every other by name, however the bytes arrive."""

import random
import struct
import tempfile
import uuid
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vhd.vhd_tools import (
    MIB,
    cut_randomly,
    joined,
    needs_qemu_img,
    patch_footer,
    patch_header,
    patch_table,
    qemu_img,
    save,
    sparse_content,
    table_entry,
)
from xapikit import vhd
from xapikit.vhd import Reason
from xapikit.vhd.format import DiskType
from xapikit.vhd.inspect import Claim, Inspection, StreamInspector

SIZE = 9 * MIB + 512
CONTENT = bytes(sparse_content(SIZE, seed=11))
GOOD = joined(vhd.stream.from_raw([CONTENT], SIZE, blocks=vhd.stream.data_blocks([CONTENT])))
BLOCKS = [block for block in range(5) if table_entry(GOOD, block) != 0xFFFFFFFF]


def inspect(
    chunks: Iterable[bytes], claimed: Claim = "vhd", *, length: int | None = None, limit: int | None = None
) -> Inspection:
    inspector = StreamInspector(claimed, length=length, max_virtual_size=limit)
    for chunk in chunks:
        inspector.feed(chunk)
    return inspector.finish()


def refused(data: bytes, claimed: Claim = "vhd", **more: int) -> Reason:
    """The reason, which must be the same whether the image comes whole or in pieces."""
    reasons = set()
    for chunks in ([data], list(cut_randomly(data, 1)), [data[at : at + 512] for at in range(0, len(data), 512)]):
        with pytest.raises(vhd.VhdRejected) as caught:
            inspect(chunks, claimed, **more)
        reasons.add(caught.value.reason)
    assert len(reasons) == 1, reasons
    return reasons.pop()


def fixed(content: bytes) -> bytes:
    with tempfile.TemporaryDirectory() as directory:
        raw = save(Path(directory) / "raw", [content])
        out = Path(directory) / "fixed.vhd"
        qemu_img("convert", "-f", "raw", "-O", "vpc", "-o", "subformat=fixed,force_size=on", raw, out)
        return out.read_bytes()


def differencing() -> bytes:
    with tempfile.TemporaryDirectory() as directory:
        base, child = Path(directory) / "base.vhd", Path(directory) / "child.vhd"
        vhd.create(base, SIZE)
        vhd.create(child, parent=base)
        return child.read_bytes()


@pytest.mark.parametrize("seed", range(5))
def test_a_sound_dynamic_image_passes(seed: int) -> None:
    found = inspect(cut_randomly(GOOD, seed), length=len(GOOD) if seed % 2 else None)
    assert found == Inspection("vhd", SIZE, len(GOOD), DiskType.DYNAMIC, len(BLOCKS))


@needs_qemu_img
@pytest.mark.parametrize("subformat", ["dynamic", "fixed"])
@pytest.mark.parametrize("force_size", ["on", "off"])
def test_images_made_by_qemu_pass(tmp_path: Path, subformat: str, force_size: str) -> None:
    raw, out = save(tmp_path / "raw", [CONTENT]), tmp_path / "disk.vhd"
    qemu_img("convert", "-O", "vpc", "-o", f"subformat={subformat},force_size={force_size}", raw, out)
    found = inspect(cut_randomly(out.read_bytes(), 3), length=out.stat().st_size)
    assert found.virtual_size >= SIZE
    assert found.type is (DiskType.FIXED if subformat == "fixed" else DiskType.DYNAMIC)


def test_the_size_is_known_before_the_data() -> None:
    inspector = StreamInspector("vhd")
    assert not inspector.head_passed
    inspector.feed(GOOD[:512])
    assert inspector.virtual_size == SIZE and not inspector.head_passed
    inspector.feed(GOOD[512 : table_entry(GOOD, BLOCKS[0]) * 512])
    assert inspector.head_passed


class TestRefusedByName:
    def test_differencing(self) -> None:
        assert refused(differencing()) is Reason.DIFFERENCING

    def test_parent_locator_in_a_dynamic_disk(self) -> None:
        locator = struct.pack(">4sIIIQ", b"W2ku", 512, 20, 0, 3072)
        assert refused(patch_header(GOOD, 576, locator)) is Reason.PARENT_LOCATOR

    def test_parent_id_or_name_in_a_dynamic_disk(self) -> None:
        assert refused(patch_header(GOOD, 40, uuid.uuid4().bytes)) is Reason.PARENT_LOCATOR
        assert refused(patch_header(GOOD, 64, "/etc/shadow".encode("utf-16-be"))) is Reason.PARENT_LOCATOR

    @pytest.mark.parametrize("where", ["both", "front", "end"])
    def test_footer_checksum(self, where: str) -> None:
        assert refused(patch_footer(GOOD, 24, b"\x12\x34\x56\x78", where=where, fix=False)) is Reason.CHECKSUM

    def test_header_checksum(self) -> None:
        assert refused(patch_header(GOOD, 800, b"x", fix=False)) is Reason.CHECKSUM

    def test_footers_that_differ(self) -> None:
        assert refused(patch_footer(GOOD, 68, uuid.uuid4().bytes, where="end")) is Reason.FOOTERS_DIFFER
        assert refused(patch_footer(GOOD, 48, struct.pack(">Q", SIZE + 512), where="end")) is Reason.FOOTERS_DIFFER

    def test_versions_and_types(self) -> None:
        assert refused(patch_footer(GOOD, 12, struct.pack(">I", 0x20000))) is Reason.VERSION
        assert refused(patch_header(GOOD, 24, struct.pack(">I", 0x20000))) is Reason.VERSION
        for kind in (0, 1, 5, 6, 0xFFFFFFFF):
            assert refused(patch_footer(GOOD, 60, struct.pack(">I", kind))) is Reason.TYPE

    def test_two_blocks_in_one_place(self) -> None:
        shared = patch_table(GOOD, BLOCKS[1], table_entry(GOOD, BLOCKS[0]))
        assert refused(shared) is Reason.BLOCK_OVERLAP
        assert refused(patch_table(GOOD, BLOCKS[1], table_entry(GOOD, BLOCKS[0]) + 1)) is Reason.BLOCK_OVERLAP

    @pytest.mark.parametrize("sector", [0, 1, 2, 3])
    def test_a_block_over_the_metadata(self, sector: int) -> None:
        assert refused(patch_table(GOOD, BLOCKS[0], sector)) is Reason.BLOCK_OVERLAP

    @pytest.mark.parametrize("sector", [len(GOOD) // 512, len(GOOD) // 512 - 100, 0xFFFFFFFE])
    def test_a_block_outside_the_file(self, sector: int) -> None:
        wrong = patch_table(GOOD, BLOCKS[-1], sector)
        assert refused(wrong, length=len(wrong)) is Reason.BLOCK_OUTSIDE
        # without the length it shows when the footer comes although a block is missing
        assert refused(wrong) is Reason.BLOCK_OUTSIDE

    def test_a_block_beyond_the_virtual_size(self) -> None:
        # the padding of the table is no part of it, so the table gets one more entry than the size needs
        more = patch_header(GOOD, 28, struct.pack(">I", 6))
        assert refused(patch_table(more, 5, len(GOOD) // 512)) is Reason.BLOCK_OUTSIDE

    def test_sizes(self) -> None:
        for size in (0, 513, (2040 << 30) + 512, 1 << 63):
            assert refused(patch_footer(GOOD, 48, struct.pack(">Q", size))) is Reason.SIZE_LIMIT
        assert refused(GOOD, limit=SIZE - 512) is Reason.SIZE_LIMIT
        assert inspect([GOOD], limit=SIZE).virtual_size == SIZE

    def test_tables_too_small_too_large_or_in_the_wrong_place(self) -> None:
        assert refused(patch_header(GOOD, 28, struct.pack(">I", 4))) is Reason.TABLE_SIZE
        assert refused(patch_header(GOOD, 28, struct.pack(">I", 0xFFFFFFFF))) is Reason.TABLE_SIZE
        for offset in (0, 512, 1024, 1537):
            assert refused(patch_header(GOOD, 16, struct.pack(">Q", offset))) is Reason.TABLE_POSITION
        assert refused(patch_header(GOOD, 16, struct.pack(">Q", 1 << 50))) is Reason.TABLE_POSITION

    def test_block_sizes(self) -> None:
        for size in (0, 512, 3 * MIB, 1 << 31):
            assert refused(patch_header(GOOD, 32, struct.pack(">I", size))) is Reason.BLOCK_SIZE

    @pytest.mark.parametrize("keep", [0, 8, 511, 512, 1535, 1540, 5000, MIB, len(GOOD) - 512, len(GOOD) - 1])
    def test_truncated(self, keep: int) -> None:
        assert refused(GOOD[:keep]) is Reason.TRUNCATED
        assert refused(GOOD[:keep], length=len(GOOD)) is Reason.TRUNCATED

    def test_trailing_data(self) -> None:
        assert refused(GOOD + b"x") is Reason.TRAILING_DATA
        assert refused(GOOD + bytes(512)) is Reason.TRAILING_DATA
        assert refused(GOOD + GOOD) is Reason.TRAILING_DATA

    @needs_qemu_img
    def test_forged_footer_of_a_fixed_disk(self) -> None:
        image = fixed(CONTENT)
        assert inspect([image]).type is DiskType.FIXED
        end = {"where": "end"}
        assert refused(patch_footer(image, 48, struct.pack(">Q", SIZE - 512), **end)) is Reason.FIXED_FOOTER
        assert refused(patch_footer(image, 48, struct.pack(">Q", SIZE + 512), **end)) is Reason.FIXED_FOOTER
        assert refused(patch_footer(image, 16, struct.pack(">Q", 512), **end)) is Reason.FIXED_FOOTER
        assert refused(patch_footer(image, 60, struct.pack(">I", 3), **end)) is Reason.FIXED_FOOTER
        assert refused(patch_footer(image, 30, b"x", fix=False, **end)) is Reason.CHECKSUM
        assert refused(image[:-512]) is Reason.NOT_VHD
        assert refused(image[512:]) is Reason.FIXED_FOOTER
        # its footer in front, as a dynamic disk has it
        assert refused(image[-512:] + image) is Reason.FIXED_FOOTER

    @needs_qemu_img
    @pytest.mark.parametrize("format_name", ["qcow2", "vmdk", "vdi", "vhdx", "qed", "parallels"])
    def test_another_format(self, tmp_path: Path, format_name: str) -> None:
        raw, out = save(tmp_path / "raw", [CONTENT]), tmp_path / "image"
        qemu_img("convert", "-O", format_name, raw, out)
        data = out.read_bytes()
        for claimed in ("vhd", "raw", "iso"):
            assert refused(data, claimed) is Reason.OTHER_FORMAT
        # and inside a fixed VHD, where the footer alone would say "vhd"
        assert refused(fixed(data.ljust(4 * MIB, b"\0"))) is Reason.OTHER_FORMAT

    @needs_qemu_img
    def test_a_vhd_is_not_raw(self) -> None:
        assert refused(GOOD, "raw") is Reason.OTHER_FORMAT
        assert refused(fixed(CONTENT), "raw") is Reason.OTHER_FORMAT

    def test_neither(self) -> None:
        assert refused(random.Random(1).randbytes(100_000)) is Reason.NOT_VHD


class TestRawAndIso:
    def test_raw_passes(self) -> None:
        assert inspect(cut_randomly(CONTENT, 1), "raw") == Inspection("raw", SIZE, SIZE)
        assert inspect([b"\xeb\x63"], "raw").virtual_size == 2

    def test_a_raw_disk_may_end_like_a_broken_footer(self) -> None:
        assert inspect([CONTENT + b"conectix" + bytes(504)], "raw").virtual_size == SIZE + 512

    def test_length_is_kept(self) -> None:
        assert refused(CONTENT, "raw", length=SIZE + 1) is Reason.TRUNCATED
        assert refused(CONTENT, "raw", length=SIZE - 1) is Reason.TRAILING_DATA
        assert refused(CONTENT, "raw", limit=SIZE - 1) is Reason.SIZE_LIMIT
        assert refused(b"", "raw") is Reason.TRUNCATED

    @pytest.mark.parametrize("front", [bytes(32768), b"\xeb\x63" + bytes(32766)], ids=["plain", "isohybrid"])
    def test_iso_passes(self, front: bytes) -> None:
        assert inspect(cut_randomly(front + b"\x01CD001\x01" + bytes(40_000), 2), "iso").claimed == "iso"

    @pytest.mark.parametrize("data", [b"x", bytes(100_000), bytes(32768) + b"CD001" + bytes(5000)])
    def test_without_descriptor_it_is_no_iso(self, data: bytes) -> None:
        assert refused(data, "iso") is Reason.NOT_ISO


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    changes=st.lists(st.tuples(st.integers(0, 8191), st.binary(min_size=1, max_size=8)), min_size=1, max_size=4),
    fix=st.booleans(),
    seed=st.integers(0, 99),
)
def test_damage_is_refused_or_harmless(changes: list[tuple[int, bytes]], fix: bool, seed: int) -> None:
    """Whatever is written over the metadata: VhdRejected and nothing else, or an image that can be read to its end."""
    data = bytearray(GOOD)
    for position, value in changes:
        data[position : position + len(value)] = value
    image = patch_header(patch_footer(bytes(data), 0, b"", where="front"), 0, b"") if fix else bytes(data)
    try:
        found = inspect(cut_randomly(image, seed))
    except vhd.VhdRejected:
        found = None
    with tempfile.TemporaryDirectory() as directory:
        path = save(Path(directory) / "disk.vhd", [image])
        try:
            with vhd.open_chain(path) as disk:
                size = disk.size
                for offset, length in disk.extents():
                    disk.pread(offset, length)
        except (vhd.VhdRejected, vhd.ParentMissing):
            assert found is None or found.type is DiskType.FIXED
        else:
            assert found is None or found.virtual_size == size
