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
"""MAC addresses that a host makes up: they follow from the VM's seed and the device number (wire reference 3.6)."""

from __future__ import annotations

import hashlib


def _md5(data: bytes) -> bytes:
    return hashlib.md5(data, usedforsecurity=False).digest()


def generated_mac(seed: str, device: int) -> str:
    """The address of VIF number ``device`` of the VM whose ``other_config:mac_seed`` is ``seed``."""
    digest = seed.encode()
    for _ in range(2 * device + 1):
        digest = _md5(digest)
    second = _md5(digest)
    # local and unicast
    first = digest[0] & 0xFE | 0x02
    return ":".join(f"{octet:02x}" for octet in (first, *digest[1:4], *second[1:3]))
