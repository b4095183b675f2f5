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
"""Disks out of an archive: chunks by their numbers, holes between them, and the checksums of old and new hosts.

A chunk's place follows from its predecessor: the numbers that are left out stand for that many chunks of zeros, and
one without content (which hosts send so that an idle connection is not closed) moves nothing.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from typing import Final

from xapikit import vhd
from xapikit.host.errors import ApiError
from xapikit.host.storage.disks import SwitchableDisk
from xapikit.host.storage.transfer.source import BodyEnded
from xapikit.host.storage.transfer.tar import CHUNK, Checksum, padding
from xapikit.host.xva.compression import Source, exactly
from xapikit.host.xva.reading import content, invalid, next_file
from xapikit.wire import MalformedResponse
from xapikit.wire.xmlrpc import decode_fragment

LARGEST_CHUNK: Final = 16 * CHUNK
_CHECKSUMS: Final = ("xxhash", "checksum")
_NUMBER: Final = re.compile(r"[0-9]{1,18}")
_LARGEST_CHECKSUM: Final = 512
_LARGEST_TABLE: Final = 64 << 20


class Chunks:
    """Reads the disks of one archive, in the order in which they are in it."""

    def __init__(self, source: Source, form: int, *, force: bool) -> None:
        """``form`` is the document's ``export_vsn``; with ``force`` wrong checksums are overlooked."""
        self._source = source
        self._inline = form > 0
        self._table: dict[str, str] | None = {} if form < 2 else None
        self._force = force
        self._digests = {kind: Checksum(kind) for kind in _CHECKSUMS}
        self._buffer = memoryview(bytearray(CHUNK))

    def receive(self, disk: SwitchableDisk, stem: str, size: int, moved: Callable[[int], None]) -> None:
        """Write the chunks ``stem/...`` onto a fresh disk; ``moved`` is told how many bytes of it are done.

        Raises BodyEnded, IMPORT_ERROR for chunks of another disk, out of order, or beyond ``size`` bytes, and for a
        wrong checksum; VDI_IO_ERROR when the disk cannot be written.
        """
        offset, last, unit = 0, -1, 0
        while offset < size:
            name, length = next_file(self._source)
            before, slash, digits = name.partition("/")
            if before != stem or not slash or not _NUMBER.fullmatch(digits) or length > LARGEST_CHUNK:
                raise invalid()
            number = int(digits)
            if number <= last:
                raise invalid()
            unit = unit or length
            offset += (number - last - 1) * unit
            if offset + length > size:
                raise ApiError("IMPORT_ERROR", 'Unix.Unix_error(Unix.ENOSPC, "write", "")')
            data = self._data(length)
            self._verify(name, data)
            if any(data):  # a fresh disk is zeros already
                _write(disk, offset, data)
            offset += length
            last = number
            moved(offset)

    def _data(self, length: int) -> memoryview:
        if length > len(self._buffer):
            self._buffer = memoryview(bytearray(length))
        view = self._buffer[:length]
        if self._source.readinto(view) < length:
            raise BodyEnded
        exactly(self._source, len(padding(length)))
        return view

    def _verify(self, name: str, data: memoryview) -> None:
        if self._table is not None:
            self._table[name] = hashlib.sha1(data, usedforsecurity=False).hexdigest()
        if not self._inline:
            return
        file, size = next_file(self._source)
        about, _, kind = file.rpartition(".")
        if about != name or kind not in self._digests or size > _LARGEST_CHECKSUM:
            raise invalid()
        stated = content(self._source, size).decode("ascii", "replace")
        found = self._digests[kind].of(data)
        if stated.strip().lower() != found and not self._force:
            text = f"Block {name} checksum failed: original = {stated}; recomputed = {found}"
            raise ApiError("IMPORT_ERROR", f'Stream_vdi.Invalid_checksum("{text}")')

    def finish(self) -> None:
        """Compare with the table that ends archives of old hosts. Raises IMPORT_ERROR_SOME_CHECKSUMS_FAILED,
        IMPORT_ERROR, BodyEnded."""
        if self._table is None:
            return
        _, size = next_file(self._source)
        if size > _LARGEST_TABLE:
            raise invalid()
        stated = _table(content(self._source, size))
        if not self._force and any(stated.get(name) != found for name, found in self._table.items()):
            raise ApiError("IMPORT_ERROR_SOME_CHECKSUMS_FAILED")


def _table(text: bytes) -> dict[str, str]:
    try:
        found = decode_fragment(text.decode("utf-8"))
    except (MalformedResponse, UnicodeDecodeError):
        raise invalid() from None
    if not isinstance(found, dict):
        raise invalid()
    return {name: str(value) for name, value in found.items()}


def _write(disk: SwitchableDisk, offset: int, data: memoryview) -> None:
    try:
        disk.pwrite(offset, data)
    except (vhd.VhdError, OSError) as error:
        raise ApiError("VDI_IO_ERROR", "Device I/O error") from error
