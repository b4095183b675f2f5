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
"""Finding the VM of a server among those that this service made, and what Nova calls its state. Makes no calls."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from nova import exception
from nova.compute import power_state

from nova_xapi.hosts.connection import HostConnection
from nova_xapi.marks import INSTANCE
from xapikit.client import EventCache, Record

POWER_STATES: Final = {
    "Halted": power_state.SHUTDOWN,
    "Running": power_state.RUNNING,
    "Paused": power_state.PAUSED,
    "Suspended": power_state.SUSPENDED,
    "Crashed": power_state.CRASHED,
}


class Servers:
    """The VMs of one service. Thread-safe."""

    def __init__(self, conn: HostConnection) -> None:
        self._conn = conn
        self._known: dict[str, str] = {}

    def all(self) -> Iterator[tuple[str, Record]]:
        """Reference and record of each VM that this service made on its host."""
        for ref, record in self._conn.cache.records("VM").items():
            if self.is_mine(record):
                yield ref, record

    def is_mine(self, record: Record) -> bool:
        """Whether a VM carries this service's marks and is a server, not a template or snapshot made from one."""
        return bool(
            INSTANCE in record["other_config"]
            and self._conn.maker.made(record)
            and not record["is_a_template"]
            and not record["is_a_snapshot"]
        )

    def uuids(self) -> set[str]:
        """Of all servers that have a VM here."""
        return {record["other_config"][INSTANCE] for _, record in self.all()}

    def of(self, instance: str) -> list[tuple[str, Record]]:
        """All VMs of a server: one, none, or leftovers besides."""
        return [(ref, record) for ref, record in self.all() if record["other_config"][INSTANCE] == instance]

    def find(self, instance: str) -> tuple[str, Record] | None:
        """The VM of a server by its uuid."""
        ref = self._known.get(instance)
        record = self._conn.cache.get("VM", ref) if ref else None
        # a server's VM does not change, except when it is made anew; so this is a memory, checked each time
        if ref and record and record["other_config"].get(INSTANCE) == instance and self.is_mine(record):
            return ref, record
        # one look at all of them answers for all: Nova asks for each in turn
        found: dict[str, tuple[str, Record]] = {}
        for one in self.all():
            found.setdefault(one[1]["other_config"][INSTANCE], one)
        self._known = {uuid: one[0] for uuid, one in found.items()}
        return found.get(instance)

    def get(self, instance: str) -> tuple[str, Record]:
        """The VM of a server by its uuid. Raises InstanceNotFound."""
        found = self.find(instance)
        if found is None:
            raise exception.InstanceNotFound(instance_id=instance)
        return found

    def await_get(self, instance: str) -> tuple[str, Record]:
        """:meth:`get` for operations, which wait for a cache that is out of step. Raises VirtDriverNotReady, too."""
        self._conn.await_in_step()
        return self.get(instance)


def state_of(record: Record) -> int:
    """Nova's power state of a VM record."""
    return int(POWER_STATES.get(record["power_state"], power_state.NOSTATE))


def in_state(cache: EventCache, vm: str, *wanted: str) -> bool:
    """Predicate for waiting: whether the cache shows the VM in one of these power states."""
    record = cache.get("VM", vm)
    return record is not None and record["power_state"] in wanted
