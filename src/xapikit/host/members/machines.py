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
"""What is true of each host's machine whatever the database says: its place, whether it is on, whom it follows.

One small file in the state directory, exchanged whole. The database decides who is in the pool; an entry of this file
whose host the database does not know is of no account.
"""

from __future__ import annotations

import enum
import json
import os
import threading
import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from xapikit.host.errors import ApiError
from xapikit.host.store import Store

ELSEWHERE = -1


class Standing(enum.Enum):
    """What a host is to whoever asks it."""

    COORDINATOR = "coordinator"
    MEMBER = "member"
    BOOTING = "booting"
    """Its toolstack does not know yet what it is."""
    EMERGENCY = "emergency"
    """A member whose coordinator is lost, or which follows another one than the pool has."""
    OFF = "off"


@dataclass(frozen=True)
class Machine:
    """One host's machine."""

    slot: int = ELSEWHERE
    """Which of the addresses of the server it has, from 0; ``ELSEWHERE`` when another server is its front."""
    on: bool = True
    follows: str = ""
    """The address that it was told to take for its coordinator's, or the uuid of a host that is coordinator no
    longer; empty: it agrees with the pool."""
    stays_disabled: bool = False
    """Its host was disabled for longer than until the next boot."""
    state: str = ""
    """State directory of its front, where its own disks are; empty for a host of this server."""
    join: str = ""
    """Names the attempt with which it joined."""
    address: str = ""
    http_port: int | None = None
    https_port: int | None = None
    """Where its front listens."""
    certificate: str = field(default="", repr=False)
    """PEM of what its front shows."""
    ejected: bool = False
    """It is being put out of the pool, or was: the database decides which."""
    name: str = ""
    """What it is called when it is out of the pool."""
    wipe: tuple[str, ...] = ()
    """SRs (by uuid) whose files go when it is out."""


class Machines:
    """The machines of one pool's hosts. Hosts are named by reference, files name them by uuid."""

    def __init__(self, path: Path | None, store: Store, *, emergency_seconds: float = 0.0) -> None:
        """Without ``path`` nothing is kept.

        ``emergency_seconds``: how long members take to find out that their coordinator is lost."""
        self._path = path
        self._store = store
        self._emergency_seconds = emergency_seconds
        self._lock = threading.Lock()
        self._off_since: dict[str, float] = {}
        self._silent: set[str] = set()
        self._by_uuid: dict[str, Machine] = {}
        if path is not None and path.exists():
            entries: dict[str, dict[str, Any]] = json.loads(path.read_text())
            self._by_uuid = {uuid: Machine(**{**e, "wipe": tuple(e.get("wipe", ()))}) for uuid, e in entries.items()}
        for uuid, machine in self._by_uuid.items():
            if machine.state:  # until its front says that it is there
                self._silent.add(uuid)
            if not machine.on or machine.state:
                self._off_since[uuid] = time.monotonic()

    @property
    def places(self) -> int:
        """How many addresses are spoken for."""
        return 1 + max((machine.slot for machine in self._by_uuid.values()), default=-1)

    def enrol(self, hosts: list[str]) -> None:
        """Give hosts that have no machine yet the next free places, in this order."""
        with self._lock:
            taken = {machine.slot for machine in self._by_uuid.values()} - {ELSEWHERE}
            free = (slot for slot in range(len(hosts) + len(taken)) if slot not in taken)
            unknown = [uuid for uuid in map(self._uuid, hosts) if uuid not in self._by_uuid]
            if unknown:
                self._save({**self._by_uuid, **{uuid: Machine(next(free)) for uuid in unknown}})

    def admit(self, uuid: str, machine: Machine) -> None:
        """Note the machine of a host that the database is about to get. Raises OSError."""
        with self._lock:
            self._save({**self._by_uuid, uuid: machine})
            self._silent.add(uuid)
            self._off_since[uuid] = time.monotonic()

    def drop(self, uuid: str) -> None:
        """Forget a machine. Raises OSError."""
        with self._lock:
            self._save({known: machine for known, machine in self._by_uuid.items() if known != uuid})
            self._silent.discard(uuid)
            self._off_since.pop(uuid, None)

    def known(self) -> dict[str, Machine]:
        """All machines by the uuid of their hosts, also of hosts that the database does not have any more."""
        return dict(self._by_uuid)

    def hear(self, uuid: str, *, there: bool) -> None:
        """The front of a host has come, or gone."""
        with self._lock:
            machine = self._by_uuid.get(uuid)
            if machine is None:  # ejected and gone meanwhile
                return
            if there:
                self._silent.discard(uuid)
                if machine.on:
                    self._off_since.pop(uuid, None)
            else:
                self._silent.add(uuid)
                self._off_since.setdefault(uuid, time.monotonic())

    def of(self, host: str) -> Machine:
        """The machine of a host. Raises HANDLE_INVALID."""
        return self._by_uuid[self._uuid(host)]

    def change(self, host: str, **members: Any) -> None:
        """Change what is true of a machine, on disk first. Raises HANDLE_INVALID, OSError."""
        uuid = self._uuid(host)
        with self._lock:
            machine = replace(self._by_uuid[uuid], **members)
            self._save({**self._by_uuid, uuid: machine})
            if machine.on and uuid not in self._silent:
                self._off_since.pop(uuid, None)
            else:
                self._off_since.setdefault(uuid, time.monotonic())

    def answers(self, host: str) -> bool:
        """Whether a host can be reached: its machine runs, and so does its front if it has one."""
        row = self._store.peek("host", host)
        return row is not None and row["uuid"] not in self._silent and self.is_on(host)

    def is_on(self, host: str) -> bool:
        """Whether a host's machine runs; False for a host that the database does not know."""
        row = self._store.peek("host", host)
        machine = self._by_uuid.get(row["uuid"]) if row is not None else None
        return machine is not None and machine.on

    def off_for(self, host: str) -> float:
        """Seconds since a machine went off or its front fell silent, as far as this process knows; 0 otherwise."""
        since = self._off_since.get(self._uuid(host))
        return 0.0 if since is None else time.monotonic() - since

    def standing(self, host: str, coordinator: str) -> Standing:
        """What a host is to whoever asks it, in a pool with that coordinator."""
        machine = self.of(host)
        if not self.answers(host):
            return Standing.OFF
        if host == coordinator:
            return Standing.COORDINATOR
        if machine.follows and machine.follows != self._uuid(coordinator):
            return Standing.EMERGENCY
        if not self.answers(coordinator) and self.off_for(coordinator) >= self._emergency_seconds:
            return Standing.EMERGENCY
        return Standing.MEMBER

    def strand(self, coordinator: str, old: str) -> None:
        """A member makes itself the coordinator: the others go on following the old one until they are told."""
        old_uuid = self._uuid(old)
        for host in self._store.all("host"):
            if host not in (coordinator, old) and not self.of(host).follows:
                self.change(host, follows=old_uuid)

    def rally(self, coordinator: str) -> list[str]:
        """Tell all hosts that are on to follow the pool's coordinator; returns them."""
        reached = [host for host in self._store.all("host") if host != coordinator and self.answers(host)]
        for host in reached:
            if self.of(host).follows:
                self.change(host, follows="")
        return reached

    def reach(self, host: str) -> None:
        """Raises what a call is told that has to be carried out on a host which is dead (HOST_OFFLINE) or does not
        answer (CANNOT_CONTACT_HOST)."""
        row = self._store.peek("host", host)
        metrics = self._store.peek("host_metrics", row["metrics"]) if row is not None else None
        if metrics is None or not metrics["live"]:
            raise ApiError("HOST_OFFLINE", host)
        if not self.answers(host):
            raise ApiError("CANNOT_CONTACT_HOST", host)

    def _uuid(self, host: str) -> str:
        uuid: str = self._store.get("host", host)["uuid"]
        return uuid

    def _save(self, machines: dict[str, Machine]) -> None:
        if self._path is not None:
            write_whole(self._path, {uuid: asdict(machine) for uuid, machine in machines.items()})
        self._by_uuid = machines


def write_whole(path: Path, value: Any) -> None:
    """Exchange a small JSON file at one stroke, readable by its owner alone: after a kill it is the old or the new
    one. Raises OSError."""
    temporary = path.with_name(path.name + ".new")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        json.dump(value, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(path)
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
