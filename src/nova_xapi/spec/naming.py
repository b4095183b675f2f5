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
"""Device names for Nova, which knows nothing of ``/dev/xvd`` any more."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from nova_xapi.errors import UnsupportedDevice
from nova_xapi.spec import disks

RESERVED = (disks.ROOT, disks.CD, disks.SWAP, disks.CONFIG_DRIVE)


def assign(
    image: Sequence[Any], ephemerals: Sequence[Any], swap: Sequence[Any], volumes: Sequence[Any]
) -> list[tuple[Any, str]]:
    """Names for block devices in the positions that :func:`nova_xapi.spec.disks.disks` gives them.

    A volume keeps a name that the user chose and that is free. Raises UnsupportedDevice when none is left.
    """
    named = [(one, disks.device_name(disks.ROOT)) for one in image]
    named += [(one, disks.device_name(disks.SWAP)) for one in swap]
    position = disks.FIRST_EPHEMERAL
    for one in ephemerals:
        named.append((one, disks.device_name(position)))
        position += len(disks.chunks(one.volume_size or 0)) or 1
    taken = {disks.position_of(name) for _, name in named} | set(RESERVED) | set(range(4, position))
    for one in volumes:
        chosen = disks.position_of(one.device_name or "")
        if chosen is None or (chosen in taken and one.boot_index != 0):
            chosen = next_free(taken)
        taken.add(chosen)
        named.append((one, disks.device_name(chosen)))
    return named


def next_free(taken: Iterable[int | None]) -> int:
    """The lowest free position after the reserved ones. Raises UnsupportedDevice."""
    used = set(taken) | set(RESERVED)
    for position in range(disks.LAST + 1):
        if position not in used:
            return position
    raise UnsupportedDevice(f"all {disks.LAST + 1} disk positions are taken")
