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
"""Open disks: a VHD chain or a raw file behind one interface, and a wrapper whose file can be exchanged while in use.

:class:`SwitchableDisk` is what a data path (a process of its own) and a transfer (inside the server) have in common:
a snapshot pauses it, makes a new leaf, and resumes it on the new file; a reader or writer just waits meanwhile.
"""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Protocol

from xapikit import vhd
from xapikit.host.storage.changes import ChangeTracker, tracker_of

Buffer = bytes | bytearray | memoryview

_ZEROS = bytes(1 << 20)


class Disk(Protocol):
    """What :class:`xapikit.vhd.Disk` and :class:`RawDisk` offer. Offsets and lengths are bytes of any alignment."""

    size: int

    def pread_into(self, offset: int, buffer: bytearray | memoryview) -> None: ...

    def pwrite(self, offset: int, data: Buffer) -> None: ...

    def write_zeroes(self, offset: int, length: int) -> None: ...

    def flush(self) -> None: ...

    def extents(self, offset: int = 0, length: int | None = None) -> Iterator[tuple[int, int]]: ...

    def close(self) -> None: ...


class Limits(Protocol):
    """What an SR imposes on its disks."""

    def admit(self, disk: Disk, offset: int, length: int) -> None:
        """Raises OSError when a write does not fit."""
        ...

    def pace(self, length: int) -> None:
        """Takes the time that a slow disk takes for a request of so many bytes."""
        ...


class RawDisk:
    """A raw file (an ISO image, or a disk made in an ISO SR)."""

    def __init__(self, path: Path, *, writable: bool = False) -> None:
        """Raises OSError and, when somebody else writes to the file, :class:`xapikit.vhd.DiskBusy`."""
        self.path = path
        self.writable = writable
        self._fd = os.open(path, (os.O_RDWR if writable else os.O_RDONLY) | os.O_CLOEXEC)
        try:
            if writable:
                fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._fd)
            raise vhd.DiskBusy(path) from None
        self.size = os.fstat(self._fd).st_size

    def _check(self, offset: int, length: int) -> None:
        if offset < 0 or length < 0 or offset + length > self.size:
            raise vhd.OutOfRange(self.path, offset, length, self.size)

    def pread_into(self, offset: int, buffer: bytearray | memoryview) -> None:
        view = memoryview(buffer).cast("B")
        self._check(offset, len(view))
        done = 0
        while done < len(view):
            count = os.preadv(self._fd, [view[done:]], offset + done)
            if count == 0:
                raise OSError(f"{self.path} became shorter than {self.size} bytes")
            done += count

    def pwrite(self, offset: int, data: Buffer) -> None:
        view = memoryview(data).cast("B")
        self._check(offset, len(view))
        if not self.writable:
            raise vhd.DiskReadOnly(self.path)
        done = 0
        while done < len(view):
            done += os.pwrite(self._fd, view[done:], offset + done)

    def write_zeroes(self, offset: int, length: int) -> None:
        self._check(offset, length)
        while length > 0:
            count = min(length, len(_ZEROS))
            self.pwrite(offset, memoryview(_ZEROS)[:count])
            offset += count
            length -= count

    def extents(self, offset: int = 0, length: int | None = None) -> Iterator[tuple[int, int]]:
        """Ranges (offset, length) that are not holes of the file."""
        end = self.size if length is None else offset + length
        self._check(offset, end - offset)
        while offset < end:
            try:
                start = os.lseek(self._fd, offset, os.SEEK_DATA)
            except OSError:  # ENXIO: only a hole is left
                return
            if start >= end:
                return
            stop = min(os.lseek(self._fd, start, os.SEEK_HOLE), end)
            yield start, stop - start
            offset = stop

    def flush(self) -> None:
        if self.writable:
            os.fdatasync(self._fd)

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def open_disk(path: Path, *, writable: bool = False, write_behind: int = 0) -> Disk:
    """Open a file of an SR by its name: ``*.vhd`` with its chain, anything else as raw.

    ``write_behind``: see :func:`xapikit.vhd.open_chain`.
    Raises what the VHD library raises (:class:`xapikit.vhd.VhdError`) and OSError.
    """
    if path.suffix == ".vhd":
        return vhd.open_chain(path, writable=writable, write_behind=write_behind)
    return RawDisk(path, writable=writable)


class SwitchableDisk:
    """A disk whose file may be closed and exchanged between two requests.

    Requests wait while it is paused. The size stays what it was at first: an attached disk is not resized. What is
    written is noted in the changed-block log of the disk, if there is one when it is opened or goes on.
    """

    def __init__(
        self,
        path: Path,
        *,
        writable: bool = False,
        limits: Limits | None = None,
        write_behind: int = 0,
    ) -> None:
        """``limits`` are those of the SR. Raises as ``open_disk``."""
        self.path = path
        self.writable = writable
        self._limits = limits
        self._turn = threading.Condition()
        self._users = 0
        self._closed = False
        self._changes: ChangeTracker | None = None
        self._disk: Disk | None = self._open(path, write_behind)
        self.size = self._disk.size

    def __enter__(self) -> SwitchableDisk:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _open(self, path: Path, write_behind: int = 0) -> Disk:
        disk = open_disk(path, writable=self.writable, write_behind=write_behind)
        try:
            self._changes = tracker_of(path) if self.writable else None
        except BaseException:
            disk.close()
            raise
        return disk

    def _shut(self, disk: Disk | None) -> None:
        changes, self._changes = self._changes, None
        try:
            if disk is not None:
                disk.close()
        finally:
            if changes is not None:
                changes.close()

    def _written(self, offset: int, length: int) -> None:
        if self._changes is not None:
            self._changes.mark(offset, length)

    def _enter(self) -> Disk:
        with self._turn:
            while self._disk is None:
                if self._closed:
                    raise OSError(f"{self.path} is closed")
                self._turn.wait()
            self._users += 1
            return self._disk

    def _leave(self) -> None:
        with self._turn:
            self._users -= 1
            if not self._users:
                self._turn.notify_all()

    def pread_into(self, offset: int, buffer: bytearray | memoryview) -> None:
        disk = self._enter()
        try:
            if self._limits is not None:
                self._limits.pace(len(buffer))
            disk.pread_into(offset, buffer)
        finally:
            self._leave()

    def pwrite(self, offset: int, data: Buffer) -> None:
        disk = self._enter()
        try:
            if self._limits is not None:
                self._limits.admit(disk, offset, len(data))
                self._limits.pace(len(data))
            self._written(offset, len(data))
            disk.pwrite(offset, data)
        finally:
            self._leave()

    def write_zeroes(self, offset: int, length: int) -> None:
        disk = self._enter()
        try:
            if self._limits is not None:
                self._limits.pace(0)
            self._written(offset, length)
            disk.write_zeroes(offset, length)
        finally:
            self._leave()

    def flush(self) -> None:
        disk = self._enter()
        try:
            if self._limits is not None:
                self._limits.pace(0)
            if self._changes is not None:
                self._changes.flush()
            disk.flush()
        finally:
            self._leave()

    def extents(self, offset: int = 0, length: int | None = None) -> Iterator[tuple[int, int]]:
        """Ranges that hold data, found in steps of 256 MiB so that a pause never waits for long."""
        end = self.size if length is None else offset + length
        while offset < end:
            step = min(1 << 28, end - offset)
            disk = self._enter()
            try:
                found = list(disk.extents(offset, step))
            finally:
                self._leave()
            yield from found
            offset += step

    @property
    def closed(self) -> bool:
        return self._closed

    @property
    def paused(self) -> bool:
        return self._disk is None

    def pause(self) -> None:
        """Let the requests under way end, then close the file. Nothing happens when it is paused already."""
        with self._turn:
            disk, self._disk = self._disk, None
            while self._users:
                self._turn.wait()
            self._shut(disk)

    def resume(self, path: Path | None = None, *, limits: Limits | None = None) -> None:
        """Open the file again, or another one (with ``limits``) from now on. Raises what opening raises; it is paused
        then."""
        with self._turn:
            if self._disk is not None:
                if path is None or path == self.path:
                    return
                raise OSError(f"{self.path} is in use: pause it before it is exchanged for {path}")
            if self._closed:
                raise OSError(f"{self.path} is closed")
            self._disk = self._open(path or self.path)
            self.path = path or self.path
            self._limits = limits or self._limits
            self._turn.notify_all()

    def close(self) -> None:
        """Let the requests under way end and close for good; whoever waits gets an OSError."""
        with self._turn:
            self._closed = True
            disk, self._disk = self._disk, None
            self._turn.notify_all()
            while self._users:
                self._turn.wait()
            self._shut(disk)
