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
"""Memory that a host needs beside the guest's own (wire reference 3.9); arithmetic only."""

from __future__ import annotations

import math
from typing import Any, Final

MIB: Final = 1 << 20
_PAGES_PER_MIB: Final = 256


def _pages_to_mib(pages: float) -> int:
    return math.ceil(pages / _PAGES_PER_MIB)


def memory_overhead(vm: Any) -> int:
    """Bytes for a record with ``memory_static_max``, ``VCPUs_max``, ``HVM_shadow_multiplier`` and ``domain_type``."""
    static_max_mib = max(0, vm["memory_static_max"]) // MIB
    vcpus = max(0, vm["VCPUs_max"])
    shadow = max(1, int(_pages_to_mib(256 * vcpus + 2 * static_max_mib) * vm["HVM_shadow_multiplier"]))
    total = 1 + 1 + shadow + _pages_to_mib(38 * vcpus)
    if vm["domain_type"] == "pv_in_pvh":
        total += 23 + static_max_mib // 90
    return total * MIB
