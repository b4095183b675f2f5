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
"""What the events of scenarios do to a running pool. A restart of the toolstack in between changes nothing of it."""

from __future__ import annotations

import contextlib
import fnmatch
import itertools
import random
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Protocol

from xapikit.host.domains.model import DomainFailed, End
from xapikit.host.errors import ApiError
from xapikit.host.faults.scenario import Event
from xapikit.host.storage.control import describe
from xapikit.host.store.values import STORED_CLASSES
from xapikit.model import MODEL

if TYPE_CHECKING:
    from xapikit.host.pool import Pool
    from xapikit.host.server.listener import Listener

_ENDS = {"crash": End.CRASHED, "poweroff": End.HALTED, "reboot": End.REBOOTED}
COORDINATOR = "coordinator"
_WITH_UUID = sorted(name for name in STORED_CLASSES if "uuid" in MODEL.classes[name].fields)


class Running(Protocol):
    """The embedded host as this module uses it."""

    @property
    def running(self) -> bool: ...

    @property
    def pool(self) -> Pool: ...

    @property
    def listener(self) -> Listener: ...

    def restart_soon(self) -> None:
        """Restart the toolstack, in a thread of its own."""
        ...

    def lose_coordinator_soon(self) -> None:
        """Power the coordinator off, in a thread of its own."""
        ...

    def power_off(self, host: str) -> None:
        """Cut a host off its power."""
        ...

    def power_on(self, host: str) -> None:
        """Let it boot."""
        ...


class Effects:
    """Acts on the pool of one embedded host. Safe from any thread."""

    def __init__(self, xapi: Running) -> None:
        self._xapi = xapi
        self._standing: dict[int, Callable[[], None]] = {}
        """What a restart of the toolstack would forget, and how it is done again."""
        self._numbers = itertools.count()

    def restart(self) -> None:
        self._xapi.restart_soon()

    def lose_coordinator(self) -> None:
        self._xapi.lose_coordinator_soon()

    def restarted(self) -> None:
        """Called when the pool runs again: what lasts is done again."""
        for again in list(self._standing.values()):
            again()

    def names(self, value: str) -> Sequence[str]:
        """uuid and name of the object that a reference or a uuid stands for."""
        if not self._xapi.running:
            return ()
        store = self._xapi.pool.store
        for class_name in _WITH_UUID:
            ref = value if value.startswith("OpaqueRef:") else store.by_uuid(class_name, value)
            row = store.peek(class_name, ref) if ref is not None else None
            if row is not None:
                return [str(row[field]) for field in ("uuid", "name_label") if field in row]
        return ()

    # events ------------------------------------------------------------------------------------------------------

    def begin(self, event: Event, choose: random.Random) -> tuple[str, Callable[[], None] | None]:
        """Have it happen. Returns what was hit, and what ends it. Raises LookupError when nothing fits."""
        match event.event:
            case "restart":
                self._xapi.restart_soon()
                return "toolstack", None
            case "link_cut":
                return self._lasting(self._hosts(event.host), self._break_link, self._mend_link)
            case "host_off":
                hit = self._hosts(event.host)
                for host in hit:
                    self._running.power_off(host)
                return " ".join(hit), lambda: self._switch_on(hit)
            case "sr_full":
                found = self._repositories(event.sr)
                limits = {uuid: used + event.bytes for uuid, used in found.items()}
                return self._lasting(
                    found, lambda uuid, by: self._limit(uuid, limits[uuid]), lambda uuid, by: self._limit(uuid, None)
                )
            case "slow_disk":
                speed = event.bytes_per_second
                return self._lasting(
                    self._repositories(event.sr),
                    lambda uuid, by: self._slow(uuid, speed),
                    lambda uuid, by: self._slow(uuid, None),
                )
            case "guest_dies":
                return self._end_guest(event, choose), None

    def _lasting(
        self, what: Iterable[str], begin: Callable[[str, int], None], end: Callable[[str, int], None]
    ) -> tuple[str, Callable[[], None]]:
        hit = list(what)
        number = next(self._numbers)

        def again() -> None:
            for one in hit:
                begin(one, number)

        def mend() -> None:
            del self._standing[number]
            # of a pool that does not run nothing is left to mend
            with contextlib.suppress(LookupError):
                for one in hit:
                    end(one, number)

        self._standing[number] = again
        again()
        return " ".join(hit), mend

    def _switch_on(self, hosts: list[str]) -> None:
        with contextlib.suppress(LookupError):  # a pool that does not run, or a host that was destroyed meanwhile
            for host in hosts:
                self._running.power_on(host)

    def _break_link(self, host: str, by: int) -> None:
        self._running.listener.break_link(host, by)

    def _mend_link(self, host: str, by: int) -> None:
        self._running.listener.mend_link(host, by)

    @property
    def _running(self) -> Running:
        if not self._xapi.running:
            raise LookupError("the toolstack does not run")
        return self._xapi

    def _hosts(self, pattern: str) -> list[str]:
        pool = self._running.pool
        if pattern == COORDINATOR:
            return [pool.coordinator]
        rows = {ref: pool.store.get("host", ref) for ref in pool.hosts}
        found = [ref for ref, row in rows.items() if _fits(pattern, ref, row["uuid"], row["name_label"])]
        if not found:
            raise LookupError(f"no host {pattern!r}")
        return found

    def _repositories(self, pattern: str) -> dict[str, int]:
        """uuids of plugged SRs with files of their own, and how much of them is used."""
        found = {
            sr["sr"]: sr["physical_utilisation"]
            for sr in describe(self._running.pool.storage)
            if _fits(pattern, sr["sr"], sr["name_label"])
        }
        if not found:
            raise LookupError(f"no plugged SR {pattern!r}")
        return found

    def _limit(self, uuid: str, limit: int | None) -> None:
        self._on_sr(uuid, lambda ref: self._running.pool.storage.set_limit(ref, limit))

    def _slow(self, uuid: str, speed: int | None) -> None:
        self._on_sr(uuid, lambda ref: self._running.pool.storage.set_speed(ref, speed))

    def _on_sr(self, uuid: str, change: Callable[[str], None]) -> None:
        ref = self._running.pool.store.by_uuid("SR", uuid)
        if ref is not None:
            try:
                change(ref)
            except ApiError:  # unplugged meanwhile: nothing is as slow and as full as that
                pass

    def _end_guest(self, event: Event, choose: random.Random) -> str:
        pool = self._running.pool
        running = sorted(
            (row["name_label"], row["uuid"], ref)
            for ref, row in pool.store.all("VM").items()
            if row["power_state"] == "Running"
            and not row["is_control_domain"]
            and _fits(event.vm, row["uuid"], row["name_label"])
        )
        while running:
            name, uuid, ref = running.pop(choose.randrange(len(running)))
            try:
                pool.domains.get(ref).end_by_itself(_ENDS[event.end], "as a scenario wants")
            except DomainFailed:  # it is on its way to another host, or was faster
                continue
            return f"{uuid} {name}"
        raise LookupError(f"no running VM {event.vm!r}")


def _fits(pattern: str, *names: str) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for name in names)
