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
"""A running pool: the store and the parts that act on it. Built by :mod:`xapikit.host.embedded`."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from xapikit.host.context import Operations
from xapikit.host.dom0.programs import Programs
from xapikit.host.events import Events
from xapikit.host.guests.service import Guests
from xapikit.host.members import Machines, Standing
from xapikit.host.members.heartbeat import Heartbeat
from xapikit.host.server.audit import Audit
from xapikit.host.server.passwords import ChangedPasswords
from xapikit.host.server.sessions import Account, Sessions
from xapikit.host.server.tasks import Tasks
from xapikit.host.settings import HostSettings
from xapikit.host.statistics.sampler import Statistics
from xapikit.host.store import Row, Store, Transaction

LOG = logging.getLogger(__name__)

if TYPE_CHECKING:  # loading the library behind it takes longer than starting a pool
    from xapikit.host.server.certificate import ServerCertificate

RESTART_SECONDS = 0.5
"""The longest that a wanted restart waits for the answer of the call that wants it."""


class Hardware(Protocol):
    """The machines of a pool's hosts, as far as a host can act on them. Hosts are named by reference."""

    def power_off(self, host: str) -> None:
        """Cut the power: nobody listens there any more, and its guests are gone. Nothing is written down for them."""
        ...

    def power_on(self, host: str) -> None:
        """Let it boot."""
        ...

    def power_cycle(self, host: str) -> None:
        """Off and on again."""
        ...

    def put_out(self, uuid: str) -> None:
        """Let a host go that was ejected; the database does not have it any more."""
        ...

    def restart_toolstack_of(self, host: str) -> None:
        """Restart what answers for a host, which cuts its connections; its guests go on."""
        ...


class Part(Protocol):
    """Storage, domains: what has files, processes or threads of its own."""

    def start(self) -> None:
        """Called at every start, before the first request: find again what still runs, check what is stored."""
        ...

    def stop(self, *, stop_guests: bool) -> None:
        """Called at the end. Processes that serve guests go on unless ``stop_guests``."""
        ...


@dataclass
class HostAddress:
    """Where one host of the pool is reached."""

    ref: str
    address: str
    http_port: int | None = None
    https_port: int | None = None
    certificate: str = field(default="", repr=False)
    """PEM of what https is served with there; empty: as at the other hosts of this server."""

    @property
    def http_url(self) -> str | None:
        """``http://ADDRESS:PORT`` without a slash at the end; None when not served."""
        return self._url("http", self.http_port)

    @property
    def https_url(self) -> str | None:
        return self._url("https", self.https_port)

    def url(self, *, https: bool | None = None) -> str:
        """Base URL for links such as console locations and redirects; None prefers https."""
        wanted = self.https_url if https or https is None else self.http_url
        return wanted or self.https_url or self.http_url or ""

    def _url(self, scheme: str, port: int | None) -> str | None:
        if port is None:
            return None
        host = f"[{self.address}]" if ":" in self.address else self.address
        return f"{scheme}://{host}" if port == _USUAL_PORTS[scheme] else f"{scheme}://{host}:{port}"


def _do(action: Callable[[], None]) -> None:
    try:
        action()
    except Exception:
        LOG.exception("what was to follow an answer failed")


_USUAL_PORTS = {"http": 80, "https": 443}


class Pool:
    """What ``ctx.pool`` is. ``storage`` and ``domains`` are set before the first call is served."""

    def __init__(
        self, store: Store, settings: HostSettings, accounts: Mapping[str, Account], *, remembered: bool = True
    ) -> None:
        """``remembered``: what is true of its machines is kept in the state directory."""
        self.store = store
        self.settings = settings
        self.operations = Operations(store)
        changed = ChangedPasswords(settings.state / "passwords.json")
        self.sessions = Sessions(store, accounts, refusal_seconds=settings.refusal_seconds, changed=changed)
        self.tasks = Tasks(store)
        self.events = Events(store, self.sessions)
        self.certificate: ServerCertificate | None = None
        self.hosts: dict[str, HostAddress] = {}
        """By host reference."""
        self.storage: Any = None
        self.domains: Any = None
        self.migrations: Any = None
        self.nbd: Any = None
        self.imports: Any = None
        self.programs = Programs(self)
        self.statistics = Statistics(self)
        options = settings.options
        self.machines = Machines(
            settings.state / "machines.json" if remembered else None,
            store,
            emergency_seconds=float(options.get("emergency_seconds", 0)),
        )
        self.heartbeat = Heartbeat(self)
        self.guests = Guests(self)
        self.audit = Audit(self)
        self._parts: list[Part] = [self.audit, self.programs, self.statistics, self.heartbeat, self.guests]
        self._ref = ""
        self.hardware: Hardware | None = None
        self.booting = False
        """The toolstack does not know yet what this host is."""
        self.away = ""
        """Where the database of the pool is, when this server has none of it."""
        self.on_restart: Callable[[], None] | None = None
        self._wanted: list[Callable[[], None]] = []

    @property
    def ref(self) -> str:
        """Reference of the pool object."""
        if not self._ref:  # there is exactly one, and it never goes away
            self._ref = next(iter(self.store.all("pool")))
        return self._ref

    @property
    def row(self) -> Row:
        return self.store.get("pool", self.ref)

    @property
    def coordinator(self) -> str:
        """Reference of the host that answers for the pool."""
        master: str = self.row["master"]
        return master

    def coordinator_address(self, *, https: bool = False) -> str:
        """What HOST_IS_SLAVE names: an address, with the port where hosts of the pool share the address."""
        return self.known_address(self.coordinator, https=https)

    def known_address(self, host: str, *, https: bool = False) -> str:
        """How a host of the pool is named to clients of another one: its address alone where that suffices."""
        where = self.hosts[host]
        others = [other for ref, other in list(self.hosts.items()) if ref != host]
        ports = (where.http_port, where.https_port)
        if all(o.address != where.address and (o.http_port, o.https_port) == ports for o in others):
            return where.address
        port = where.https_port if https else where.http_port
        address = f"[{where.address}]" if ":" in where.address else where.address
        return f"{address}:{port}" if port is not None else where.address

    def settings_of(self, host: str) -> HostSettings:
        """The settings with the state directory in which a host has its own disks."""
        row = self.store.peek("host", host)
        machine = self.machines.known().get(row["uuid"]) if row is not None else None
        return (
            replace(self.settings, state=Path(machine.state))
            if machine is not None and machine.state
            else self.settings
        )

    def certificate_of(self, host: str) -> str:
        """PEM of the certificate that a host shows; empty when https is not served."""
        where = self.hosts.get(host)
        own = self.certificate.pem if self.certificate is not None else ""
        return where.certificate or own if where is not None else own

    def show_addresses(self, tx: Transaction) -> None:
        """Enter where the hosts are reached; with a port where some of them have come from other servers, and an
        address alone does not lead there."""
        mixed = any(machine.state and not machine.ejected for machine in self.machines.known().values())
        for ref, where in list(self.hosts.items()):
            https = where.https_port is not None
            tx.update("host", ref, address=self.known_address(ref, https=https) if mixed else where.address)

    def standing(self, host: str) -> Standing:
        """What a host is to whoever asks it."""
        if self.booting:
            return Standing.BOOTING
        return self.machines.standing(host, self.coordinator)

    def console_location(self, host: str, uuid: str) -> str:
        """Where the console with that uuid, of a VM on ``host``, is reached."""
        base = self.hosts[host].url() if host in self.hosts else ""
        return f"{base}/console?uuid={uuid}"

    @property
    def state(self) -> Path:
        return self.settings.state

    def restart_toolstack(self) -> None:
        """Ask for a restart of the server; it happens when the running call was answered."""
        if self.on_restart is not None:
            restart, self.on_restart = self.on_restart, None
            self.after_answer(restart)

    def after_answer(self, action: Callable[[], None]) -> None:
        """Have something done when the running call was answered, in a thread of its own."""
        self._wanted.append(action)
        # an asynchronous call has no answer to wait for
        timer = threading.Timer(RESTART_SECONDS, self.answered)
        timer.daemon = True
        timer.start()

    def answered(self) -> None:
        """Called after each answer."""
        while self._wanted:
            try:
                action = self._wanted.pop(0)
            except IndexError:  # another thread was faster
                return
            threading.Thread(target=_do, args=(action,), name="xapi-after-answer", daemon=True).start()

    def add_part(self, part: Part) -> None:
        """Have a part started and stopped with the pool, in this order and in reverse."""
        self._parts.append(part)

    def start_parts(self) -> None:
        """Build storage, domains, migrations, NBD servers and imports, then start everything."""
        from xapikit.host import domains, migration, nbd, storage, xva

        packages = {"storage": storage, "domains": domains, "migrations": migration, "nbd": nbd, "imports": xva}
        for name, package in packages.items():
            build = getattr(package, "build", None)
            if build is not None:
                part: Part = build(self)
                setattr(self, name, part)
                self.add_part(part)
        for part in self._parts:
            part.start()

    def stop_parts(self, *, stop_guests: bool) -> None:
        self.sessions.close()
        self.tasks.close()
        for part in reversed(self._parts):
            part.stop(stop_guests=stop_guests)
