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
"""What runs while an embedded host is started: a pool with its parts and its server, put together and taken apart."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from xapikit.host.derivations import register_all
from xapikit.host.faults import Faults
from xapikit.host.inventory import Fresh, FreshHost, install
from xapikit.host.members import leaving, link, power
from xapikit.host.members.front import Front
from xapikit.host.members.home import Home
from xapikit.host.members.link import Link
from xapikit.host.pool import HostAddress, Pool
from xapikit.host.server.addresses import advertised, host_addresses
from xapikit.host.server.doors import Doors
from xapikit.host.server.sessions import Account
from xapikit.host.settings import HostSettings, Listen
from xapikit.host.store import FileJournal, Store

if TYPE_CHECKING:
    from xapikit.host.pool import Hardware
    from xapikit.host.server.certificate import ServerCertificate

LOG = logging.getLogger(__name__)

HOUSEKEEPING_SECONDS = 30.0


class PoolMismatch(Exception):
    """The state directory holds a pool of another size than asked for."""


@dataclass
class Setup:
    """What a server is made of, whatever it is."""

    settings: HostSettings
    accounts: Mapping[str, Account]
    http: Listen | None
    https: Listen | None
    faults: Faults
    hardware: Hardware
    restart: Callable[[], None]
    """Restart soon, in a thread of its own."""

    @property
    def first(self) -> str:
        return (self.https or self.http or Listen("127.0.0.1")).address

    def doors(self, count: int, absent: set[int]) -> tuple[Doors, list[str], ServerCertificate | None]:
        """The listening sockets, the addresses that others are told, and the certificate. Raises OSError."""
        addresses = [advertised(address) for address in host_addresses(self.first, count)]
        certificate = None
        if self.https is not None:
            # loading the library behind it takes longer than starting a pool
            from xapikit.host.server.certificate import server_certificate

            certificate = server_certificate(self.settings.state / "server.pem", addresses)
        tls = certificate.context() if certificate is not None else None
        return Doors(self.http, self.https, tls, count, absent), addresses, certificate


class ServedPool:
    """A pool that is being served."""

    def __init__(self, setup: Setup) -> None:
        """Load or make it, find its guests again. Call :meth:`stop` also when this failed."""
        self._setup = setup
        self._stopped = threading.Event()
        self.doors: Doors | None = None
        self.certificate: ServerCertificate | None = None
        self._home: Home | None = None
        settings = setup.settings
        self._journal = FileJournal(settings.state / "db", settings.sync)
        self._pool: Pool | None = None
        self.ready = False
        """All is there that calls need."""

    @property
    def pool(self) -> Pool:
        if self._pool is None:
            raise RuntimeError("the embedded host is still starting")
        return self._pool

    def start(self, before_open: Callable[[], None]) -> None:
        """Serve it. ``before_open`` is called when all is there and nobody was let in yet."""
        from xapikit.host.server.build import serve_pool

        setup, settings = self._setup, self._setup.settings
        store, fresh = Store.open(self._journal)
        pool = self._pool = Pool(store, settings, setup.accounts)
        leaving.finish(pool)
        count = self._places(pool, fresh)
        absent = {machine.slot for machine in pool.machines.known().values() if machine.ejected and not machine.state}
        doors, addresses, self.certificate = setup.doors(count, absent)
        self.doors = doors
        pool.certificate = self.certificate
        pool.on_restart = setup.restart
        pool.hardware = setup.hardware
        register_all(store)
        if fresh:
            names = [*settings.names, *(f"host{n}" for n in range(len(settings.names) + 1, count + 1))]
            with store.transaction() as tx:
                plan = [FreshHost(name, address) for name, address in zip(names, addresses, strict=False)]
                install(tx, Fresh(settings, plan))
        pool.machines.enrol(list(store.all("host")))
        for ref, row in store.all("host").items():
            machine = pool.machines.known()[row["uuid"]]
            if not machine.state:
                http, https = doors.place(machine.slot)
                ports = http.port if http else None, https.port if https else None
                pool.hosts[ref] = HostAddress(ref, addresses[machine.slot], *ports)
        home = self._home = Home(pool, doors.listener)
        self._refresh_hosts(pool)
        pool.start_parts()
        store.rederive()
        self.serve = serve_pool(pool, setup.faults, setup.hardware, doors.listener, setup.restart)
        power.settle(pool)
        self.ready = True
        before_open()
        for ref in list(pool.hosts):
            self.open(ref)
        doors.shut_unserved()
        home.open(self.serve)
        threading.Thread(target=self._housekeeping, args=(pool,), name="xapi-housekeeping", daemon=True).start()

    def open(self, host: str) -> None:
        """Let clients in at a host, if it is one of this server and on."""
        machine = self.pool.machines.of(host)
        if machine.on and not machine.state and self.doors is not None:
            self.doors.open(machine.slot, host, self.serve)

    def shut(self, host: str) -> None:
        """Cut the clients of a host, and let nobody in."""
        machine = self.pool.machines.of(host)
        assert self.doors is not None
        if machine.state:
            self.doors.listener.shut(host)
        else:
            self.doors.shut(machine.slot)

    def put_out(self, uuid: str) -> None:
        """Let go of a host that was ejected: its front, or its place here."""
        machine = self.pool.machines.known()[uuid]
        if machine.state:
            assert self._home is not None
            self._home.put_out(uuid)
        else:
            assert self.doors is not None
            self.doors.shut(machine.slot)
            leaving.finish(self.pool)

    def stop(self, *, stop_guests: bool) -> None:
        self._stopped.set()
        if self.doors is not None:
            self.doors.close()
        if self._home is not None:
            self._home.close()
        if self._pool is not None:
            self._pool.stop_parts(stop_guests=stop_guests)
            self._pool.store.close()
        self._journal.close()

    def _places(self, pool: Pool, fresh: bool) -> int:
        """How many hosts have a place at this server."""
        asked = self._setup.settings.hosts
        if fresh:
            return asked or 1
        own = pool.store.count("host") if not pool.machines.known() else 0
        there = max(pool.machines.places, own)
        if asked and asked != there:
            raise PoolMismatch(f"{self._setup.settings.state} holds a pool of {there} host(s), not {asked}")
        return there

    @staticmethod
    def _refresh_hosts(pool: Pool) -> None:
        """Enter what this start has settled into the records of the hosts."""
        backend = {"network_backend": pool.settings.network_backend}
        with pool.store.transaction() as tx:
            for ref in pool.hosts:
                software = tx.get("host", ref)["software_version"] | backend
                tx.update("host", ref, software_version=software)
            pool.show_addresses(tx)
            # of guests that went on while the server was away: it may have another port now
            for ref, row in tx.all("console").items():
                vm = tx.peek("VM", row["VM"])
                if vm is not None:
                    tx.update("console", ref, location=pool.console_location(vm["resident_on"], row["uuid"]))

    def _housekeeping(self, pool: Pool) -> None:
        while not self._stopped.wait(HOUSEKEEPING_SECONDS):
            try:
                pool.sessions.collect_idle()
                pool.tasks.purge()
                with pool.store.transaction() as tx:
                    # a host does this as well: it keeps the connections of idle listeners busy
                    tx.touch("pool", pool.ref)
            except Exception:
                LOG.exception("housekeeping failed")


class ServedFront:
    """A host that is a member of another server's pool."""

    def __init__(self, setup: Setup, known: Link) -> None:
        # nobody else may use the state directory meanwhile; its database is not read
        self._journal = FileJournal(setup.settings.state / "db", setup.settings.sync)
        self.doors: Doors | None = None
        self.certificate: ServerCertificate | None = None
        self.front: Front | None = None
        self._setup = setup
        self.known = known

    def start(self) -> None:
        """Serve it. Raises OSError."""
        doors, addresses, self.certificate = self._setup.doors(1, set())
        self.doors = doors
        http, https = doors.place(0)
        ports = http.port if http else None, https.port if https else None
        pem = self.certificate.pem if self.certificate is not None else ""
        where = HostAddress(f"OpaqueRef:{self.known.host}", addresses[0], *ports, pem)
        accounts = dict(self._setup.accounts)
        self.front = Front(self._setup.settings, self.known, doors, where, accounts, self._setup.restart)
        self.where = where
        self.front.start()

    def stop(self) -> None:
        if self.front is not None:
            self.front.stop()
        elif self.doors is not None:
            self.doors.close()
        self._journal.close()


def membership(settings: HostSettings) -> Link | None:
    """Whether a state directory is that of a member of another server's pool; a host that is on its way out of one is
    brought out first. Raises OSError, ValueError."""
    link.finish_leaving(settings.state)
    return Link.read(settings.state)
