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
"""Plays what runs in a timed guest: a kernel with drivers, XenServer's tools, the agent of OpenStack.

It speaks as the guest: through XenStore, with the guest's rights.
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Callable, Mapping
from typing import Final, Protocol

from xapikit.host.domains.model import Domain, End
from xapikit.host.guests import settings as names
from xapikit.host.guests.openstack import OpenStackAgent
from xapikit.host.guests.settings import GuestSettings
from xapikit.host.guests.side import GuestSide
from xapikit.host.xenstore import Edit, XenStore

TOOLS_VERSION: Final = {"MajorVersion": "8", "MinorVersion": "4", "MicroVersion": "0", "BuildVersion": "1"}
SYSTEM: Final = {
    "os_name": "Timed guest 1", "os_uname": "6.1.0", "os_distro": "timed", "os_majorver": "1", "os_minorver": "0",
}  # fmt: skip
_ENDS: Final = {"poweroff": End.HALTED, "halt": End.HALTED, "reboot": End.REBOOTED}
_KIB: Final = 1024


class Later(Protocol):
    """Runs things later, until the server ends."""

    def later(self, seconds: float, run: Callable[[], None]) -> None: ...


class EndsItself(Domain, Protocol):
    """A domain whose guest can be made to end."""

    def end_by_itself(self, end: End, detail: str = "") -> None: ...


Addresses = Callable[[], Mapping[int, list[str]]]
"""Addresses of the guest's NICs by device number."""


class SimulatedGuest(GuestSide):
    """``addresses`` tells those that the guest has unless its OpenStack agent was given others;
    ``shutdown_seconds`` is how long it takes to shut down unless a setting says."""

    def __init__(
        self, store: XenStore, domain: EndsItself, settings: GuestSettings, clock: Later, *,
        addresses: Addresses, shutdown_seconds: float,
    ) -> None:  # fmt: skip
        super().__init__(store, domain)
        self._ends_itself = domain.end_by_itself
        self._settings = settings
        self._clock = clock
        self._addresses = addresses
        self._shutdown_seconds = shutdown_seconds
        self.openstack = OpenStackAgent(settings, self._reset_network)

    @property
    def parts(self) -> set[str]:
        """What is in the guest now."""
        return self._settings.words(names.AGENT, "xenserver")

    # boot --------------------------------------------------------------------------------------------------------

    def runs(self) -> None:
        super().runs()
        self._asked("")

    def watched(self) -> dict[str, Callable[[str], None]]:
        return {**super().watched(), "data/host": self._asked}

    def boot(self) -> None:
        delay = self._settings.seconds(names.AGENT_DELAY, 0.0)
        if delay > 0:
            self._clock.later(delay, lambda: self.react(self._speak))
        else:
            self._speak()

    def _speak(self) -> None:
        parts = self.parts
        if "none" in parts:
            return
        with self.speaking() as edit:
            self.announce_kernel(edit)
            if "xenserver" in parts:
                self._announce_tools(edit)
        self.connect_back_ends()

    def _announce_tools(self, edit: Edit) -> None:
        home, memory = self.home, self.domain.config.memory_bytes // _KIB
        for feature in ("shutdown", "balloon"):
            edit.write(f"{home}/control/feature-{feature}", "1")
        for name, text in {**TOOLS_VERSION, "Installed": "1"}.items():
            edit.write(f"{home}/attr/PVAddons/{name}", text)
        for name, text in {**SYSTEM, "meminfo_total": str(memory), "meminfo_free": str(memory // 2)}.items():
            edit.write(f"{home}/data/{name}", text)
        self._write_addresses(edit)
        edit.write(f"{home}/data/updated", "1")

    # devices and addresses ---------------------------------------------------------------------------------------

    def devices(self, edit: Edit) -> None:
        super().devices(edit)
        if edit.exists(f"{self.home}/attr/PVAddons"):
            self._write_addresses(edit)

    def _write_addresses(self, edit: Edit) -> None:
        there = set(edit.directory(f"{self.home}/device/vif"))
        base = f"{self.home}/attr/vif"
        for gone in set(edit.directory(base)) - there if edit.exists(base) else set[str]():
            edit.rm(f"{base}/{gone}")
        given = self._given_addresses(edit)
        for number, own in self._addresses().items():
            if str(number) not in there:
                continue
            counts = {"ipv4": 0, "ipv6": 0}
            for address in given.get(number, own):
                version = f"ipv{ipaddress.ip_address(address).version}"
                _write_if_new(edit, f"{base}/{number}/{version}/{counts[version]}", address)
                counts[version] += 1
            for version, count in counts.items():
                path = f"{base}/{number}/{version}"
                for index in edit.directory(path) if edit.exists(path) else ():
                    if int(index) >= count:
                        edit.rm(f"{path}/{index}")

    def _given_addresses(self, edit: Edit) -> dict[int, list[str]]:
        """What ``vm-data/networking`` says, once the OpenStack agent was told to look at it."""
        path = f"{self.home}/vm-data/networking"
        if not self.openstack.network_reset or not edit.exists(path):
            return {}
        found: dict[int, list[str]] = {}
        keys = {key.lower(): key for key in edit.directory(path)}
        for nic in self.domain.config.nics:
            key = keys.get(nic.mac.replace(":", ""))
            if key is not None:
                told = json.loads(edit.read(f"{path}/{key}"))
                entries = [*told.get("ips", ()), *told.get("ip6s", ())]
                found[nic.position] = [str(ipaddress.ip_address(entry["ip"])) for entry in entries]
        return found

    def _reset_network(self) -> None:
        with self.speaking() as edit:
            self._write_addresses(edit)
            edit.write(f"{self.home}/data/updated", "1")

    # requests ----------------------------------------------------------------------------------------------------

    def obey(self, reason: str) -> None:
        manners = self._settings.text(names.REQUESTS, "obey")
        if self._settings.text(names.IGNORES) == "true":
            manners = "ignore"
        if manners == "deaf" or "none" in self.parts:
            return
        self.acknowledge()
        end = _ENDS.get(reason)
        if manners != "ignore" and end is not None:
            delay = self._settings.seconds(names.SHUTDOWN_DELAY, self._shutdown_seconds)
            self._clock.later(delay, lambda: self._ends_itself(end))

    def _asked(self, _: str) -> None:
        if not self.domain.paused and "openstack" in self.parts:
            self.react(self._answer)

    def _answer(self) -> None:
        """Answer what is asked of the OpenStack agent."""
        path = f"{self.home}/data/host"
        with self.speaking() as edit:
            requests = edit.directory(path) if edit.exists(path) else []
            texts = {name: edit.read(f"{path}/{name}") for name in requests}
            for name in requests:
                edit.rm(f"{path}/{name}")
        for name, text in texts.items():
            answer = self.openstack.answer(text)
            with self.speaking() as edit:
                edit.write(f"{self.home}/data/guest/{name}", answer)


def _write_if_new(edit: Edit, path: str, text: str) -> None:
    if not edit.exists(path) or edit.read(path) != text.encode():
        edit.write(path, text)
