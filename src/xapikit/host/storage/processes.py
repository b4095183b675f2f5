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
"""Processes that outlive the server, known by pid and start time: a pid alone may belong to somebody else by now."""

from __future__ import annotations

import os
import select
import signal
from dataclasses import dataclass
from pathlib import Path


def this_boot() -> str:
    """Names the time since the machine was started last."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def noted_boot(path: Path) -> str:
    """The ``this_boot`` of the last call with that file, which holds the present one afterwards."""
    before = path.read_text() if path.exists() else ""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(this_boot())
    return before


@dataclass(frozen=True)
class ProcessIdentity:
    """A process of this machine since its last boot."""

    pid: int
    start: int
    """Start time in clock ticks since boot (field 22 of ``/proc/PID/stat``)."""

    @classmethod
    def of(cls, pid: int) -> ProcessIdentity | None:
        """Identity of a running process; None when there is none (a zombie does not run any more)."""
        try:
            text = Path(f"/proc/{pid}/stat").read_text()
        except (FileNotFoundError, ProcessLookupError):
            return None
        # the command name in parentheses may hold blanks and parentheses itself
        fields = text[text.rindex(")") + 2 :].split()
        return None if fields[0] in ("Z", "X") else cls(pid, int(fields[19]))

    @classmethod
    def own(cls) -> ProcessIdentity:
        found = cls.of(os.getpid())
        assert found is not None, "a process that asks is running"
        return found

    @classmethod
    def parse(cls, text: str) -> ProcessIdentity:
        """Read what ``str`` wrote. Raises ValueError."""
        pid, _, start = text.partition(":")
        return cls(int(pid), int(start))

    def __str__(self) -> str:
        return f"{self.pid}:{self.start}"

    def alive(self) -> bool:
        return ProcessIdentity.of(self.pid) == self

    def open_pidfd(self) -> int | None:
        """A descriptor that becomes readable when the process ends; None when it has ended. The caller closes it."""
        try:
            fd = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return None
        if self.alive():  # checked after opening: the descriptor cannot slip to another process any more
            return fd
        os.close(fd)
        return None

    def kill(self) -> bool:
        """SIGKILL; False when it had ended before. Nobody waits for its end."""
        fd = self.open_pidfd()
        if fd is None:
            return False
        try:
            signal.pidfd_send_signal(fd, signal.SIGKILL)
        except ProcessLookupError:
            return False
        finally:
            os.close(fd)
        return True

    def end(self, patience: float = 5.0) -> bool:
        """SIGTERM, then after ``patience`` seconds SIGKILL. True when it obeyed the first (or was gone)."""
        fd = self.open_pidfd()
        if fd is None:
            return True
        try:
            signal.pidfd_send_signal(fd, signal.SIGTERM)
            if select.select([fd], [], [], patience)[0]:
                return True
            signal.pidfd_send_signal(fd, signal.SIGKILL)
            select.select([fd], [], [], patience)
            return False
        except ProcessLookupError:
            return True
        finally:
            os.close(fd)
