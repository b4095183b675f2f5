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
"""Disks as streams: raw here; VHD by the VHD library, tar and qcow2 next door (wire reference 5.2)."""

from __future__ import annotations

from collections.abc import Iterator

from xapikit.host.storage.disks import SwitchableDisk

PIECE = 2 << 20
_ZEROS = bytes(PIECE)


def export_raw(disk: SwitchableDisk) -> Iterator[memoryview]:
    """Exactly the bytes of the disk; what it does not hold is not read."""
    buffer = memoryview(bytearray(PIECE))
    zeros = memoryview(_ZEROS)
    at = 0
    for offset, length in disk.extents():
        while at < offset:
            step = min(PIECE, offset - at)
            yield zeros[:step]
            at += step
        while length > 0:
            step = min(PIECE, length)
            disk.pread_into(at, buffer[:step])
            yield buffer[:step]
            at += step
            length -= step
    while at < disk.size:
        step = min(PIECE, disk.size - at)
        yield zeros[:step]
        at += step
