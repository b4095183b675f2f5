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
"""Killed before any one of its writes, an operation has happened or has not, and can be run again."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from vhd.vhd_tools import MIB, sparse_content
from xapikit import vhd

SIZE = 9 * MIB + 512
CONTENT = bytes(sparse_content(SIZE, seed=31))

# runs one operation and kills itself before the system call of that number that changes a file; the profiler of the
# interpreter sees the calls, nothing of the library is replaced
PROGRAM = """
import os, signal, sys
from pathlib import Path
from xapikit import vhd
directory, operation, fatal = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
os.chdir(directory)
changing = {os.pwrite, os.pwritev, os.ftruncate, os.link, os.unlink, os.rename}
seen = 0
def watch(frame, event, what):
    global seen
    if event == "c_call" and what in changing:
        if seen == fatal:
            os.kill(os.getpid(), signal.SIGKILL)
        seen += 1
sys.setprofile(watch)
exec(operation)
sys.setprofile(None)
"""

WRITE = "with vhd.open_chain('leaf.vhd', writable=True) as disk: disk.pwrite({offset}, {data})"


def reads_as(path: Path) -> bytes:
    """Contents (nothing here writes beyond 20 MiB) and, behind them, the size."""
    with vhd.open_chain(path) as disk:
        some = min(disk.size, 20 * MIB)
        assert list(disk.extents(some)) == []
        return disk.pread(0, some) + disk.size.to_bytes(8, "big")


def dynamic(directory: Path) -> None:
    vhd.create(directory / "leaf.vhd", SIZE)
    with vhd.open_chain(directory / "leaf.vhd", writable=True) as disk:
        disk.pwrite(0, CONTENT[: 2 * MIB])


def differencing(directory: Path) -> None:
    vhd.create(directory / "base.vhd", SIZE)
    with vhd.open_chain(directory / "base.vhd", writable=True) as disk:
        disk.pwrite(0, CONTENT)
    vhd.create(directory / "leaf.vhd", parent=directory / "base.vhd")
    with vhd.open_chain(directory / "leaf.vhd", writable=True) as disk:
        disk.pwrite(100_000, b"\xaa" * 100_000)


CASES: dict[str, tuple[Callable[[Path], None], str, str]] = {
    "new block": (dynamic, WRITE.format(offset=5 * MIB, data="b'new' * 10000"), "leaf.vhd"),
    "new whole block": (dynamic, WRITE.format(offset=4 * MIB, data="b'n' * (2 << 20)"), "leaf.vhd"),
    "first write to a child": (differencing, WRITE.format(offset=7 * MIB, data="b'new' * 10000"), "leaf.vhd"),
    "more of a child's block": (differencing, WRITE.format(offset=500_000, data="b'new' * 10000"), "leaf.vhd"),
    "growing": (dynamic, "vhd.resize('leaf.vhd', 300 << 20)", "leaf.vhd"),
    "growing within the table": (dynamic, "vhd.resize('leaf.vhd', 20 << 20)", "leaf.vhd"),
    "hiding": (dynamic, "vhd.set_hidden('leaf.vhd', True)", "leaf.vhd"),
    "another parent": (differencing, "vhd.set_parent('leaf.vhd', 'base.vhd')", "leaf.vhd"),
    "coalescing, as the child reads": (differencing, "vhd.coalesce('leaf.vhd')", "leaf.vhd"),
}


@pytest.mark.parametrize("name", CASES)
def test_killed_before_any_write(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare, operation, looked_at = CASES[name]

    def fresh(number: str) -> Path:
        directory = tmp_path / number
        directory.mkdir()
        prepare(directory)
        return directory

    done = fresh("done")
    before = reads_as(done / looked_at)
    run(done, operation, -1)
    after = reads_as(done / looked_at)
    for fatal in range(100):
        directory = fresh(str(fatal))
        killed = run(directory, operation, fatal)
        found = reads_as(directory / looked_at)
        # data of a write that was under way may be there in part: nothing of it was acknowledged
        if "pwrite" in operation:
            assert len(found) == len(before)
            changed = [at for at in range(0, len(found), 512) if found[at : at + 512] != before[at : at + 512]]
            assert all(found[at : at + 512] == after[at : at + 512] for at in changed)
        else:
            assert found in (before, after)
        # for the tools too the file is whole, and the operation can be run again
        with monkeypatch.context() as there:
            there.chdir(directory)
            exec(operation, {"vhd": vhd})  # noqa: S102
        assert reads_as(directory / looked_at) == after
        for path in directory.glob("*.vhd"):
            vhd.open_chain(path, writable=True).close()
            data = path.read_bytes()
            assert data[:512] == data[-512:]
        if not killed:
            assert fatal >= 1
            return
    raise AssertionError("the operation has no end")


def run(directory: Path, operation: str, fatal: int) -> bool:
    """Whether the operation was killed."""
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM, directory, operation, str(fatal)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert ended.returncode in (0, -9), ended.stderr
    return ended.returncode != 0


def test_killed_while_creating_leaves_no_file_under_the_name(tmp_path: Path) -> None:
    for fatal in range(100):
        directory = tmp_path / str(fatal)
        directory.mkdir()
        killed = run(directory, "vhd.create('disk.vhd', 1 << 30)", fatal)
        disk = directory / "disk.vhd"
        if not disk.exists():
            assert killed
            vhd.create(disk, 1 << 30)
        assert vhd.info(disk).virtual_size == 1 << 30
        if not killed:
            assert [path.name for path in directory.iterdir()] == ["disk.vhd"]
            return
    raise AssertionError("creating has no end")
