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
"""A pool of hosts in this process, as its users see it: start, stop, restart, power switches. What runs in between is
:mod:`xapikit.host.serving`.

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

from xapikit.host.faults import Faults, Playing, Scenario, load_scenario
from xapikit.host.faults.effects import Effects
from xapikit.host.members import power
from xapikit.host.members.front import Front
from xapikit.host.pool import Pool
from xapikit.host.ready import HostInfo
from xapikit.host.server.listener import Listener
from xapikit.host.server.sessions import Account
from xapikit.host.serving import ServedFront, ServedPool, Setup, membership
from xapikit.host.settings import GIB, HostSettings, Listen
from xapikit.host.store import Sync

if TYPE_CHECKING:
    from xapikit.host.server.certificate import ServerCertificate

LOG = logging.getLogger(__name__)


class EmbeddedHost:
    """A running XAPI pool, or a host that is a member of another server's pool.

    ``state`` None: a temporary directory that vanishes at the end. ``http`` and ``https`` are ``True`` (loopback, a
    port of the system's choice), ``False`` (not served), ``"ADDRESS:PORT"`` or a :class:`Listen`. ``password`` None:
    a random one. ``names``: of the hosts, at the first start. ``scenario``: faults from the start, files or names of
    what is shipped; ``seed`` instead of theirs. Raises what
    :class:`StateInUse`, :class:`JournalDamaged`, :class:`PoolMismatch` and OSError say.
    """

    def __init__(
        self,
        state: Path | str | None = None,
        *,
        hosts: int | None = None,
        names: Sequence[str] = (),
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
            names=tuple(names),
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
        self._lock = threading.RLock()
        self._served: ServedPool | ServedFront | None = None
        self._serving = threading.Event()
        self._ejected: dict[str, EmbeddedHost] = {}

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
            for child in self._ejected.values():
                child.stop(stop_guests=stop_guests)
            self._ejected.clear()
            self._stop(stop_guests or self._temporary is not None)
            if self._temporary is not None:
                shutil.rmtree(self._temporary, ignore_errors=True)

    def restart(self) -> None:
        """Restart the toolstack as a host does: sessions and tasks vanish, rows and guests stay, ports too."""
        with self._lock:
            served = self._served
            if served is not None and served.doors is not None:
                self._http, self._https = served.doors.place(0)  # with the ports that the system chose
            self._stop(stop_guests=False)
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
            if host == self.pool.coordinator:
                self.restart()
            else:
                self._pool_served.shut(host)
                self._pool_served.open(host)

    def put_out(self, uuid: str) -> None:
        """Let go of a host that was ejected from the pool (by ``pool.eject``): it starts as a pool of its own."""
        with self._lock:
            self._pool_served.put_out(uuid)
            self._start_ejected()

    def _host_ref(self, name: str) -> str:
        for ref, row in self.pool.store.all("host").items():
            if name in (ref, row["uuid"], row["name_label"]):
                return ref
        raise KeyError(f"the pool has no host {name!r}")

    def _switch(self, host: str, *, on: bool) -> None:
        served = self._pool_served
        pool = served.pool
        if pool.machines.is_on(host) is on:
            return
        if on:
            power.boot(pool, host)
        else:
            served.shut(host)
            power.lost(pool, host)
        if host == pool.coordinator:
            self.restart()  # with the coordinator all that only it knew is gone
        elif on:
            served.open(host)

    def __enter__(self) -> EmbeddedHost:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    # what there is -----------------------------------------------------------------------------------------------

    @property
    def running(self) -> bool:
        """Whether a pool is served at the moment."""
        served = self._served
        return isinstance(served, ServedPool) and served.ready

    def wait_running(self, timeout: float) -> bool:
        """Block until it is served, after a restart that somebody else asked for; False after ``timeout`` seconds."""
        return self._serving.wait(timeout)

    @property
    def pool(self) -> Pool:
        """The running pool; another object after a restart. Raises RuntimeError when there is none here."""
        return self._pool_served.pool

    @property
    def front(self) -> Front | None:
        """What there is instead of a pool when the host is a member of another server's."""
        return self._served.front if isinstance(self._served, ServedFront) else None

    @property
    def ejected(self) -> list[EmbeddedHost]:
        """Hosts that were ejected from this pool: each is a pool of its own, at the address that it had."""
        return list(self._ejected.values())

    @property
    def hosts(self) -> list[HostInfo]:
        """In the order in which they joined; the first one is the coordinator unless that was changed."""
        if isinstance(self._served, ServedFront):
            where, known = self._served.where, self._served.known
            return [HostInfo(where.ref, known.host, "", where.address, where.http_url, where.https_url)]
        found = []
        for ref, where in list(self.pool.hosts.items()):
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
        """Where the coordinator is reached; of a member of another server's pool, where that is."""
        if isinstance(self._served, ServedFront):
            return self.urls[0]
        coordinator = self.pool.coordinator
        return next(host.url for host in self.hosts if host.ref == coordinator)

    @property
    def fingerprint(self) -> str | None:
        """``SHA256:...`` of the certificate; None when https is not served."""
        return self.certificate.fingerprint if self.certificate is not None else None

    @property
    def certificate(self) -> ServerCertificate | None:
        """What https is served with."""
        return self._served.certificate if self._served is not None else None

    @property
    def listener(self) -> Listener:
        """What accepts the connections; another object after a restart."""
        if self._served is None or self._served.doors is None:
            raise RuntimeError("the embedded host is not running")
        return self._served.doors.listener

    def play(self, scenario: Scenario | Path | str | Mapping[str, Any], *, seed: int | None = None) -> Playing:
        """Play a scenario of faults from now on: ``faults.load``."""
        return self.faults.load(scenario, seed=seed)

    def call_counts(self) -> dict[str, int]:
        """Calls and transfers per method since the start or the last ``faults.reset_counts()``."""
        return self.faults.call_counts()

    # inside ------------------------------------------------------------------------------------------------------

    @property
    def _pool_served(self) -> ServedPool:
        if not isinstance(self._served, ServedPool):
            where = f"in {self._served.known.home}" if self._served is not None else ""
            raise RuntimeError(
                f"the host is a member of the pool {where}" if where else "the embedded host is not running"
            )
        return self._served

    def _start(self) -> None:
        from xapikit.host.classes import load_all

        load_all()
        self.settings.state.mkdir(parents=True, exist_ok=True, mode=0o700)
        known = membership(self.settings)
        setup = Setup(self.settings, self._accounts, self._http, self._https, self.faults, self, self.restart_soon)
        if known is None:
            pool = self._served = ServedPool(setup)
            pool.start(self._effects.restarted)
            self._start_ejected()
        else:
            member = self._served = ServedFront(setup, known)
            member.start()
        self._serving.set()

    def _start_ejected(self) -> None:
        served = self._pool_served
        for uuid, machine in served.pool.machines.known().items():
            if not machine.ejected or machine.state or uuid in self._ejected or served.doors is None:
                continue
            http, https = served.doors.place(machine.slot)
            child = EmbeddedHost(
                self.settings.state / "ejected" / uuid,
                names=[machine.name],
                domains=self.settings.domains,
                http=http or False,
                https=https or False,
                username=self.username,
                password=self.password,
                accounts=self._accounts,
                memory_bytes=self.settings.memory_bytes,
                cpus=self.settings.cpus,
                sync=self.settings.sync,
                refusal_seconds=self.settings.refusal_seconds,
                network_backend=self.settings.network_backend,
                options=self.settings.options,
            )
            self._ejected[uuid] = child.start()

    def _stop(self, stop_guests: bool) -> None:
        self._serving.clear()
        served, self._served = self._served, None
        if isinstance(served, ServedPool):
            served.stop(stop_guests=stop_guests)
        elif served is not None:
            served.stop()

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


def _listen(given: bool | str | Listen) -> Listen | None:
    if isinstance(given, Listen):
        return given
    if isinstance(given, str):
        return Listen.parse(given)
    return Listen("127.0.0.1", 0) if given else None
