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
"""Uploads onto an open disk: raw, raw with holes ("chunked"), VHD and tar (wire reference 5.1).

All functions write from offset 0 and leave the rest of the disk as it is. What does not fit or is malformed raises
VDI_IO_ERROR, the one error that a host has for these.
"""

from __future__ import annotations

import queue
import struct
import threading

from xapikit import vhd
from xapikit.host.errors import ApiError
from xapikit.host.storage.disks import SwitchableDisk
from xapikit.host.storage.transfer.source import PIECE, Body, BodyEnded
from xapikit.host.storage.transfer.tar import Checksum, member_of

_CHUNK = struct.Struct("<QI")
_SECTOR = 512
_BUFFERS = 4


def io_error() -> ApiError:
    """The error of everything that goes wrong between a body and a disk."""
    return ApiError("VDI_IO_ERROR", "Device I/O errors")


class Writer:
    """Writes pieces in a thread of its own while the next are being received."""

    def __init__(self, disk: SwitchableDisk) -> None:
        self._disk = disk
        self._free: queue.SimpleQueue[memoryview] = queue.SimpleQueue()
        for _ in range(_BUFFERS):
            self._free.put(memoryview(bytearray(PIECE)))
        self._full: queue.SimpleQueue[tuple[int, memoryview, int] | None] = queue.SimpleQueue()
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="import-write", daemon=True)
        self._thread.start()

    def buffer(self) -> memoryview:
        """A free buffer of ``PIECE`` bytes. Raises what writing an earlier piece raised."""
        view = self._free.get()
        if self._error is not None:
            raise self._error
        return view

    def write(self, offset: int, view: memoryview, length: int) -> None:
        """Have the first ``length`` bytes of a buffer written; it becomes free again."""
        self._full.put((offset, view, length))

    def finish(self) -> None:
        """Wait until all is written. Raises what writing raised."""
        self.stop()
        if self._error is not None:
            raise self._error

    def stop(self) -> None:
        if self._thread.is_alive():
            self._full.put(None)
            self._thread.join()

    def _run(self) -> None:
        while True:
            item = self._full.get()
            if item is None:
                return
            offset, view, length = item
            if self._error is None:
                try:
                    self._disk.pwrite(offset, view[:length])
                except (vhd.VhdError, OSError) as error:
                    self._error = error
            self._free.put(view)


def import_raw(disk: SwitchableDisk, body: Body) -> None:
    """Raw bytes. A body that ends early is success, as on a host; an empty one is not."""
    if not body.length:
        raise io_error()
    writer = Writer(disk)
    offset = 0
    try:
        while body.left:
            view = writer.buffer()
            count = body.readinto(view)
            if offset + count > disk.size:
                writer.write(offset, view, max(0, disk.size - offset))
                writer.finish()
                raise io_error()
            if not count:
                break
            writer.write(offset, view, count)
            offset += count
        writer.finish()
    finally:
        writer.stop()


def import_chunked(disk: SwitchableDisk, body: Body) -> None:
    """XAPI's own framing: offset (u64) and length (u32), little endian, then the bytes; two zeros end it."""
    buffer = memoryview(bytearray(PIECE))
    try:
        while True:
            offset, length = _CHUNK.unpack(body.exactly(_CHUNK.size))
            if not offset and not length:
                return
            if length % _SECTOR or offset + length > disk.size:
                raise io_error()
            while length > 0:
                part = buffer[: min(length, PIECE)]
                if body.readinto(part) < len(part):
                    raise BodyEnded
                disk.pwrite(offset, part)
                offset += len(part)
                length -= len(part)
    except BodyEnded:
        raise io_error() from None


def import_vhd(disk: SwitchableDisk, body: Body) -> None:
    """A VHD stream, dynamic or differencing: blocks that it lacks are left as they are, which makes deltas work.

    It ends with the image, whatever the announced length. Neither its size nor its parent is compared with anything.
    """
    for offset, data in vhd.stream.read(body.pieces(), body.promised):
        disk.pwrite(offset, data)


def import_tar(disk: SwitchableDisk, body: Body) -> None:
    """Members of 1 MiB named by their number, each followed by its checksum, as disks are inside an XVA."""
    previous: tuple[str, memoryview] | None = None
    buffer = memoryview(bytearray(PIECE))
    while True:
        try:
            member = member_of(body.exactly(_SECTOR))
        except (BodyEnded, ValueError):
            raise io_error() from None
        if member is None:
            return
        if member.size > len(buffer):
            raise io_error()
        padded = buffer if member.checksum is None else memoryview(bytearray(_SECTOR))
        if -(-member.size // _SECTOR) * _SECTOR > len(padded):
            raise io_error()
        padded = padded[: -(-member.size // _SECTOR) * _SECTOR]
        if body.readinto(padded) < len(padded):
            raise io_error()
        content = padded[: member.size]
        if member.checksum is None:
            disk.pwrite(member.offset, content)
            previous = (member.name, content)
        elif previous is not None and member.name == previous[0]:
            stated = bytes(content).decode("ascii", "replace").strip()
            if Checksum(member.checksum).of(previous[1]) != stated:
                raise io_error()
