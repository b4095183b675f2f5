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
"""Data paths serve VHD chains over NBD to QEMU's own tools, survive the server, and leave nothing behind."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from xapikit import vhd
from xapikit.host.storage.capacity import Capacity
from xapikit.host.storage.datapath.manager import DataPath, DataPathFailed, DataPaths
from xapikit.host.storage.processes import ProcessIdentity

MIB = 1 << 20
A = "aaaaaaaa-0000-4000-8000-000000000001"
B = "aaaaaaaa-0000-4000-8000-000000000002"


class Host:
    """One server's data paths over a directory of disks."""

    def __init__(self, run: Path) -> None:
        self.lost: list[DataPath] = []
        self.noticed = threading.Event()
        self.paths = DataPaths(run, self._lost)

    def _lost(self, path: DataPath) -> None:
        self.lost.append(path)
        self.noticed.set()


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return tmp_path / "run"


@pytest.fixture
def host(run: Path) -> Iterator[Host]:
    host = Host(run)
    yield host
    for path in host.paths.live():
        host.paths.close(path)
    host.paths.stop()
    assert not list(run.iterdir()), "files of data paths are left"


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    path = tmp_path / f"{A}.vhd"
    vhd.create(path, 16 * MIB)
    return path


def start(host: Host, disk: Path, *, read_only: bool = False) -> DataPath:
    return host.paths.start(disk, read_only=read_only, labels={"vdi": disk.stem})


def uri(path: DataPath) -> str:
    return f"nbd+unix:///?socket={path.socket}"


def qemu_io(path: DataPath, *commands: str, read_only: bool = False) -> str:
    line = ["qemu-io", "-f", "raw", *(["-r"] if read_only else [])]
    for command in commands:
        line += ["-c", command]
    done = subprocess.run([*line, uri(path)], capture_output=True, text=True, timeout=30, check=False)
    return done.stdout + done.stderr


def test_what_qemu_writes_is_in_the_vhd(host: Host, disk: Path) -> None:
    path = start(host, disk)
    said = qemu_io(path, "write -P 0x5a 1M 3M", "write -P 7 513k 512", "write -z 2M 64k", "flush", "discard 8M 1M")
    assert "rror" not in said and "ailed" not in said, said
    said = qemu_io(path, "read -P 0x5a 1M 1M", "read -P 0 2M 64k", "read -P 0x5a 2112k 100k", "read -P 0 8M 8M")
    assert "verification failed" not in said and "rror" not in said, said
    host.paths.close(path)
    with vhd.open_chain(disk) as chain:
        assert chain.pread(513 * 1024, 512) == b"\7" * 512
        assert chain.pread(3 * MIB, MIB) == b"\x5a" * MIB
        assert chain.pread(2 * MIB, 65536) == bytes(65536)


def test_qemu_img_reads_a_differencing_chain_through_it(host: Host, disk: Path, tmp_path: Path) -> None:
    with vhd.open_chain(disk, writable=True) as chain:
        chain.pwrite(0, b"parent" * 1000)
    child = tmp_path / f"{B}.vhd"
    vhd.create(child, parent=disk)
    with vhd.open_chain(child, writable=True) as chain:
        chain.pwrite(4 * MIB, b"child" * 1000)
    path = start(host, child, read_only=True)
    raw = tmp_path / "out.raw"
    subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", "raw", uri(path), str(raw)], check=True, timeout=30)
    data = raw.read_bytes()
    assert len(data) == 16 * MIB
    assert data[:6000] == b"parent" * 1000 and data[4 * MIB : 4 * MIB + 5000] == b"child" * 1000


def test_a_read_only_attachment_refuses_writes(host: Host, disk: Path) -> None:
    path = start(host, disk, read_only=True)
    info = json.loads(subprocess.check_output(["qemu-img", "info", "--output=json", uri(path)], timeout=30))
    assert info["virtual-size"] == 16 * MIB
    assert "Permission denied" in qemu_io(path, "write 0 512")
    assert vhd.info(disk).allocated_blocks == 0


def test_a_pause_holds_requests_and_a_resume_can_go_on_with_another_file(
    host: Host, disk: Path, tmp_path: Path
) -> None:
    path = start(host, disk)
    assert "rror" not in qemu_io(path, "write -P 1 0 1M")
    path.pause()
    assert path.status()["paused"]
    said: list[str] = []
    reader = threading.Thread(target=lambda: said.append(qemu_io(path, "read -P 1 0 1M", "write -P 2 0 64k")))
    reader.start()
    # the leaf becomes the parent of a new one, as in a snapshot, while the guest waits
    child = tmp_path / f"{B}.vhd"
    vhd.create(child, parent=disk)
    path.resume(child)
    reader.join(30)
    assert "rror" not in said[0] and "failed" not in said[0], said
    host.paths.close(path)
    with vhd.open_chain(disk) as chain:
        assert chain.pread(0, 65536) == b"\1" * 65536
    with vhd.open_chain(child) as chain:
        assert chain.pread(0, 65536) == b"\2" * 65536 and chain.pread(65536, 512) == b"\1" * 512


def test_a_disk_that_is_open_for_writing_is_not_attached_twice(host: Host, disk: Path) -> None:
    start(host, disk)
    with pytest.raises(DataPathFailed, match="DiskBusy"):
        start(host, disk)


def test_a_broken_vhd_is_refused_by_name(host: Host, disk: Path) -> None:
    disk.write_bytes(b"rubbish" * 1000)
    with pytest.raises(DataPathFailed, match=r"VhdRejected: .*not-a-vhd"):
        start(host, disk)


def test_the_next_server_finds_the_data_paths_of_the_last(host: Host, disk: Path, run: Path) -> None:
    path = start(host, disk)
    first = Host(run)
    (found,) = first.paths.adopt()
    assert found.process == path.process and found.labels == {"vdi": A}
    assert "rror" not in qemu_io(found, "write -P 1 0 1M")
    first.paths.stop()


@pytest.mark.parametrize("when", ["before it starts", "while it starts"])
def test_a_data_path_whose_server_dies_at_its_start_ends_and_lets_go_of_the_disk(
    host: Host, disk: Path, tmp_path: Path, when: str
) -> None:
    server = subprocess.Popen(["sleep", "60"])
    identity = ProcessIdentity.of(server.pid)
    server.kill()
    server.wait()
    where = ["--disk", disk, "--nbd", tmp_path / "n", "--control", tmp_path / "c", "--owner", str(identity)]
    package = "xapikit.host.storage.datapath"
    if when == "before it starts":
        command = [sys.executable, "-m", package, *where]
    else:
        serve = "Server(*map(Path, sys.argv[1:4]), read_only=False, owner=ProcessIdentity.parse(sys.argv[4])).run()"
        imports = f"from pathlib import Path; from {package}.server import Server, ProcessIdentity; import sys"
        command = [sys.executable, "-c", f"{imports}; {serve}", *where[1::2]]
    subprocess.run(command, timeout=30, check=False, stderr=subprocess.DEVNULL)
    host.paths.close(start(host, disk))


def test_the_end_of_a_data_path_is_noticed_and_cleaned_up(host: Host, disk: Path, run: Path) -> None:
    path = start(host, disk)
    os.kill(path.process.pid, signal.SIGKILL)
    assert host.noticed.wait(10)
    assert host.lost == [path] and host.paths.live() == [] and not list(run.iterdir())


def test_the_remains_of_a_data_path_that_died_meanwhile_are_removed(disk: Path, run: Path) -> None:
    first = Host(run)
    path = first.paths.start(disk, read_only=False, labels={})
    first.paths.stop()
    path.process.end()
    path.reap()
    second = Host(run)
    assert second.paths.adopt() == [] and not list(run.iterdir())
    second.paths.stop()


def test_long_state_directories_get_short_sockets(disk: Path, tmp_path: Path) -> None:
    run = tmp_path / ("x" * 120) / "run"
    first = Host(run)
    path = start(first, disk)
    assert len(str(path.socket)) < 108
    first.paths.stop()
    second = Host(run)
    (found,) = second.paths.adopt()
    assert "rror" not in qemu_io(found, "read 0 1M")
    second.paths.close(found)
    second.paths.stop()
    assert not list(run.iterdir()) and not path.socket.parent.exists()


def test_a_full_sr_is_no_space_for_the_guest(host: Host, disk: Path, tmp_path: Path) -> None:
    path = start(host, disk)
    assert "rror" not in qemu_io(path, "write -P 1 0 2M")
    Capacity(tmp_path).set_limit(3 * MIB)
    assert "No space left" in qemu_io(path, "write -P 1 4M 4M")
    assert "rror" not in qemu_io(path, "write -P 2 0 1M"), "what is there already can be written over"
