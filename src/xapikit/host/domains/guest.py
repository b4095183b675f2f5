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
"""What guests of every kind have in common: the record of their devices, consoles, saving.

A kind does something to its guest first (``_do_...``), and what was done is then remembered here.
"""

from __future__ import annotations

import socket
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from xapikit.host.domains.model import (
    DiskConfig,
    DiskSource,
    DomainConfig,
    DomainFailed,
    NicConfig,
    Protocols,
    Write,
)


class Guest(ABC):
    """A :class:`xapikit.host.domains.model.Domain` without what the kinds do differently."""

    def __init__(self, config: DomainConfig, *, paused: bool) -> None:
        self.config = config
        self.paused = paused
        self._lock = threading.RLock()

    # what a kind does --------------------------------------------------------------------------------------------

    @abstractmethod
    def is_alive(self) -> bool: ...

    @abstractmethod
    def destroy(self) -> None: ...

    @abstractmethod
    def send(self, write: Write, *, stopped: Callable[[], None] | None = None) -> None: ...

    @abstractmethod
    def _console(self, protocol: Protocols) -> socket.socket:
        """A connected stream of a guest that is alive."""

    # what a guest without hardware has nothing to do for:

    def _do_plug_disk(self, disk: DiskConfig) -> None:
        """Give the guest a disk."""
        return None

    def _do_unplug_disk(self, uuid: str, force: bool) -> None:
        """Take a disk from the guest. Raises DomainFailed when it keeps it."""
        return None

    def _do_insert(self, uuid: str, source: DiskSource) -> None:
        """Put a medium into a drive."""
        return None

    def _do_eject(self, uuid: str) -> None:
        """Take the medium out."""
        return None

    def _do_plug_nic(self, nic: NicConfig) -> None:
        """Give the guest a NIC."""
        return None

    def _do_unplug_nic(self, uuid: str, force: bool) -> None:
        """Take a NIC from the guest. Raises DomainFailed when it keeps it."""
        return None

    def _do_set_vcpus(self, count: int) -> None:
        """Change the number of processors."""
        return None

    def _remembered(self) -> None:
        """Configuration or ``paused`` changed: for kinds that keep it outside the server."""
        return None

    # consoles, saving --------------------------------------------------------------------------------------------

    def consoles(self) -> tuple[Protocols, ...]:
        return ("rfb", "vt100")

    def open_console(self, protocol: Protocols) -> socket.socket:
        if not self.is_alive():
            raise DomainFailed(self.config.vm, "it has ended, there is no console")
        return self._console(protocol)

    def save(self, path: Path, *, keep: bool = False) -> None:
        try:
            with path.open("wb") as output:
                self.send(output.write)
        except OSError as error:
            raise DomainFailed(self.config.vm, f"its state cannot be saved: {error}") from error
        if keep:
            self._set_paused(True)
        else:
            self.destroy()

    # devices -----------------------------------------------------------------------------------------------------

    def plug_disk(self, disk: DiskConfig) -> None:
        self._do_plug_disk(disk)
        self._remember(disks=(*self.config.disks, disk))

    def unplug_disk(self, uuid: str, *, force: bool = False) -> None:
        self._do_unplug_disk(uuid, force)
        self._remember(disks=tuple(disk for disk in self.config.disks if disk.uuid != uuid))

    def insert(self, uuid: str, source: DiskSource) -> None:
        self._do_insert(uuid, source)
        self._medium(uuid, source)

    def eject(self, uuid: str) -> None:
        self._do_eject(uuid)
        self._medium(uuid, None)

    def plug_nic(self, nic: NicConfig) -> None:
        self._do_plug_nic(nic)
        self._remember(nics=(*self.config.nics, nic))

    def unplug_nic(self, uuid: str, *, force: bool = False) -> None:
        self._do_unplug_nic(uuid, force)
        self._remember(nics=tuple(nic for nic in self.config.nics if nic.uuid != uuid))

    def set_vcpus(self, count: int) -> None:
        self._do_set_vcpus(count)
        self._remember(vcpus=count)

    # remembering -------------------------------------------------------------------------------------------------

    def _medium(self, uuid: str, source: DiskSource | None) -> None:
        self._remember(disks=tuple(replace(d, source=source) if d.uuid == uuid else d for d in self.config.disks))

    def _remember(self, **changes: Any) -> None:
        with self._lock:
            self.config = replace(self.config, **changes)
            self._remembered()

    def _set_paused(self, paused: bool) -> None:
        with self._lock:
            self.paused = paused
            self._remembered()
