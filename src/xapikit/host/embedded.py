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
"""A pool of hosts in this process: puts store, storage, domains and server together, starts and stops them.

``with EmbeddedHost(hosts=2) as xapi: XenAPI.Session(xapi.urls[0])``. The command line is :mod:`xapikit.host.cli`.
"""

from __future__ import annotations

import logging
import secrets
import shutil
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

from xapikit.host.derivations import register_all
from xapikit.host.faults import Faults, Playing, Scenario, load_scenario
from xapikit.host.faults.effects import Effects
from xapikit.host.inventory import Fresh, FreshHost, install
from xapikit.host.members import power
from xapikit.host.pool import HostAddress, Pool
from xapikit.host.ready import HostInfo
from xapikit.host.server.addresses import advertised, host_addresses
from xapikit.host.server.doors import Doors, ServeHost
from xapikit.host.server.listener import Listener
from xapikit.host.server.sessions import Account
from xapikit.host.settings import GIB, HostSettings, Listen
from xapikit.host.store import FileJournal, Store, Sync

if TYPE_CHECKING:
    from xapikit.host.server.certificate import ServerCertificate

LOG = logging.getLogger(__name__)

HOUSEKEEPING_SECONDS = 30.0


class PoolMismatch(Exception):
    """The state directory holds a pool of another size than asked for."""


class EmbeddedHost:
    """A running XAPI pool.

    ``state`` None: a temporary directory that vanishes at the end. ``http`` and ``https`` are ``True`` (loopback, a
    port of the system's choice), ``False`` (not served), ``"ADDRESS:PORT"`` or a :class:`Listen`. ``password`` None:
    a random one. ``scenario``: faults from the start, files or names of what is shipped; ``seed`` instead of
    theirs. Raises what :class:`StateInUse`, :class:`JournalDamaged`, :class:`PoolMismatch` and OSError say.
    """

    def __init__(
        self,
        state: Path | str | None = None,
        *,
        hosts: int | None = None,
        domains: Literal["timed", "qemu"] = "timed",
        http: bool | str | Listen = True,
        https: bool | str | Listen = False,
        username: str = "root",
        password: str | None = None,
        accounts: Mapping[str, Account] | None = None,
        memory_bytes: int = 16 * GIB,
        cpus: int = 8,
        sync: Sync = "interval",
        refusal_seconds: float = 0.0,
        network_backend: Literal["openvswitch", "bridge"] = "openvswitch",
        options: Mapping[str, str] | None = None,
        faults: Faults | None = None,
        scenario: Scenario | Path | str | Sequence[Scenario | Path | str] = (),
        seed: int | None = None,
    ) -> None:
        self._temporary = tempfile.mkdtemp(prefix="xapi-host-") if state is None else None
        self.settings = HostSettings(
            state=Path(self._temporary or str(state)).absolute(),
            hosts=hosts or 0,
            domains=domains,
            username=username,
            memory_bytes=memory_bytes,
            cpus=cpus,
            sync=sync,
            refusal_seconds=refusal_seconds,
            network_backend=network_backend,
            options=dict(options or {}),
        )
        self.username = username
        self.password = password if password is not None else secrets.token_urlsafe(12)
        self._accounts = {username: Account(self.password), **(accounts or {})}
        self._http, self._https = _listen(http), _listen(https)
        if self._http is None and self._https is None:
            raise ValueError("neither http nor https is to be served")
        if self._http and self._https and self._http.address != self._https.address:
            raise ValueError("a host has one address: http and https must name the same")
        self.faults = faults or Faults()
        self._effects = Effects(self)
        self.faults.host = self._effects
        given = [scenario] if isinstance(scenario, Scenario | Path | str) else scenario
        self._scenarios = [load_scenario(one) for one in given]
        self._seed = seed
        self.certificate: ServerCertificate | None = None
        self._lock = threading.RLock()
        self._pool: Pool | None = None
        self._doors: Doors | None = None
        self._serve: ServeHost | None = None
        self._journal: FileJournal | None = None
        self._stopped = threading.Event()
        self._serving = threading.Event()

    # life --------------------------------------------------------------------------------------------------------

    def start(self) -> EmbeddedHost:
        """Load or make the pool, find its guests again, and serve it."""
        with self._lock:
            self.faults.start_waiting()
            try:
                self._start()
                for scenario in self._scenarios:
                    self.faults.load(scenario, seed=self._seed)
            except BaseException:
                self.stop()
                raise
        return self

    def stop(self, *, stop_guests: bool = False) -> None:
        """Stop serving. Guests go on running unless ``stop_guests`` (or the state is temporary)."""
        for scenario in self.faults.playing:
            self.faults.end(scenario.name)
        with self._lock:
            self.faults.stop_waiting()
            self._stop(stop_guests or self._temporary is not None)
            if self._temporary is not None:
                shutil.rmtree(self._temporary, ignore_errors=True)

    def restart(self) -> None:
        """Restart the toolstack as a host does: sessions and tasks vanish, rows and guests stay, ports too."""
        with self._lock:
            listeners = self._ports()
            self._stop(stop_guests=False)
            self._http, self._https = listeners
            self._start()

    # the machines of the hosts -------------------------------------------------------------------------------------

    def power_off(self, host: str) -> None:
        """Cut a host off its power (named by reference, uuid or name): nobody answers there any more, its guests are
        gone, and the database knows nothing of it yet. Losing the coordinator ends all sessions and tasks.
        Raises KeyError."""
        with self._lock:
            self._switch(self._host_ref(host), on=False)

    def power_on(self, host: str) -> None:
        """Let a host boot again, as a member of whatever coordinator there is by now. Raises KeyError."""
        with self._lock:
            self._switch(self._host_ref(host), on=True)

    def power_cycle(self, host: str) -> None:
        """Off and on again; guests of the host are gone. Raises KeyError."""
        with self._lock:
            ref = self._host_ref(host)
            self._switch(ref, on=False)
            self._switch(ref, on=True)

    def lose_coordinator(self) -> str:
        """Power off the host that is coordinator now; returns its reference."""
        with self._lock:
            host = self.pool.coordinator
            self._switch(host, on=False)
        return host

    def restart_toolstack_of(self, host: str) -> None:
        """Restart what answers for a host; for the coordinator that is :meth:`restart`."""
        with self._lock:
            pool, doors, serve = self.pool, self._doors, self._serve
            assert doors is not None and serve is not None
            if host == pool.coordinator:
                self.restart()
            elif pool.machines.is_on(host):
                doors.shut(pool.machines.of(host).slot)
                doors.open(pool.machines.of(host).slot, host, serve)

    def _host_ref(self, name: str) -> str:
        for ref, row in self.pool.store.all("host").items():
            if name in (ref, row["uuid"], row["name_label"]):
                return ref
        raise KeyError(f"the pool has no host {name!r}")

    def _switch(self, host: str, *, on: bool) -> None:
        pool, doors, serve = self.pool, self._doors, self._serve
        assert doors is not None and serve is not None
        if pool.machines.is_on(host) is on:
            return
        slot = pool.machines.of(host).slot
        if on:
            power.boot(pool, host)
        else:
            doors.shut(slot)
            power.lost(pool, host)
        if host == pool.coordinator:
            self.restart()  # with the coordinator all that only it knew is gone
        elif on:
            doors.open(slot, host, serve)

    def __enter__(self) -> EmbeddedHost:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    # what there is -----------------------------------------------------------------------------------------------

    @property
    def running(self) -> bool:
        """Whether it is served at the moment."""
        return self._serve is not None

    def wait_running(self, timeout: float) -> bool:
        """Block until it is served, after a restart that somebody else asked for; False after ``timeout`` seconds."""
        return self._serving.wait(timeout)

    @property
    def pool(self) -> Pool:
        """The running pool; another object after a restart."""
        if self._pool is None:
            raise RuntimeError("the embedded host is not running")
        return self._pool

    @property
    def hosts(self) -> list[HostInfo]:
        """In the order in which they joined; the first one is the coordinator unless that was changed."""
        found = []
        for ref, where in self.pool.hosts.items():
            row = self.pool.store.get("host", ref)
            info = HostInfo(ref, row["uuid"], row["name_label"], where.address, where.http_url, where.https_url)
            found.append(info)
        return found

    @property
    def urls(self) -> list[str]:
        """One URL per host, https where it is served."""
        return [host.url for host in self.hosts]

    @property
    def url(self) -> str:
        """Where the coordinator is reached."""
        coordinator = self.pool.coordinator
        return next(host.url for host in self.hosts if host.ref == coordinator)

    @property
    def fingerprint(self) -> str | None:
        """``SHA256:...`` of the certificate; None when https is not served."""
        return self.certificate.fingerprint if self.certificate else None

    @property
    def listener(self) -> Listener:
        """What accepts the connections; another object after a restart."""
        if self._doors is None:
            raise RuntimeError("the embedded host is not running")
        return self._doors.listener

    def play(self, scenario: Scenario | Path | str | Mapping[str, Any], *, seed: int | None = None) -> Playing:
        """Play a scenario of faults from now on: ``faults.load``."""
        return self.faults.load(scenario, seed=seed)

    def call_counts(self) -> dict[str, int]:
        """Calls and transfers per method since the start or the last ``faults.reset_counts()``."""
        return self.faults.call_counts()

    # inside ------------------------------------------------------------------------------------------------------

    def _start(self) -> None:
        from xapikit.host.classes import load_all
        from xapikit.host.server.build import serve_pool

        load_all()
        self._stopped.clear()
        state = self.settings.state
        state.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._journal = FileJournal(state / "db", self.settings.sync)
        store, fresh = Store.open(self._journal)
        pool = self._pool = Pool(store, self.settings, self._accounts)
        count = self._places(pool, fresh)
        first = (self._https or self._http or Listen("127.0.0.1")).address
        addresses = [advertised(address) for address in host_addresses(first, count)]
        if self._https is not None:
            # loading the library behind it takes longer than starting a pool
            from xapikit.host.server.certificate import server_certificate

            self.certificate = server_certificate(state / "server.pem", addresses)
        pool.certificate = self.certificate
        pool.on_restart = self.restart_soon
        pool.hardware = self
        register_all(store)
        if fresh:
            with store.transaction() as tx:
                plan = [FreshHost(f"host{n}", address) for n, address in enumerate(addresses, 1)]
                install(tx, Fresh(self.settings, plan))
        pool.machines.enrol(list(store.all("host")))
        tls = self.certificate.context() if self.certificate is not None else None
        doors = self._doors = Doors(self._http, self._https, tls, count)
        for ref in store.all("host"):
            slot = pool.machines.of(ref).slot
            door = doors.door(slot)
            pool.hosts[ref] = HostAddress(ref, addresses[slot], door.http_port, door.https_port)
        self._refresh_hosts(pool)
        pool.start_parts()
        store.rederive()
        serve = serve_pool(pool, self.faults, self, doors.listener, self.restart_soon)
        power.settle(pool)
        self._serve = serve
        self._effects.restarted()
        for ref in pool.hosts:
            if pool.machines.is_on(ref):
                doors.open(pool.machines.of(ref).slot, ref, serve)
        doors.shut_unserved()
        self._serving.set()
        threading.Thread(target=self._housekeeping, args=(pool,), name="xapi-housekeeping", daemon=True).start()

    def _stop(self, stop_guests: bool) -> None:
        self._stopped.set()
        self._serving.clear()
        self._serve = None
        if self._doors is not None:
            self._doors.close()
            self._doors = None
        if self._pool is not None:
            self._pool.stop_parts(stop_guests=stop_guests)
            self._pool.store.close()
            self._pool = None
        if self._journal is not None:
            self._journal.close()
            self._journal = None

    def _places(self, pool: Pool, fresh: bool) -> int:
        """How many hosts have a place at this server."""
        asked = self.settings.hosts
        if fresh:
            return asked or 1
        there = max(pool.machines.places, pool.store.count("host"))
        if asked and asked != there:
            raise PoolMismatch(f"{self.settings.state} holds a pool of {there} host(s), not {asked}")
        return there

    def _ports(self) -> tuple[Listen | None, Listen | None]:
        """The addresses in use, with the ports that the system chose."""
        assert self._doors is not None
        door = self._doors.door(0)
        http = Listen(self._http.address, door.http_port) if self._http and door.http_port else None
        https = Listen(self._https.address, door.https_port) if self._https and door.https_port else None
        return http, https

    @staticmethod
    def _refresh_hosts(pool: Pool) -> None:
        """Enter what this start has settled into the records of the hosts."""
        backend = {"network_backend": pool.settings.network_backend}
        with pool.store.transaction() as tx:
            for ref, where in pool.hosts.items():
                software = tx.get("host", ref)["software_version"] | backend
                tx.update("host", ref, address=where.address, software_version=software)
            # of guests that went on while the server was away: it may have another port now
            for ref, row in tx.all("console").items():
                vm = tx.peek("VM", row["VM"])
                if vm is not None:
                    tx.update("console", ref, location=pool.console_location(vm["resident_on"], row["uuid"]))

    def restart_soon(self) -> None:
        """Restart from a thread of its own: whoever asks may be a thread of the server that goes away."""
        threading.Thread(target=self._safely, args=(self.restart,), name="xapi-restart", daemon=True).start()

    def lose_coordinator_soon(self) -> None:
        """:meth:`lose_coordinator` from a thread of its own."""
        threading.Thread(target=self._safely, args=(self.lose_coordinator,), name="xapi-loss", daemon=True).start()

    @staticmethod
    def _safely(act: Callable[[], object]) -> None:
        try:
            act()
        except Exception:
            LOG.exception("the toolstack did not come back")

    def _housekeeping(self, pool: Pool) -> None:
        while not self._stopped.wait(HOUSEKEEPING_SECONDS):
            if self._pool is not pool:
                return
            try:
                pool.sessions.collect_idle()
                pool.tasks.purge()
                with pool.store.transaction() as tx:
                    # a host does this as well: it keeps the connections of idle listeners busy
                    tx.touch("pool", pool.ref)
            except Exception:
                LOG.exception("housekeeping failed")


def _listen(given: bool | str | Listen) -> Listen | None:
    if isinstance(given, Listen):
        return given
    if isinstance(given, str):
        return Listen.parse(given)
    return Listen("127.0.0.1", 0) if given else None
