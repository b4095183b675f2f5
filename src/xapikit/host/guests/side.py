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
"""The guest's end of a domain's XenStore tree: it connects its devices and reacts to ``control/shutdown``."""

from __future__ import annotations

import logging
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Final

from xapikit.host.domains.model import Domain, DomainFailed
from xapikit.host.guests.tree import CONNECTED, DISKS, INIT_WAIT, INITIALISING, NICS, backend_path
from xapikit.host.xenstore import Edit, Watch, XenStore
from xapikit.host.xenstore.store import home_of

LOG = logging.getLogger(__name__)

KERNEL_FEATURES: Final = ("suspend", "poweroff", "reboot", "vcpu-hotplug")
"""What a kernel with drivers for Xen announces."""


class GuestSide(ABC):
    """One guest. ``runs`` is called whenever its processors begin to run, ``close`` at its end."""

    def __init__(self, store: XenStore, domain: Domain) -> None:
        self.store = store
        self.domain = domain
        self.domid = domain.config.domid
        self.home = home_of(self.domid)
        self._lock = threading.Lock()
        self._booted = False
        self._watches: list[Watch] = []

    def runs(self) -> None:
        """The guest boots or goes on. It speaks at its boot alone, which an earlier server may have seen. Raises
        DomainFailed when its domain is gone."""
        with self._lock:
            first, self._booted = not self._booted, True
        if first:
            for path, told in self.watched().items():
                self._watches.append(self.store.watch(f"{self.home}/{path}", told))
            if self.store.find(f"{self.home}/control/feature-poweroff") is None:
                self.boot()
        self._requested("")

    def close(self) -> None:
        for watch in self._watches:
            self.store.unwatch(watch)

    def watched(self) -> dict[str, Callable[[str], None]]:
        """What the guest looks at, below its own part of the tree, and what it does then."""
        return {"control/shutdown": self._requested, "device": self._devices_changed}

    @contextmanager
    def speaking(self) -> Iterator[Edit]:
        """Read and write XenStore as the guest. Raises DomainFailed when its domain is gone."""
        with self.store.edit(self.domid) as edit:
            if not edit.exists(self.home):
                raise DomainFailed(self.domain.config.vm, "it has ended")
            yield edit

    def react(self, what: Callable[[], None]) -> None:
        """Do something that nobody waits for: a guest that is gone meanwhile does nothing."""
        try:
            what()
        except DomainFailed as error:
            LOG.info("%s", error)

    # what guests do differently ----------------------------------------------------------------------------------

    @abstractmethod
    def boot(self) -> None:
        """Say what there is to say."""

    @abstractmethod
    def obey(self, reason: str) -> None:
        """Act on ``poweroff``, ``reboot``, ``suspend`` or ``halt``, and acknowledge it. Raises DomainFailed."""

    # reactions ---------------------------------------------------------------------------------------------------

    def acknowledge(self) -> None:
        """Clear the request, as guests do."""
        with self.speaking() as edit:
            edit.write(f"{self.home}/control/shutdown", "")

    def _requested(self, _: str) -> None:
        reason = self.store.value(f"{self.home}/control/shutdown")
        if reason and not self.domain.paused:
            self.react(lambda: self.obey(reason))

    def _devices_changed(self, _: str) -> None:
        if self.store.find(f"{self.home}/control/feature-poweroff") is not None:  # else it will connect at its boot
            self.react(self._connect)

    def _connect(self) -> None:
        with self.speaking() as edit:
            self.devices(edit)
        self.connect_back_ends()

    def devices(self, edit: Edit) -> None:
        """Connect the guest's end of each new device."""
        for path in self._ends(edit, INITIALISING):
            edit.write(f"{path}/event-channel", "1")
            edit.write(f"{path}/state", CONNECTED)

    def _ends(self, edit: Edit, state: str) -> Iterable[str]:
        for front in ("vbd", "vif"):
            for device in edit.directory(f"{self.home}/device/{front}"):
                path = f"{self.home}/device/{front}/{device}"
                if edit.read(f"{path}/state").decode() == state:
                    yield path

    def connect_back_ends(self) -> None:
        """What dom0's drivers do when the guest has connected its end."""
        with self.store.edit() as edit:
            for front, kind in (("vbd", DISKS), ("vif", NICS)):
                front_ends = f"{self.home}/device/{front}"
                for device in edit.directory(front_ends) if edit.exists(front_ends) else ():
                    state = f"{backend_path(kind, self.domid, device)}/state"
                    if edit.exists(state) and edit.read(state).decode() == INIT_WAIT:
                        edit.write(state, CONNECTED)

    def announce_kernel(self, edit: Edit) -> None:
        """Features and devices of a kernel with drivers."""
        for feature in KERNEL_FEATURES:
            edit.write(f"{self.home}/control/feature-{feature}", "1")
        for kind in ("vbd", "vif"):
            edit.write(f"{self.home}/feature/hotplug/{kind}", "1")
        self.devices(edit)


class PowerButton(GuestSide):
    """Stands in for a real guest, of which only this is known: it has a power button, and devices can be changed."""

    def boot(self) -> None:
        with self.speaking() as edit:
            self.announce_kernel(edit)
            for feature in ("shutdown", "balloon"):
                edit.write(f"{self.home}/control/feature-{feature}", "1")
        self.connect_back_ends()

    def obey(self, reason: str) -> None:
        match reason:
            case "poweroff" | "halt":
                done = self.domain.request_shutdown()
            case "reboot":
                done = self.domain.request_reboot()
            case _:
                done = reason == "suspend"  # the host saves it without its help
        if done:
            self.acknowledge()
