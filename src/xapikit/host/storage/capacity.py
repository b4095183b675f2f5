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
"""How much room an SR has: the file system's, or a limit set below it, so that "SR full" can be had on request.

The limit stands in a file of the SR directory, because data-path processes obey it too; so do a speed and a latency,
for slow disks on request.
"""

from __future__ import annotations

import errno
import os
import threading
import time
from pathlib import Path

from xapikit.host.storage.disks import Disk

LIMIT_FILE = ".limit"
SPEED_FILE = ".speed"
LATENCY_FILE = ".latency"
_GRANULARITY = 1 << 30


def sizes_of(directory: Path) -> dict[str, int]:
    """Bytes that each file of an SR directory takes on its file system; of two names of a file one counts."""
    found: dict[str, int] = {}
    seen: set[int] = set()
    with os.scandir(directory) as entries:
        for entry in entries:
            try:
                stat = entry.stat(follow_symlinks=False)
            except FileNotFoundError:  # renamed or removed meanwhile
                continue
            if stat.st_nlink > 1:
                if stat.st_ino in seen:
                    continue
                seen.add(stat.st_ino)
            found[entry.name] = stat.st_blocks * 512
    return found


def used_bytes(directory: Path) -> int:
    """Bytes that the files of an SR directory take together."""
    return sum(sizes_of(directory).values())


class Setting:
    """A number in a file of an SR directory that every process of the SR sees change."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stamp: tuple[int, int] | None = None
        self._value: int | None = None

    @property
    def value(self) -> int | None:
        """None when it is not set."""
        try:
            stat = self._path.stat()
        except FileNotFoundError:
            self._stamp = self._value = None
            return None
        stamp = (stat.st_mtime_ns, stat.st_ino)
        if stamp != self._stamp:
            self._value = int(self._path.read_text())
            self._stamp = stamp
        return self._value

    def set(self, value: int | None) -> None:
        """Raises ValueError for a negative number."""
        if value is None:
            self._path.unlink(missing_ok=True)
            return
        if value < 0:
            raise ValueError(f"{value} is negative")
        temporary = self._path.with_name(f"{self._path.name}.new")
        temporary.write_text(str(value))
        temporary.replace(self._path)


class Capacity:
    """The room of one SR directory, and how fast it is."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._limit = Setting(directory / LIMIT_FILE)
        self._speed = Setting(directory / SPEED_FILE)
        self._latency = Setting(directory / LATENCY_FILE)
        self._left = 0
        self._last_limit: int | None = None
        self._used: dict[str, int] | None = None
        self._total = 0
        self._idle = threading.Event()
        self._lock = threading.Lock()
        self._free_at = 0.0

    @property
    def limit(self) -> int | None:
        """Bytes that the SR may take, None for all of the file system."""
        return self._limit.value

    def set_limit(self, limit: int | None) -> None:
        """Limit the SR to that many bytes (or lift it), for this process and for the data paths of its disks."""
        self._limit.set(limit)

    @property
    def speed(self) -> int | None:
        """Bytes per second that disks of the SR are read and written with; None for as fast as it goes."""
        return self._speed.value

    def set_speed(self, speed: int | None) -> None:
        """Make the SR slow (or not), for this process and for the data paths of its disks, each by itself."""
        if speed == 0:
            raise ValueError("a speed of 0 bytes per second")
        self._speed.set(speed)

    @property
    def latency(self) -> int | None:
        """Milliseconds that each request to a disk of the SR takes on top; None for none."""
        return self._latency.value

    def set_latency(self, latency: int | None) -> None:
        """As ``set_speed``, for milliseconds per request."""
        self._latency.set(latency)

    def pace(self, length: int) -> None:
        """Called before a request of ``length`` bytes: takes as long as a disk of that speed and latency would."""
        speed, latency = self.speed, self.latency
        if speed is None and latency is None:
            return
        delay = (latency or 0) / 1000  # requests wait for it side by side, for the bytes in turn
        if speed is not None:
            with self._lock:
                now = time.monotonic()
                self._free_at = max(now, self._free_at) + length / speed
                delay += self._free_at - now
        self._idle.wait(delay)  # an event that nobody sets: a wait of that length

    def sizes(self, *changed: Path) -> tuple[int, int]:
        """(size, used) in bytes. Only the files ``changed`` are looked at again when some are given.

        Without a limit the size follows the free space of the file system in whole GiB, so that other people's files
        do not make a change of it each time.
        """
        used = self._measure(changed)
        limit = self.limit
        if limit is not None:
            return limit, used
        system = os.statvfs(self._directory)
        free = system.f_bavail * system.f_frsize
        return (used + free) // _GRANULARITY * _GRANULARITY, used

    def _measure(self, changed: tuple[Path, ...]) -> int:
        if self._used is None or not changed:
            self._used = sizes_of(self._directory)
            self._total = sum(self._used.values())
        for path in changed:
            self._total -= self._used.pop(path.name, 0)
            try:
                self._used[path.name] = path.stat().st_blocks * 512
            except FileNotFoundError:
                continue
            self._total += self._used[path.name]
        return self._total

    def room(self) -> int:
        """Bytes that can still be written."""
        limit = self.limit
        system = os.statvfs(self._directory)
        free = system.f_bavail * system.f_frsize
        return free if limit is None else max(0, min(free, limit - used_bytes(self._directory)))

    def admit(self, disk: Disk, offset: int, length: int) -> None:
        """Called before a write: raises OSError ENOSPC when it would take the SR beyond its limit.

        What is written over costs nothing; the sum over all files is only made when the budget from the last time
        is used up.
        """
        limit = self.limit
        if limit is None:
            return
        if limit != self._last_limit:
            self._last_limit, self._left = limit, 0
        self._left -= length
        if self._left >= 0:
            return
        room = self.room()
        if room >= length:
            self._left = (room - length) // 2
            return
        self._left = 0
        if sum(count for _, count in disk.extents(offset, length)) < length:
            raise OSError(errno.ENOSPC, f"the SR in {self._directory} is full (limit {self.limit} bytes)")
