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
"""Kernel modules for the guest: which files, and in which order to load them.

The guest loads a fixed list with insmod, so it needs neither depmod nor module aliases.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from nova_xapi.demo.errors import DemoError

# what may hold the root disk, before it is mounted
BOOT = ("virtio_pci", "virtio_blk", "ata_piix", "sd_mod", "xen-blkfront", "ext4")
# the rest: config drive, network, entropy, power button, keyboard
LATER = ("sr_mod", "isofs", "virtio_net", "xen-netfront", "virtio_rng", "button", "evdev", "af_packet")


def key(name: str) -> str:
    """The kernel treats `-` and `_` alike."""
    return name.replace("-", "_")


class Modules:
    """The modules of an unpacked kernel package."""

    def __init__(self, directory: Path) -> None:
        """`directory` is lib/modules/VERSION."""
        self.files = {key(path.stem): path for path in directory.rglob("*.ko")}
        builtin = (directory / "modules.builtin").read_text().split()
        self.builtin = {key(Path(name).stem) for name in builtin}

    def depends(self, path: Path) -> list[str]:
        found = re.search(rb"\0depends=([^\0]*)\0", path.read_bytes())
        return [name for name in found[1].decode().split(",") if name] if found else []

    def in_order(self, names: Iterable[str]) -> list[Path]:
        """Files of these modules and all they need, needed ones first; raises DemoError for one the kernel lacks."""
        order: list[Path] = []

        def add(name: str) -> None:
            if key(name) in self.builtin:
                return
            path = self.files.get(key(name))
            if path is None:
                raise DemoError(f"the kernel package has no module {name}")
            if path in order:
                return
            for needed in self.depends(path):
                add(needed)
            if path not in order:
                order.append(path)

        for name in names:
            add(name)
        return order
