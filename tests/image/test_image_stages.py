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
"""Image data is checked on its way, in one pass, and what is wrong with it has a name."""

import hashlib
import os
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nova import exception

from nova_xapi.image.description import HashClaim, Image, Kind, describe
from nova_xapi.image.errors import ImageFetchFailed, ImageRefused, UnsupportedImage
from nova_xapi.image.stages import HOLE, PIECE, SECTOR, Inspected, Verified, ahead, extents
from xapikit.vhd import stream

MIB = 1 << 20


def image(kind: Kind, size: int = 0, *claims: HashClaim) -> Image:
    return Image("3b8ee3a0-5a76-4c9d-a1d5-2b1bb9b4d2f0", "image", kind, size, claims)


def pieces(data: bytes, size: int = 300_000) -> Iterator[bytes]:
    for at in range(0, len(data), size):
        yield data[at : at + size]


def flow(data: bytes, kind: Kind, size: int | None = None, piece: int = 300_000) -> Inspected:
    length = len(data) if size is None else size
    return Inspected(ahead(pieces(data, piece), lambda: None), image(kind, length))


def vhd_of(raw: bytes) -> bytes:
    return b"".join(bytes(part) for part in stream.from_raw([raw], len(raw)))


def iso_of(text: bytes = b"hello") -> bytes:
    descriptor = b"\x01CD001\x01\0".ljust(2048, b"\0")
    return bytes(16 * 2048) + descriptor + b"\xffCD001\x01".ljust(2048, b"\0") + text.ljust(2048, b"\0")


# ------------------------------------------------------------------------------------------------------- what is taken


def test_vhd_raw_and_iso_with_container_bare_are_taken() -> None:
    for disk in ("vhd", "raw", "iso"):
        taken = describe({"id": "1", "disk_format": disk, "container_format": "bare", "size": 5, "checksum": "aa"})
        assert (taken.kind.value, taken.size, taken.checksum) == (disk, 5, "aa")


@pytest.mark.parametrize(
    ("disk", "container"), [("qcow2", "bare"), ("vhd", "ovf"), ("ami", "ami"), (None, "bare"), ("raw", "compressed")]
)
def test_other_formats_are_refused_naming_what_is_supported(disk: str, container: str) -> None:
    with pytest.raises(UnsupportedImage, match="supported are disk_format vhd, raw, iso with container_format bare"):
        describe({"id": "1", "disk_format": disk, "container_format": container})
    assert issubclass(UnsupportedImage, exception.InvalidDiskFormat), "Nova must not try another host"


def test_the_strong_hash_comes_before_md5() -> None:
    taken = describe(
        {"id": "1", "disk_format": "raw", "os_hash_algo": "sha512", "os_hash_value": "bb", "checksum": "aa"}
    )
    assert taken.claims == (HashClaim("sha512", "bb"), HashClaim("md5", "aa"))


# --------------------------------------------------------------------------------------------------- hash and length


@pytest.mark.parametrize("algorithm", ["sha512", "sha256", "md5"])
def test_data_with_the_claimed_hash_passes_unchanged(algorithm: str) -> None:
    data = os.urandom(MIB + 77)
    claim = HashClaim(algorithm, hashlib.new(algorithm, data).hexdigest())
    assert b"".join(Verified(pieces(data), image(Kind.RAW, len(data), claim))) == data


def test_another_hash_is_refused_after_the_last_byte() -> None:
    claim = HashClaim("sha512", hashlib.sha512(b"else").hexdigest())
    with pytest.raises(ImageRefused, match="its sha512 is"):
        list(Verified([b"data"], image(Kind.RAW, 4, claim)))


def test_md5_is_the_fallback_for_an_unknown_algorithm() -> None:
    good = HashClaim("md5", hashlib.md5(b"data", usedforsecurity=False).hexdigest())
    assert list(Verified([b"data"], image(Kind.RAW, 4, HashClaim("sha9000", "x"), good))) == [b"data"]
    with pytest.raises(ImageRefused, match="can compute none of its hashes: sha9000"):
        Verified([b"data"], image(Kind.RAW, 4, HashClaim("sha9000", "x")))


def test_fewer_bytes_than_announced_are_a_failed_fetch() -> None:
    with pytest.raises(ImageFetchFailed, match="after 4 of 5 bytes"):
        list(Verified([b"data"], image(Kind.RAW, 5)))


def test_more_bytes_than_announced_do_not_pass() -> None:
    seen = []
    with pytest.raises(ImageRefused, match="length"):
        for chunk in Verified([b"da", b"ta"], image(Kind.RAW, 3)):
            seen.append(chunk)
    assert seen == [b"da"]


# -------------------------------------------------------------------------------------------------------- reading ahead


def test_reading_ahead_is_bounded() -> None:
    read = threading.Semaphore(0)
    count = 0

    def source() -> Iterator[bytes]:
        nonlocal count
        for _ in range(1000):
            count += 1
            read.release()
            yield b"x"

    done = threading.Event()
    chunks = ahead(source(), done.set, depth=4)
    assert next(chunks) == b"x"
    for _ in range(6):  # one taken, four waiting, one in hand
        assert read.acquire(timeout=10)
    assert not read.acquire(timeout=0.2) and count == 6
    chunks.close()
    assert done.wait(10), "the reading thread ends with the stage"
    assert count <= 7


def test_exceptions_of_the_reading_thread_come_through() -> None:
    def source() -> Iterator[bytes]:
        yield b"first"
        raise ImageFetchFailed("1", "cut")

    done = threading.Event()
    chunks = ahead(source(), done.set)
    assert next(chunks) == b"first"
    with pytest.raises(ImageFetchFailed, match="cut"):
        next(chunks)
    assert done.wait(10)


# ----------------------------------------------------------------------------------------------------------- inspection


def test_each_format_passes_unchanged_and_tells_its_virtual_size() -> None:
    raw = os.urandom(3 * MIB) + bytes(2 * MIB)
    vhd = vhd_of(raw)
    for data, kind, size in ((raw, Kind.RAW, len(raw)), (vhd, Kind.VHD, len(raw)), (iso_of(), Kind.ISO, len(iso_of()))):
        for piece in (511, 300_000, 16 * MIB):
            inspected = flow(data, kind, piece=piece)
            assert inspected.virtual_size() == size
            assert b"".join(inspected) == data


def test_the_virtual_size_of_a_vhd_is_known_from_its_first_bytes() -> None:
    vhd = vhd_of(os.urandom(4 * MIB))
    taken = 0

    def source() -> Iterator[bytes]:
        nonlocal taken
        for chunk in pieces(vhd, 4096):
            taken += 1
            yield chunk

    assert Inspected(source(), image(Kind.VHD, len(vhd))).virtual_size() == 4 * MIB
    assert taken <= 2


OTHERS = ["qcow2", "vmdk", "vdi", "vhdx", "vpc"]
LIES = [(foreign, claimed) for foreign in OTHERS for claimed in Kind if (foreign, claimed) != ("vpc", Kind.VHD)]


@pytest.mark.parametrize(("foreign", "claimed"), LIES)
def test_an_image_that_is_something_else_is_refused(tmp_path: Path, foreign: str, claimed: Kind) -> None:
    path = tmp_path / "image"
    subprocess.run(["qemu-img", "create", "-q", "-f", foreign, path, "8M"], check=True, timeout=60)
    with pytest.raises(ImageRefused):
        flow(path.read_bytes(), claimed).virtual_size()


def test_an_iso_that_claims_to_be_raw_is_refused() -> None:
    inspected = flow(iso_of(), Kind.RAW)
    with pytest.raises(ImageRefused, match="its record says raw, its content says iso"):
        inspected.virtual_size()
        list(inspected)


def test_a_bootable_disk_is_raw(tmp_path: Path) -> None:
    disk = bytearray(4 * MIB)
    disk[446:462] = bytes([0x80, 0, 2, 0, 0x83, 0, 0, 0]) + (2048).to_bytes(4, "little") + (2048).to_bytes(4, "little")
    disk[510:512] = b"\x55\xaa"
    inspected = flow(bytes(disk), Kind.RAW)
    assert inspected.virtual_size() == 4 * MIB
    assert b"".join(inspected) == disk


def test_a_fixed_vhd_is_refused_with_a_hint(tmp_path: Path) -> None:
    path = tmp_path / "fixed"
    subprocess.run(
        ["qemu-img", "create", "-q", "-f", "vpc", "-o", "subformat=fixed,force_size=on", path, "4M"],
        check=True,
        timeout=60,
    )
    with pytest.raises(ImageRefused, match="must be made a dynamic one"):
        flow(path.read_bytes(), Kind.VHD).virtual_size()


def test_a_vhd_that_breaks_later_is_refused_before_its_end() -> None:
    vhd = bytearray(vhd_of(os.urandom(4 * MIB)))
    vhd[-300] ^= 1  # in the closing footer
    inspected = flow(bytes(vhd), Kind.VHD)
    assert inspected.virtual_size() == 4 * MIB
    with pytest.raises(ImageRefused):
        list(inspected)


def test_a_vhd_made_by_qemu_passes(tmp_path: Path) -> None:
    path = tmp_path / "image.vhd"
    subprocess.run(
        ["qemu-img", "create", "-q", "-f", "vpc", "-o", "subformat=dynamic,force_size=on", path, "64M"],
        check=True,
        timeout=60,
    )
    inspected = flow(path.read_bytes(), Kind.VHD)
    assert inspected.virtual_size() == 64 * MIB
    assert b"".join(inspected) == path.read_bytes()


# --------------------------------------------------------------------------------------------------------------- zeros


def assembled(found: list[tuple[int, bytes]], size: int) -> bytes:
    disk = bytearray(size)
    for offset, data in found:
        disk[offset : offset + len(data)] = data
    return bytes(disk)


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.tuples(st.booleans(), st.integers(1, 5 * HOLE)), max_size=8),
    st.integers(1, 3 * HOLE),
)
def test_extents_hold_everything_that_is_not_zero(runs: list[tuple[bool, int]], piece: int) -> None:
    data = b"".join((b"\x5a" if filled else b"\0") * length for filled, length in runs)
    found = [(offset, bytes(view)) for offset, view in extents(pieces(data, piece))]
    size = -(-len(data) // SECTOR) * SECTOR
    assert assembled(found, size) == data.ljust(size, b"\0")
    assert all(offset % SECTOR == 0 and len(view) % SECTOR == 0 and 0 < len(view) <= PIECE for offset, view in found)
    ends = [0, *(offset + len(view) for offset, view in found)]
    assert all(end <= offset for end, (offset, _) in zip(ends, found, strict=False))


def test_zeros_are_not_sent() -> None:
    data = bytes(8 * MIB) + os.urandom(MIB) + bytes(8 * MIB)
    assert sum(len(view) for _, view in extents(pieces(data, MIB))) == MIB
