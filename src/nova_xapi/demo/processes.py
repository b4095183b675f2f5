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
"""Start processes so that they can be found, watched and stopped later by another command.

Each process leads a session of its own and has a record STATE/run/NAME.json with its pid, the kernel's start time
of that pid and the boot id, so that a recycled pid is never mistaken for ours. Its working directory is the state
directory: titles and environments can be overwritten by a process, that cannot, so `strays` can find what records miss
(children of a killed service, guests of a killed xapi-host).
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Event

from nova_xapi.demo.errors import DemoError, ServiceFailed

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def start_ticks(pid: int) -> int | None:
    """Start time of a running process in clock ticks since boot; None when it is gone or a zombie."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else int(fields[19])


@dataclass(frozen=True)
class Record:
    """One started process. `began` is in seconds since the epoch."""

    name: str
    pid: int
    ticks: int
    boot: str
    began: float

    def alive(self) -> bool:
        """The very process that was started still runs."""
        return self.boot == BOOT_ID.read_text().strip() and start_ticks(self.pid) == self.ticks

    def group(self) -> list[int]:
        """Processes of the session it leads, itself included. Empty when the pid belongs to somebody else now."""
        if self.boot != BOOT_ID.read_text().strip():
            return []
        ticks = start_ticks(self.pid)
        if ticks is not None and ticks != self.ticks:
            return []
        members = []
        for path in Path("/proc").glob("[0-9]*"):
            pid = int(path.name)
            with suppress(OSError):
                if os.getsid(pid) == self.pid and start_ticks(pid) is not None:
                    members.append(pid)
        return members


class Processes:
    """The processes of one state directory."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.run = root / "run"
        self.log = root / "log"

    def record(self, name: str) -> Record | None:
        try:
            return Record(**json.loads((self.run / f"{name}.json").read_text()))
        except FileNotFoundError:
            return None

    def records(self) -> list[Record]:
        """All records, in the order of starting."""
        found = [self.record(path.stem) for path in self.run.glob("*.json")]
        return sorted((record for record in found if record), key=lambda record: record.began)

    def alive(self, name: str) -> bool:
        record = self.record(name)
        return record is not None and record.alive()

    def log_of(self, name: str) -> Path:
        return self.log / f"{name}.log"

    def tail(self, name: str, lines: int = 25) -> str:
        try:
            with self.log_of(name).open("rb") as file:
                file.seek(max(0, file.seek(0, os.SEEK_END) - 16384))
                return "\n".join(file.read().decode(errors="replace").splitlines()[-lines:])
        except FileNotFoundError:
            return ""

    def start(self, name: str, argv: list[str], env: dict[str, str], *, output: Path | None = None) -> bool:
        """Start it unless it runs; True when it was started now. `output` gets standard output instead of the log."""
        if self.alive(name):
            return False
        self.log.mkdir(parents=True, exist_ok=True)
        with self.log_of(name).open("ab") as log, (output or self.log_of(name)).open("ab") as out:
            try:
                process = subprocess.Popen(
                    argv,
                    env=env,
                    cwd=self.root,
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=log,
                    start_new_session=True,
                )
            except OSError as error:
                raise DemoError(f"{name} cannot be started: {argv[0]}: {error.strerror}") from error
        ticks = start_ticks(process.pid)
        record = Record(name, process.pid, ticks or 0, BOOT_ID.read_text().strip(), time.time())
        path = self.run / f"{name}.json"
        path.with_suffix(".new").write_text(json.dumps(asdict(record)) + "\n")
        path.with_suffix(".new").rename(path)
        # the process outlives this command on purpose: nobody waits for it but `wait_ready`, through a pidfd
        process.returncode = 0
        return True

    def wait_ready(
        self, name: str, probe: Callable[[], bool], timeout: float, stop: Event | None = None, interval: float = 0.2
    ) -> None:
        """Return when `probe` says so; raise ServiceFailed when the process ends first or `timeout` (s) passes."""
        record = self.record(name)
        deadline = time.monotonic() + timeout
        poll = select.poll()
        fd = -1
        try:
            if record and record.alive():
                with suppress(ProcessLookupError):
                    fd = os.pidfd_open(record.pid)
                    poll.register(fd, select.POLLIN)
            while True:
                if fd < 0 or poll.poll(0):
                    raise ServiceFailed(name, "has ended", self.log_of(name), self.tail(name))
                if probe():
                    return
                if stop is not None and stop.is_set():
                    raise DemoError(f"stopped waiting for {name}")
                if time.monotonic() > deadline:
                    raise ServiceFailed(
                        name, f"was not ready within {timeout:.0f} s", self.log_of(name), self.tail(name)
                    )
                # wakes at once when the process ends
                poll.poll(interval * 1000)
        finally:
            if fd >= 0:
                os.close(fd)

    def check_alive(self) -> None:
        """Raise ServiceFailed for the first recorded service that has ended by itself."""
        for record in self.records():
            if not record.alive():
                raise ServiceFailed(record.name, "has ended", self.log_of(record.name), self.tail(record.name))

    def stop(self, name: str, timeout: float = 20) -> bool:
        """SIGTERM to the process, and after `timeout` (s) SIGKILL to what is left of its session. Was it alive?"""
        record = self.record(name)
        if record is None:
            return False
        was_alive = record.alive()
        if was_alive:
            with suppress(ProcessLookupError):
                os.kill(record.pid, signal.SIGTERM)
            wait_gone([record.pid], timeout)
        members = record.group()
        if members:
            # workers of a well-behaved service follow their leader within moments
            for pid in wait_gone(members, 2):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            wait_gone(members, 5)
        (self.run / f"{name}.json").unlink(missing_ok=True)
        return was_alive

    def strays(self) -> Iterator[tuple[int, str]]:
        """(pid, command line) of processes that work in the state directory and are not recorded as running: they have
        it as working directory or name something in it. What has a terminal is a person's: an editor, a pager."""
        recorded = {pid for record in self.records() for pid in record.group()}
        for path in Path("/proc").glob("[0-9]*"):
            pid = int(path.name)
            if pid in recorded or pid in (os.getpid(), os.getppid()) or start_ticks(pid) is None:
                continue
            with suppress(OSError):
                command = (path / "cmdline").read_bytes().decode(errors="replace").replace("\0", " ").strip()
                cwd = (path / "cwd").readlink()
                inside = cwd == self.root or self.root in cwd.parents or f"{self.root}/" in command
                if inside and command and not has_terminal(pid):
                    yield pid, command


def has_terminal(pid: int) -> bool:
    """A terminal controls the process's session."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[4] != "0"


def wait_gone(pids: list[int], timeout: float) -> list[int]:
    """Wait up to `timeout` (s) until these processes ended; the ones that did not."""
    deadline = time.monotonic() + timeout
    left = []
    for pid in pids:
        try:
            fd = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        try:
            poll = select.poll()
            poll.register(fd, select.POLLIN)
            if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
                left.append(pid)
        finally:
            os.close(fd)
        with suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)
    return left
