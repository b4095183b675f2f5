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
"""Disks: where each one sits, how large it is, what it holds.

Positions follow the table of the driver in older Nova: an HVM guest sees four emulated disks before its own drivers
load, so that root, CD, swap and config drive take 0 to 3 and ephemeral disks start at 4.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from nova_xapi.errors import UnsupportedDevice
from nova_xapi.spec.values import DiskSpec

MIB: Final = 1 << 20
GIB: Final = 1 << 30

ROOT: Final = 0
CD: Final = 1
SWAP: Final = 2
CONFIG_DRIVE: Final = 3
FIRST_EPHEMERAL: Final = 4
LAST: Final = 15
LARGEST_GIB: Final = 2000
"""A VHD holds 2040 GiB; larger ephemeral space is cut into several disks."""


def device_name(position: int) -> str:
    """0 -> ``/dev/xvda``."""
    return f"/dev/xvd{chr(ord('a') + position)}"


def position_of(name: str) -> int | None:
    """``/dev/xvdc`` (also sd, hd, vd, without ``/dev/``) -> 2; None for anything else."""
    tail = name.removeprefix("/dev/")
    for prefix in ("xvd", "sd", "hd", "vd"):
        letter = tail.removeprefix(prefix)
        if letter != tail and len(letter) == 1 and "a" <= letter <= "p":
            return ord(letter) - ord("a")
    return None


def chunks(gib: int) -> list[int]:
    """GiB of ephemeral space as sizes of disks: 3000 -> [2000, 1000], 2048 -> [1024, 1024]."""
    if gib <= 0:
        return []
    # even parts where they work out, so that a guest can stripe them
    largest = 1024 if gib > LARGEST_GIB and gib % 1024 == 0 else LARGEST_GIB
    whole, rest = divmod(gib, largest)
    return [largest] * whole + ([rest] if rest else [])


def disks(name: str, flavor: Any, is_iso: bool, block_device_info: Mapping[str, Any] | None) -> tuple[DiskSpec, ...]:
    """The disks of a server named ``name``.

    Raises UnsupportedDevice for volumes and for more ephemeral disks than there are positions.
    """
    info = block_device_info or {}
    if info.get("block_device_mapping"):
        raise UnsupportedDevice("the XAPI driver of this release does not attach volumes")
    found = list(_root(name, flavor, is_iso))
    swap = _swap_mib(flavor, info)
    if swap:
        found.append(DiskSpec("swap", "blank", SWAP, f"{name} swap", swap * MIB))
    sizes = [size for gib in _ephemeral_gib(flavor, info) for size in chunks(gib)]
    if FIRST_EPHEMERAL + len(sizes) - 1 > LAST:
        raise UnsupportedDevice(f"{len(sizes)} ephemeral disks; a guest has room for {LAST - FIRST_EPHEMERAL + 1}")
    for number, size in enumerate(sizes):
        suffix = f" ({number})" if number else ""
        position = FIRST_EPHEMERAL + number
        found.append(DiskSpec(f"ephemeral{number}", "blank", position, f"{name} ephemeral{suffix}", size * GIB))
    return tuple(found)


def _root(name: str, flavor: Any, is_iso: bool) -> Sequence[DiskSpec]:
    size = flavor.root_gb * GIB
    if not is_iso:
        return [DiskSpec("root", "image", ROOT, f"{name} root", size, bootable=True)]
    cd = DiskSpec("cd", "cd", CD, f"{name} cd", bootable=True)
    return [DiskSpec("root", "blank", ROOT, f"{name} root", size, bootable=True), cd] if size else [cd]


def _swap_mib(flavor: Any, info: Mapping[str, Any]) -> int:
    if "swap" in info:
        return int((info["swap"] or {}).get("swap_size") or 0)
    return int(flavor.swap or 0)


def _ephemeral_gib(flavor: Any, info: Mapping[str, Any]) -> list[int]:
    if "ephemerals" in info:
        return [int(one["size"]) for one in info["ephemerals"] or ()]
    return [flavor.ephemeral_gb] if flavor.ephemeral_gb else []
