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
"""Which console of which VM: looked up in the event cache, which must hold the classes VM and console."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from xapikit.client import EventCache

Protocol = Literal["rfb", "vt100"]

#: answers reference and record of the VM of an instance (by its uuid), None when this service has none
FindVm = Callable[[str], "tuple[str, Mapping[str, Any]] | None"]

#: power states in which there is a domain, and with it consoles
ALIVE = ("Running", "Paused")


@dataclass(frozen=True, slots=True)
class Console:
    """A console as the host offers it now: a new domain (start, reboot, migration) has new ones."""

    vm: str
    ref: str
    uuid: str
    #: URL at the host that serves it
    location: str


def console_of(cache: EventCache, vm: str, protocol: Protocol) -> Console | None:
    """The console of a VM (reference); None while it has no domain or the host offers none of this protocol."""
    record = cache.get("VM", vm)
    if record is None or record["power_state"] not in ALIVE:
        return None
    for ref in record["consoles"]:
        console = cache.get("console", ref)
        if console is not None and console["protocol"] == protocol:
            return Console(vm, ref, console["uuid"], console["location"])
    return None
