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
"""A disk survives what happens to its writer: killed at any moment, or out of space."""

import os
import random
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from vhd.vhd_tools import MIB, needs_qemu_img, qemu_img, save
from xapikit import vhd
from xapikit.vhd.format import Footer
from xapikit.vhd.image import Image

SIZE = 96 * MIB
PIECE = 65536

# writes piece after piece in a random order, flushes after every tenth and says so
WRITER = """
import random, sys
from xapikit import vhd
path, seed, pieces, length = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
rnd = random.Random(seed)
with vhd.open_chain(path, writable=True) as disk:
    for number in range(1_000_000):
        place, fill = rnd.randrange(pieces), 1 + number % 255
        disk.pwrite(place * length, bytes([fill]) * length)
        if number % 10 == 9:
            disk.flush()
            print(number, flush=True)
"""


def replay(seed: int, until: int, pieces: int) -> Iterator[tuple[int, int, int]]:
    rnd = random.Random(seed)
    for number in range(until):
        yield number, rnd.randrange(pieces), 1 + number % 255


@pytest.mark.parametrize("differencing", [False, True], ids=["dynamic", "differencing"])
@pytest.mark.parametrize("acknowledged", [1, 4])
def test_kill_loses_nothing_that_flush_acknowledged(tmp_path: Path, acknowledged: int, differencing: bool) -> None:
    path = tmp_path / "disk.vhd"
    vhd.create(path, SIZE)
    if differencing:
        base, path = path, tmp_path / "child.vhd"
        vhd.create(path, parent=base)
    pieces, seed = SIZE // PIECE, acknowledged
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, path, str(seed), str(pieces), str(PIECE)], stdout=subprocess.PIPE, text=True
    ) as writer:
        assert writer.stdout
        flushed = [int(writer.stdout.readline()) for _ in range(acknowledged)][-1]
        # it goes on writing while this kills it
        os.kill(writer.pid, signal.SIGKILL)
        rest = writer.stdout.read().split()
    flushed = max([flushed, *map(int, rest)])
    certain, later = [0] * pieces, [set[int]() for _ in range(pieces)]
    for number, place, fill in replay(seed, flushed + 5000, pieces):
        if number <= flushed:
            certain[place] = fill
        else:
            later[place].add(fill)
    with vhd.open_chain(path) as disk:
        for place in range(pieces):
            found = set(disk.pread(place * PIECE, PIECE))
            # a piece that was being written may be old and new in part
            assert found <= {certain[place]} | later[place] or (
                later[place] and found <= {0, certain[place]} | later[place]
            )
            if not later[place]:
                assert found == {certain[place]}
    # and it can be written again, and is then whole for every reader
    with vhd.open_chain(path, writable=True) as disk:
        disk.pwrite(0, b"after")
        assert disk.pread(0, 5) == b"after"
    data = path.read_bytes()
    assert data[-512:] == data[:512]
    assert Footer.unpack(data[-512:]).current_size == SIZE


@contextmanager
def no_file_longer_than(limit: int) -> Iterator[None]:
    """Writes beyond the limit fail, as on a full file system."""
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, old[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
        signal.signal(signal.SIGXFSZ, handler)


@needs_qemu_img
@pytest.mark.parametrize("room", [0, 512, 4096, MIB, 2 * MIB + 4096 - 512, 2 * MIB + 4096 - 1])
def test_without_space_a_write_fails_and_what_was_written_stays(tmp_path: Path, room: int) -> None:
    path = tmp_path / "disk.vhd"
    vhd.create(path, 16 * MIB)
    content = bytearray(16 * MIB)
    with vhd.open_chain(path, writable=True) as disk:
        disk.pwrite(3 * MIB, b"first" * 1000)
        content[3 * MIB : 3 * MIB + 5000] = b"first" * 1000
        before = path.stat().st_size
        with no_file_longer_than(before + room), pytest.raises(OSError, match="File too large"):
            disk.pwrite(9 * MIB, b"second" * 1000)
        assert disk.pread(0, disk.size) == content
        assert path.stat().st_size == before
        # space again: the same disk, still open, goes on
        disk.pwrite(13 * MIB, b"third" * 1000)
        content[13 * MIB : 13 * MIB + 5000] = b"third" * 1000
    qemu_img("compare", "-f", "raw", "-F", "vpc", save(tmp_path / "raw", [content]), path)


def test_a_lost_footer_or_front_copy_is_made_up_for(tmp_path: Path) -> None:
    for damage in ("end", "front", "tail"):
        path = tmp_path / f"{damage}.vhd"
        vhd.create(path, 4 * MIB)
        with vhd.open_chain(path, writable=True) as disk:
            disk.pwrite(0, b"data")
        size = path.stat().st_size
        with path.open("r+b") as file:
            if damage == "end":
                # as after a kill between two steps: the file is longer than its last whole state
                file.truncate(size - 512)
                file.truncate(size + 4096)
            elif damage == "front":
                file.write(bytes(512))
            else:
                file.seek(0, os.SEEK_END)
                file.write(bytes(2 * MIB))
        with vhd.open_chain(path) as disk:
            assert disk.pread(0, 4) == b"data"
        with vhd.open_chain(path, writable=True) as disk:
            disk.pwrite(3 * MIB, b"more")
        Image(path, writable=True).close()
        data = path.read_bytes()
        assert data[-512:] == data[:512]
        assert bytes(data[:8]) == b"conectix"


def test_a_coalesce_that_was_killed_can_be_run_again(tmp_path: Path) -> None:
    base, child = tmp_path / "base.vhd", tmp_path / "child.vhd"
    vhd.create(base, 64 * MIB)
    vhd.create(child, parent=base)
    content = random.Random(1).randbytes(64 * MIB)
    with vhd.open_chain(child, writable=True) as disk:
        disk.pwrite(0, content)
    program = "import sys; from xapikit import vhd; print('go', flush=True); vhd.coalesce(sys.argv[1])"
    with subprocess.Popen([sys.executable, "-c", program, child], stdout=subprocess.PIPE, text=True) as worker:
        assert worker.stdout
        worker.stdout.readline()
        os.kill(worker.pid, signal.SIGKILL)
    with vhd.open_chain(child) as disk:
        assert disk.pread(0, disk.size) == content
    vhd.coalesce(child)
    with vhd.open_chain(base) as disk:
        assert disk.pread(0, disk.size) == content
