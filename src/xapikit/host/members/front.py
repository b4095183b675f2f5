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
"""The server of a host that joined another server's pool: it passes connections on to the pool's home.

While the home cannot be reached it answers by itself, as a member that lost its coordinator: emergency calls and
log-ins at this host alone. Before it knows whether it was taken into the pool it is still booting.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from xapikit.host.facts import software_version
from xapikit.host.faults import Faults
from xapikit.host.handlers.relay import Plain, relay
from xapikit.host.members import link
from xapikit.host.members.link import Link
from xapikit.host.pool import HostAddress, Pool
from xapikit.host.server.dispatch import Dispatcher
from xapikit.host.server.doors import Doors
from xapikit.host.server.http import HttpConnection, HttpRequest, internal_error
from xapikit.host.server.router import Router
from xapikit.host.server.rpc import Rpc
from xapikit.host.server.sessions import Account, HashedAccount
from xapikit.host.settings import HostSettings
from xapikit.host.store import Store

LOG = logging.getLogger(__name__)

_SOMEBODY = "00000000-0000-0000-0000-000000000000"
"""uuid of the coordinator, while it is not known."""
AGAIN_SECONDS = 0.3
"""How long after a failure the home is looked for again."""


class Front:
    """Serves one host of a pool whose home is another server."""

    def __init__(
        self,
        settings: HostSettings,
        known: Link,
        doors: Doors,
        where: HostAddress,
        accounts: dict[str, Account],
        on_left: Callable[[], None],
    ) -> None:
        """``on_left``: called, in a thread of its own, when this host has a pool of its own again."""
        self._state: Path = settings.state
        self._link = known
        self._doors = doors
        self._where = where
        self._on_left = on_left
        self._stopped = threading.Event()
        self._decided = threading.Event()
        self._connected = threading.Event()
        self._lock = threading.Lock()
        self._stay: socket.socket | None = None
        hashed: dict[str, Account] = {user: HashedAccount(hash=entry) for user, entry in known.accounts.items()}
        self._alone = _lonely_pool(settings, known, where, hashed or accounts)
        self._router = Router(self._alone, Rpc(self._alone, Dispatcher(self._alone), Faults()), Faults(), _no_control)

    @property
    def connected(self) -> bool:
        """Whether the home answers."""
        return self._connected.is_set()

    @property
    def home(self) -> str:
        """State directory of the pool's home."""
        return self._link.home

    def wait_connected(self, timeout: float) -> bool:
        """Block until the home answers; False after ``timeout`` seconds."""
        return self._connected.wait(timeout)

    def start(self) -> None:
        self._alone.booting = not self._link.decided
        self._doors.open(0, self._where.ref, self._router.serve, self._pass_on)
        threading.Thread(target=self._follow, name="xapi-member", daemon=True).start()

    def stop(self) -> None:
        self._stopped.set()
        self._doors.close()
        self._alone.sessions.close()
        with self._lock:
            stay = self._stay
        if stay is not None:
            with contextlib.suppress(OSError):
                stay.shutdown(socket.SHUT_RDWR)

    # connections -------------------------------------------------------------------------------------------------

    def _pass_on(self, connection: HttpConnection) -> bool:
        if not (self._link.decided and self._connected.is_set()):
            return False
        message = {
            "purpose": "serve",
            "host": self._link.host,
            "client": connection.client_address,
            "https": connection.https,
        }
        try:
            onward = link.call(self._link.home, message)
        except OSError as error:
            LOG.debug("the home of the pool does not answer: %s", error)
            return False
        with onward:
            relay(connection.socket, onward, Plain(), connection.take_buffered())
        return True

    # being a member ----------------------------------------------------------------------------------------------

    def _follow(self) -> None:
        while not self._stopped.is_set():
            try:
                left = self._stay_connected() if self._link.decided else self._settle()
            except OSError as error:
                LOG.debug("the home of the pool does not answer: %s", error)
                left = False
            except Exception:
                LOG.exception("membership of a pool could not be settled")
                left = False
            self._connected.clear()
            if left:
                threading.Thread(target=self._on_left, name="xapi-left", daemon=True).start()
                return
            if self._link.decided:
                self._stopped.wait(AGAIN_SECONDS)

    def _settle(self) -> bool:
        """Find out what became of the attempt to join. True when there was nothing of it."""
        if not Path(self._link.home).is_dir():
            link.withdraw(self._state)  # there is no such pool any more
            return True
        try:
            question = {"purpose": "settle", "host": self._link.host, "join": self._link.join}
            taken = link.ask(self._link.home, question)["taken"]
        except OSError:
            self._stopped.wait(AGAIN_SECONDS)
            return False
        if not taken:
            link.withdraw(self._state)
            return True
        self._link = link.confirm(self._state, self._link)
        self._alone.booting = False
        return False

    def _stay_connected(self) -> bool:
        """Be connected for as long as that lasts. True when the host was put out of the pool."""
        places = {name: getattr(self._where, name) for name in ("address", "http_port", "https_port", "certificate")}
        with link.call(self._link.home, {"purpose": "stay", "host": self._link.host, **places}) as stay:
            with self._lock:
                self._stay = stay
            said = link.receive(stay)
            while not self._stopped.is_set():
                if not said["member"]:
                    return self._put_out(bool(said["ejected"]))
                self._remember(said["accounts"])
                self._connected.set()
                stay.settimeout(None)
                said = link.receive(stay)
        return False

    def _put_out(self, ejected: bool) -> bool:
        if ejected:
            link.leave(self._state)
            return True
        # destroyed while it was away: real hosts stay in emergency mode then, until somebody installs them anew
        LOG.error("the pool in %s does not know this host any more", self._link.home)
        self._stopped.wait()
        return False

    def _remember(self, accounts: dict[str, str]) -> None:
        if accounts != self._link.accounts:
            self._link = replace(self._link, accounts=accounts)
            self._link.write(self._state, link.MEMBER)
            for user, entry in accounts.items():
                self._alone.sessions.set_account(user, HashedAccount(hash=entry))


def _lonely_pool(settings: HostSettings, known: Link, where: HostAddress, accounts: dict[str, Account]) -> Pool:
    """What a host knows of its pool without a database: itself, and that there is a coordinator which is not here."""
    store = Store()
    directory = settings.state / "run" / "alone"
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    pool = Pool(store, replace(settings, state=directory), accounts, remembered=False)
    software = {"software_version": software_version("")}
    with store.transaction() as tx:
        metrics = tx.create("host_metrics", {"live": True})
        own = {"uuid": known.host, "address": where.address, "metrics": metrics, **software}
        tx.create("host", own, ref=where.ref)
        tx.create("pool", {"master": tx.create("host", {"uuid": _SOMEBODY, **software})})
    pool.machines.enrol([where.ref])
    pool.hosts[where.ref] = where
    pool.away = known.home
    return pool


def _no_control(request: HttpRequest, connection: HttpConnection) -> bool:
    raise internal_error("the pool of this host cannot be reached")
