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
"""A disk as a qcow2 stream that needs no seeking: tables first, then clusters in the order of the disk.

Version 3 with clusters of 64 KiB; the format is QEMU's (docs/interop/qcow2).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from xapikit.host.storage.disks import SwitchableDisk

_CLUSTER = 1 << 16
_PER_TABLE = _CLUSTER // 8
_PER_REFCOUNT_BLOCK = _CLUSTER // 2
_COPIED = 1 << 63


def export_qcow2(disk: SwitchableDisk) -> Iterator[bytes | memoryview]:
    """The clusters that the disk holds, zeros among them included, with all the tables before them."""
    held = sorted(_clusters(disk))
    total = -(-disk.size // _CLUSTER)
    tables = sorted({cluster // _PER_TABLE for cluster in held})
    l1_entries = max(1, -(-total // _PER_TABLE))
    l1_clusters = -(-l1_entries * 8 // _CLUSTER)
    data = 1 + l1_clusters + len(tables) + len(held)
    blocks = 1
    while blocks * _PER_REFCOUNT_BLOCK < data + blocks + _table_clusters(blocks):
        blocks += 1
    table_clusters = _table_clusters(blocks)
    # header, refcount table, refcount blocks, L1, L2 tables, data
    first_block = 1 + table_clusters
    first_l1 = first_block + blocks
    first_l2 = first_l1 + l1_clusters
    first_data = first_l2 + len(tables)
    yield _padded(
        struct.pack(
            ">4sIQIIQIIQQIIQQQQII",
            b"QFI\xfb", 3, 0, 0, 16, disk.size, 0, l1_entries, first_l1 * _CLUSTER, 1 * _CLUSTER, table_clusters,
            0, 0, 0, 0, 0, 4, 104,
        )
    )  # fmt: skip
    yield _padded(_entries((first_block + number) * _CLUSTER for number in range(blocks)))
    used = first_data + len(held)
    for number in range(blocks):
        count = max(0, min(_PER_REFCOUNT_BLOCK, used - number * _PER_REFCOUNT_BLOCK))
        yield (b"\0\1" * count).ljust(_CLUSTER, b"\0")
    place = {table: first_l2 + number for number, table in enumerate(tables)}
    l1 = (place[table] * _CLUSTER | _COPIED if table in place else 0 for table in range(l1_entries))
    yield _entries(l1).ljust(l1_clusters * _CLUSTER, b"\0")
    position = {cluster: first_data + number for number, cluster in enumerate(held)}
    for table in tables:
        numbers = range(table * _PER_TABLE, (table + 1) * _PER_TABLE)
        yield _padded(_entries(position[n] * _CLUSTER | _COPIED if n in position else 0 for n in numbers))
    buffer = memoryview(bytearray(_CLUSTER))
    for cluster in held:
        size = min(_CLUSTER, disk.size - cluster * _CLUSTER)
        disk.pread_into(cluster * _CLUSTER, buffer[:size])
        buffer[size:] = bytes(_CLUSTER - size)
        yield buffer


def _table_clusters(blocks: int) -> int:
    return -(-blocks * 8 // _CLUSTER)


def _clusters(disk: SwitchableDisk) -> set[int]:
    held: set[int] = set()
    for offset, length in disk.extents():
        held.update(range(offset // _CLUSTER, -(-(offset + length) // _CLUSTER)))
    return held


def _entries(values: Iterator[int]) -> bytes:
    numbers = list(values)
    return struct.pack(f">{len(numbers)}Q", *numbers)


def _padded(data: bytes) -> bytes:
    return data.ljust(-(-len(data) // _CLUSTER) * _CLUSTER, b"\0")
