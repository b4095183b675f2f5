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
"""Whatever the contents, the holes and the texts: what goes into an archive comes out of it."""

import hashlib
import io
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xapikit.host.errors import ApiError
from xapikit.host.storage.transfer.source import BodyEnded
from xapikit.host.storage.transfer.tar import CHUNK, Checksum, disk_members, header, padding
from xapikit.host.xva import document
from xapikit.host.xva.chunks import Chunks
from xapikit.host.xva.compression import ZSTD_MAGIC, Algorithm, Rewound, compressed, exactly, unpacked
from xapikit.host.xva.document import Exported
from xapikit.model import MODEL, Kind

SIZES = st.lists(st.integers(0, 70_000), max_size=12)


class Memory:
    """A disk that is a buffer."""

    def __init__(self, content: bytes | int) -> None:
        self.content = bytearray(content)
        self.size = len(self.content)

    def pread_into(self, offset: int, view: Any) -> None:
        view[:] = self.content[offset : offset + len(view)]

    def pwrite(self, offset: int, data: Any) -> None:
        assert offset + len(data) <= self.size
        self.content[offset : offset + len(data)] = data

    def extents(self, offset: int = 0, length: int | None = None) -> list[tuple[int, int]]:
        return [(at, CHUNK) for at in range(0, self.size, CHUNK) if any(self.content[at : at + CHUNK])]


class Reader(io.BytesIO):
    """A source that gives what it has."""


def source(data: bytes) -> Any:
    return Reader(data)


def filled(pattern: list[int], tail: int) -> bytes:
    """Chunks of zeros (0) and of noise, and some bytes more."""
    whole = b"".join(
        bytes(CHUNK) if not seed else random.Random(seed).randbytes(64) * (CHUNK // 64) for seed in pattern
    )
    return whole + random.Random(tail).randbytes(tail)


def digest(kind: str) -> Any:
    if kind == "checksum":
        return lambda view: hashlib.sha1(view).hexdigest()  # noqa: S324 - of old archives
    checksum = Checksum("xxhash")
    return lambda view: checksum.of(view).upper()


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 3), min_size=1, max_size=6), st.integers(0, 3).map(lambda n: n * 512))
def test_a_disk_comes_out_as_it_went_in(pattern: list[int], tail: int) -> None:
    content = filled(pattern, tail)
    stream = b"".join(bytes(piece) for piece in disk_members(Memory(content), "Ref:7", digest("xxhash")))  # type: ignore[arg-type]
    disk, moved = Memory(len(content)), list[int]()
    reader = source(stream)
    Chunks(reader, 2, force=False).receive(disk, "Ref:7", len(content), moved.append)  # type: ignore[arg-type]
    assert disk.content == content
    assert not reader.read(), "all was read, and nothing beyond"
    assert moved == sorted(moved) and moved[-1] == len(content)


def member(name: str, content: bytes) -> bytes:
    stated = digest("xxhash")(memoryview(content)).encode()
    made = header(name, len(content)) + content + padding(len(content))
    return made + header(f"{name}.xxhash", len(stated)) + stated + padding(len(stated))


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(0, 2), min_size=2, max_size=8), st.sets(st.integers(1, 6)))
def test_empty_chunks_that_keep_a_connection_alive_move_nothing(pattern: list[int], alive: set[int]) -> None:
    """A host numbers them along with the others, so that all that follow have moved by one."""
    content = filled(pattern, 0)
    stream, shift, last = b"", 0, len(pattern) - 1
    for number, seed in enumerate(pattern):
        if number in alive and number != last:
            stream += member(f"Ref:1/{number + shift:08d}", b"")
            shift += 1
        if seed or number in (0, last):
            stream += member(f"Ref:1/{number + shift:08d}", content[number * CHUNK :][:CHUNK])
    disk = Memory(len(content))
    Chunks(source(stream), 2, force=False).receive(disk, "Ref:1", len(content), lambda _: None)  # type: ignore[arg-type]
    assert disk.content == content


@settings(max_examples=40, deadline=None)
@given(st.binary(max_size=4096), st.integers(0, 3000))
def test_noise_is_refused_or_ends_early(noise: bytes, cut: int) -> None:
    stream = bytearray(member("Ref:1/00000000", bytes(CHUNK))[:4096])
    stream[cut : cut + len(noise)] = noise
    with pytest.raises((ApiError, BodyEnded)):
        Chunks(source(bytes(stream)), 2, force=False).receive(Memory(4 * CHUNK), "Ref:1", 4 * CHUNK, lambda _: None)  # type: ignore[arg-type]


@pytest.mark.parametrize("algorithm", ["gzip", "zstd"])
@settings(max_examples=15, deadline=None)
@given(sizes=SIZES, reads=st.lists(st.integers(1, 100_000), min_size=1, max_size=5))
def test_compression_is_undone_in_pieces_of_any_size(algorithm: Algorithm, sizes: list[int], reads: list[int]) -> None:
    chance = random.Random(len(sizes))
    pieces = [chance.randbytes(size) if chance.random() < 0.5 else bytes(size) for size in sizes]
    packed = b"".join(bytes(piece) for piece in compressed(pieces, algorithm))
    assert packed.startswith(ZSTD_MAGIC) == (algorithm == "zstd")
    found = bytearray()
    with unpacked(source(packed[9:]), packed[:9]) as plain:
        turn = 0
        while True:
            view = memoryview(bytearray(reads[turn % len(reads)]))
            count = plain.readinto(view)
            found += view[:count]
            if count < len(view):
                break
            turn += 1
    assert found == b"".join(pieces)


@settings(max_examples=30, deadline=None)
@given(st.binary(max_size=50), st.binary(max_size=50), st.integers(0, 120))
def test_what_is_put_back_is_read_first(first: bytes, rest: bytes, length: int) -> None:
    rewound = Rewound(first, source(rest))
    if length > len(first) + len(rest):
        with pytest.raises(BodyEnded):
            exactly(rewound, length)
    else:
        assert exactly(rewound, length) == (first + rest)[:length]


TEXT = st.text(st.characters(blacklist_categories=["Cs", "Cc"], blacklist_characters="\ufffe\uffff"), max_size=30)


@settings(max_examples=30, deadline=None)
@given(
    name=TEXT,
    config=st.dictionaries(TEXT.filter(bool), TEXT, max_size=4),
    tags=st.lists(TEXT, max_size=3),
    memory=st.integers(0, 1 << 50),
)
def test_records_come_back_typed(name: str, config: dict[str, str], tags: list[str], memory: int) -> None:
    fields = MODEL.classes["VM"].wire_fields
    given_record = {field.name: field.initial() for field in fields.values() if field.type.kind is not Kind.OPTION}
    given_record |= {"name_label": name, "other_config": config, "tags": tags, "memory_static_max": memory}
    text = document.write([Exported("VM", "Ref:0", given_record)], "host")
    (item,) = document.read(text).of("VM")
    found = item.record
    assert {key: found[key] for key in given_record} == given_record
