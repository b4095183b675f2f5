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
"""What Placement is told: inventory and traits. From cached data alone: Nova holds its resource lock meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import os_resource_classes as orc
import os_traits

from nova_xapi.hosts import facts
from nova_xapi.hosts.connection import HostConnection
from xapikit.client import Record

HARDWARE: Final = frozenset(
    (
        os_traits.COMPUTE_STORAGE_BUS_XEN,
        os_traits.COMPUTE_STORAGE_BUS_IDE,
        os_traits.COMPUTE_NET_VIF_MODEL_NETFRONT,
        os_traits.COMPUTE_NET_VIF_MODEL_RTL8139,
        os_traits.COMPUTE_GRAPHICS_MODEL_VGA,
        os_traits.COMPUTE_GRAPHICS_MODEL_CIRRUS,
        os_traits.COMPUTE_FIRMWARE_BIOS,
        os_traits.HW_ARCH_X86_64,
    )
)
"""What every guest on every host gets."""

_FLAG_NAMES: Final = {
    "aes": "AESNI", "abm": "ABM", "bmi1": "BMI", "pclmulqdq": "CLMUL", "fma": "FMA3", "pni": "SSE3",
    "sse4_1": "SSE41", "sse4_2": "SSE42", "sha_ni": "SHA", "ssse3": "SSSE3",
}  # fmt: skip
"""CPU flags whose traits are spelled otherwise."""
_CPU_PREFIX: Final = "HW_CPU_X86_"


def cpu_traits(flags: list[str]) -> set[str]:
    """The standard traits for CPU flags as Linux spells them; flags without one are left out."""
    known = set(os_traits.get_traits(_CPU_PREFIX))
    return {trait for flag in flags if (trait := _CPU_PREFIX + _FLAG_NAMES.get(flag, flag.upper())) in known}


def traits(host: Record) -> set[str]:
    """All traits that this driver gives to a host's provider, apart from those of its capabilities."""
    return set(HARDWARE) | cpu_traits(facts.cpu_flags(host))


def inventory(
    conn: HostConnection,
    sr: Record,
    mine: Mapping[str, Record],
    ratios: Mapping[str, float],
    reserved_disk_gb: int,
) -> dict[str, dict[str, Any]]:
    """Classes with a total of at least 1, which is what Placement takes. ``mine``: this service's VMs."""
    settings = conn.settings
    taken_mb = -(-facts.memory_taken(conn, set(mine)) // facts.MIB)
    sizes = {
        orc.VCPU: (facts.cpus(conn.host), settings.reserved_cpus),
        orc.MEMORY_MB: (facts.memory_total(conn) // facts.MIB, settings.reserved_memory_mb + taken_mb),
        orc.DISK_GB: (int(sr["physical_size"]) // facts.GIB, reserved_disk_gb),
    }
    return {
        name: {
            "total": total,
            "reserved": min(reserved, total),
            "min_unit": 1,
            "max_unit": total,
            "step_size": 1,
            "allocation_ratio": ratios[name],
        }
        for name, (total, reserved) in sizes.items()
        if total >= 1
    }


def update(
    provider_tree: Any,
    conn: HostConnection,
    sr: Record,
    mine: Mapping[str, Record],
    ratios_of: Callable[[Any], Mapping[str, float]],
    reserved_disk_gb: int,
) -> None:
    """Bring the node's provider up to date. Touches no trait that is somebody else's."""
    node = conn.settings.host
    present = provider_tree.data(node)
    provider_tree.update_inventory(node, inventory(conn, sr, mine, ratios_of(present.inventory), reserved_disk_gb))
    wanted = traits(conn.host)
    stale = {trait for trait in present.traits if trait.startswith(_CPU_PREFIX) and trait not in wanted}
    if stale:
        provider_tree.remove_traits(node, *stale)
    provider_tree.add_traits(node, *sorted(wanted))
