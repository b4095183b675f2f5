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
"""Real guests under QEMU: a boot sector that speaks on the serial line stands for an operating system."""

from __future__ import annotations

import os
import queue
import signal
import socket
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from bootsector import boot_disk
from xapikit.host.domains.model import DiskConfig, DiskSource, Domain, DomainConfig, DomainFailed, End, Ended, NicConfig
from xapikit.host.domains.qemu import QemuKind, accel
from xapikit.host.domains.qemu.domain import QemuDomain

pytestmark = [
    pytest.mark.qemu,
    pytest.mark.skipif(accel.program() is None, reason="QEMU is not installed (apt-get install qemu-system-x86)"),
]

SECONDS = 60.0


class Ends:
    """Collects what kinds report."""

    def __init__(self) -> None:
        self._queue: queue.Queue[tuple[Domain, Ended]] = queue.Queue()

    def __call__(self, domain: Domain, ended: Ended) -> None:
        self._queue.put((domain, ended))

    def next(self) -> tuple[Domain, Ended]:
        return self._queue.get(timeout=SECONDS)

    def none(self) -> bool:
        return self._queue.empty()


@pytest.fixture
def ends() -> Ends:
    return Ends()


@pytest.fixture
def disk(tmp_path: Path) -> DiskConfig:
    path = tmp_path / "boot.raw"
    path.write_bytes(boot_disk())
    return DiskConfig(str(uuid.uuid4()), 0, DiskSource("file", str(path)), True, bootable=True)


@pytest.fixture
def config(disk: DiskConfig) -> DomainConfig:
    nic = NicConfig(str(uuid.uuid4()), 0, "02:00:00:00:00:01", 1400)
    drive = DiskConfig(str(uuid.uuid4()), 3, None, True, cdrom=True)
    return DomainConfig(
        vm=str(uuid.uuid4()), name="a, b", domid=1, host="h", memory_bytes=64 << 20, vcpus=1, vcpus_max=2,
        disks=(disk, drive), nics=(nic,),
    )  # fmt: skip


@pytest.fixture
def kinds(tmp_path: Path) -> Iterator[Callable[[], QemuKind]]:
    made: list[QemuKind] = []

    def make() -> QemuKind:
        kind = QemuKind(tmp_path / "run", tmp_path / "keep", accelerator="tcg")
        made.append(kind)
        return kind

    yield make
    for kind in made[:-1]:
        kind.stop(stop_guests=False)
    if made:
        made[-1].stop(stop_guests=True)


def left(tmp_path: Path) -> list[str]:
    return [path.name for path in (tmp_path / "run").iterdir() if path.name != "sockets"]


def boot(kind: QemuKind, config: DomainConfig, ends: Ends) -> QemuDomain:
    domain = kind.start(config, paused=False, on_end=ends)
    assert isinstance(domain, QemuDomain)
    assert domain.wait_for_text("boot ok", SECONDS), domain.text
    return domain


def read_until(line: socket.socket, text: bytes) -> bytes:
    line.settimeout(SECONDS)
    seen = b""
    while text not in seen:
        data = line.recv(4096)
        assert data, f"the console ended after {seen!r}"
        seen += data
    return seen


def send(domain: Domain, text: bytes) -> None:
    with domain.open_console("vt100") as line:
        line.sendall(text)


def test_a_guest_boots_from_its_disk_and_speaks(
    kinds: Callable[[], QemuKind], config: DomainConfig, ends: Ends, tmp_path: Path
) -> None:
    domain = boot(kinds(), config, ends)
    # whoever opens the console later still gets the boot text, and then what follows
    with domain.open_console("vt100") as line:
        read_until(line, b"boot ok")
        line.sendall(b"xyz")
        read_until(line, b"xyz")
    with domain.open_console("rfb") as screen:
        screen.settimeout(SECONDS)
        assert screen.recv(12) == b"RFB 003.008\n"
    domain.destroy()
    assert not domain.is_alive()
    assert ends.none(), "destroying is no end that the guest chose"
    assert left(tmp_path) == []


def test_a_paused_guest_stands_still(kinds: Callable[[], QemuKind], config: DomainConfig, ends: Ends) -> None:
    kind = kinds()
    domain = kind.start(config, paused=True, on_end=ends)
    assert isinstance(domain, QemuDomain) and domain.paused
    assert domain.qmp.execute("query-status")["running"] is False
    domain.unpause()
    assert domain.wait_for_text("boot ok", SECONDS)
    domain.pause()
    assert domain.paused and domain.qmp.execute("query-status")["status"] == "paused"


def test_what_the_guest_does_is_reported(
    kinds: Callable[[], QemuKind], config: DomainConfig, ends: Ends, tmp_path: Path
) -> None:
    kind = kinds()
    domain = boot(kind, config, ends)
    send(domain, b"r")
    assert ends.next() == (domain, Ended(End.REBOOTED, "guest-reset"))
    again = boot(kind, replace(config, domid=2), ends)
    send(again, b"s")
    assert ends.next() == (again, Ended(End.HALTED, "guest-shutdown"))
    assert left(tmp_path) == []


def test_a_dying_qemu_is_a_crash(
    kinds: Callable[[], QemuKind], config: DomainConfig, ends: Ends, tmp_path: Path
) -> None:
    domain = boot(kinds(), config, ends)
    os.kill(domain.process.pid, signal.SIGKILL)
    who, ended = ends.next()
    assert who is domain and ended.end is End.CRASHED
    assert left(tmp_path) == []
    with pytest.raises(DomainFailed):
        domain.open_console("vt100")


def test_guests_survive_the_server_and_are_found_again(
    kinds: Callable[[], QemuKind], config: DomainConfig, ends: Ends
) -> None:
    first = kinds()
    domain = boot(first, config, ends)
    stranger = boot(first, replace(config, vm=str(uuid.uuid4())), ends)
    first.stop(stop_guests=False)
    assert domain.process.alive()
    later = kinds()
    found = later.adopt({config.vm: config}, ends)
    assert set(found) == {config.vm}
    adopted = found[config.vm]
    assert isinstance(adopted, QemuDomain)
    assert adopted.process == domain.process and adopted.config == config
    assert not stranger.process.alive(), "what no VM has is ended"
    assert "boot ok" in adopted.text, "the history of the serial line survives"
    assert adopted.qmp.execute("query-status")["running"] is True
    send(adopted, b"s")
    assert ends.next()[1].end is End.HALTED


def test_an_end_while_the_server_was_away_is_noticed(
    kinds: Callable[[], QemuKind], config: DomainConfig, ends: Ends
) -> None:
    first = kinds()
    dead = boot(first, config, ends)
    asleep = boot(first, replace(config, vm=str(uuid.uuid4())), ends)
    line = asleep.open_console("vt100")
    first.stop(stop_guests=False)
    os.kill(dead.process.pid, signal.SIGKILL)
    line.close()
    with socket.socket(socket.AF_UNIX) as serial:  # the guest powers off while nobody follows it
        serial.connect(str(asleep.files.serial))
        serial.sendall(b"s")
        later = kinds()
        wanted = {config.vm: config, asleep.config.vm: asleep.config}
        serial.close()
        found = later.adopt(wanted, ends)
    if asleep.config.vm in found:  # it was found a moment before it powered off
        assert set(found) == {asleep.config.vm}
    who, ended = ends.next()
    assert who.config.vm == asleep.config.vm and ended.end is End.HALTED


def test_a_drive_takes_and_gives_back_media(
    kinds: Callable[[], QemuKind], config: DomainConfig, ends: Ends, tmp_path: Path
) -> None:
    domain = kinds().start(config, paused=True, on_end=ends)
    assert isinstance(domain, QemuDomain)
    medium = tmp_path / "cd.iso"
    medium.write_bytes(bytes(1 << 20))
    drive = config.disks[1].uuid
    domain.insert(drive, DiskSource("file", str(medium)))
    assert any(one.get("inserted", {}).get("file") == str(medium) for one in domain.qmp.execute("query-block"))
    domain.eject(drive)
    domain.insert(drive, DiskSource("file", str(medium)))
    assert next(d for d in domain.config.disks if d.uuid == drive).source is not None


def test_disks_and_nics_are_added_to_a_running_guest(
    kinds: Callable[[], QemuKind], config: DomainConfig, ends: Ends, disk: DiskConfig
) -> None:
    domain = boot(kinds(), config, ends)
    domain.plug_disk(replace(disk, uuid=str(uuid.uuid4()), position=1))
    domain.plug_nic(NicConfig(str(uuid.uuid4()), 1, "02:00:00:00:00:02"))
    assert len(domain.config.disks) == 3 and len(domain.config.nics) == 2
    # a boot sector has no ACPI: it never lets a device go
    with pytest.raises(DomainFailed, match="keeps the device"):
        domain.unplug_disk(domain.config.disks[-1].uuid, force=True)


def test_a_guest_is_saved_and_goes_on_where_it_was(
    kinds: Callable[[], QemuKind], config: DomainConfig, ends: Ends, tmp_path: Path
) -> None:
    kind = kinds()
    domain = boot(kind, config, ends)
    domain.save(tmp_path / "image")
    assert not domain.is_alive() and ends.none()
    with (tmp_path / "image").open("rb") as state:
        resumed = kind.start(replace(config, domid=2), paused=False, on_end=ends, state=state)
    with resumed.open_console("vt100") as line:
        line.sendall(b"moving on")
        seen = read_until(line, b"moving on")
    assert seen.count(b"boot ok") == 1, "it did not boot again"


def test_a_guest_that_cannot_start_leaves_nothing(
    kinds: Callable[[], QemuKind], config: DomainConfig, ends: Ends, disk: DiskConfig, tmp_path: Path
) -> None:
    broken = replace(config, disks=(replace(disk, source=DiskSource("file", str(tmp_path / "nowhere"))),))
    with pytest.raises(DomainFailed, match="nowhere"):
        kinds().start(broken, paused=False, on_end=ends)
    assert left(tmp_path) == []
