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
"""The home's side of hosts that joined from other servers: taking them in, serving what their fronts pass on."""

from __future__ import annotations

import contextlib
import logging
import shutil
import socket
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xapikit.host.errors import ApiError
from xapikit.host.faults.control import JOIN_ROLE
from xapikit.host.members import carrying, link, power
from xapikit.host.members.machines import Machine
from xapikit.host.pool import HostAddress
from xapikit.host.server.http import HttpConnection
from xapikit.host.server.listener import Listener

if TYPE_CHECKING:
    from xapikit.host.pool import Pool
    from xapikit.host.server.doors import ServeHost

LOG = logging.getLogger(__name__)


_PLACES = ("address", "http_port", "https_port", "certificate")
"""What a front says of where it listens."""


class Home:
    """Answers the fronts of one pool."""

    def __init__(self, pool: Pool, listener: Listener) -> None:
        self._pool = pool
        self._listener = listener
        self._serve: ServeHost | None = None
        self._lock = threading.Lock()
        self._refused: set[str] = set()
        self._fronts: dict[str, socket.socket] = {}
        self._closed = False
        self._socket = link.listen(pool.state)
        for ref, row in pool.store.all("host").items():
            machine = pool.machines.known().get(row["uuid"])
            if machine is not None and machine.state:
                pool.hosts[ref] = HostAddress(
                    ref, machine.address, machine.http_port, machine.https_port, machine.certificate
                )

    def open(self, serve: ServeHost) -> None:
        """Answer from now on; ``serve`` answers what fronts pass on."""
        self._serve = serve
        threading.Thread(target=self._accept, name="xapi-home", daemon=True).start()

    def close(self) -> None:
        """Let go of the fronts; they find the next home, or are without one."""
        with self._lock:
            self._closed = True
            fronts = list(self._fronts.values())
        for one in (self._socket, *fronts):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def put_out(self, uuid: str) -> None:
        """Tell the front of a host that it is out; one that is not there hears of it when it asks next."""
        with self._lock:
            front = self._fronts.pop(uuid, None)
        if front is not None:
            with contextlib.suppress(OSError):
                link.send(front, {"member": False, "ejected": True})
                front.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while not self._closed:
            try:
                accepted, _ = self._socket.accept()
            except OSError:
                if not self._closed:
                    LOG.exception("fronts cannot reach this pool any more")
                return
            threading.Thread(target=self._answer, args=(accepted,), name="xapi-front", daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        try:
            connection.settimeout(link.ANSWER_SECONDS)
            message = link.receive(connection)
            match message.get("purpose"):
                case "serve":
                    self._carry(connection, message)
                case "stay":
                    self._accompany(connection, message)
                case "join":
                    link.send(connection, self._join(message))
                case "settle":
                    link.send(connection, {"taken": self._settle(str(message["host"]), str(message["join"]))})
        except (OSError, KeyError) as error:
            LOG.debug("a front broke off: %s", error)
        except Exception:
            LOG.exception("a front was not answered")
        finally:
            connection.close()

    # what fronts pass on -----------------------------------------------------------------------------------------

    def _carry(self, connection: socket.socket, message: dict[str, Any]) -> None:
        ref = self._pool.store.by_uuid("host", str(message["host"]))
        serve = self._serve
        if ref is None or serve is None or not self._pool.machines.answers(ref):
            return
        client, secure = str(message["client"]), bool(message["https"])
        self._listener.adopt(
            HttpConnection(connection, https=secure, client_address=client, host=ref),
            lambda request, its: serve(request, its, ref),
        )

    def _accompany(self, connection: socket.socket, message: dict[str, Any]) -> None:
        """A front is there: it stays connected for as long as it is."""
        uuid = str(message["host"])
        ref = self._pool.store.by_uuid("host", uuid)
        machine = self._pool.machines.known().get(uuid)
        if ref is None or machine is None or not machine.state:
            link.send(connection, {"member": False, "ejected": machine is not None and machine.ejected})
            return
        places = {name: message[name] for name in _PLACES}
        self._pool.machines.change(ref, **places)
        self._pool.hosts[ref] = HostAddress(ref, **places)
        with self._pool.store.transaction() as tx:
            self._pool.show_addresses(tx)
        with self._lock:
            before = self._fronts.get(uuid)
            self._fronts[uuid] = connection
        if before is not None:  # its end was not noticed yet
            with contextlib.suppress(OSError):
                before.shutdown(socket.SHUT_RDWR)
        self._pool.machines.hear(uuid, there=True)
        self._pool.heartbeat.kick()
        power.settle(self._pool)
        link.send(connection, {"member": True, "accounts": self._pool.sessions.hashed_accounts()})
        try:
            connection.settimeout(None)
            while connection.recv(64):
                pass
        finally:
            self._gone(uuid, connection)

    def _gone(self, uuid: str, connection: socket.socket) -> None:
        with self._lock:
            current = self._fronts.get(uuid) is connection
            if current:
                del self._fronts[uuid]
        if current and not self._closed and self._pool.store.by_uuid("host", uuid) is not None:
            self._pool.machines.hear(uuid, there=False)
            self._pool.heartbeat.kick()

    # joining -----------------------------------------------------------------------------------------------------

    def _join(self, message: dict[str, Any]) -> dict[str, Any]:
        try:
            self._pool.sessions.check(str(message["session"]))
            self._pool.sessions.require(str(message["session"]), "pool.join", JOIN_ROLE)
            self._take_in(message)
        except ApiError as error:
            return {"taken": False, "error": error.description}
        return {"taken": True, "accounts": self._pool.sessions.hashed_accounts()}

    def _take_in(self, message: dict[str, Any]) -> None:
        """One transaction: before it the host is not a member, after it, it is. Raises ApiError."""
        pool, bundle, join = self._pool, message["bundle"], str(message["join"])
        (row,) = bundle["host"].values()
        uuid, state = row["uuid"], Path(str(message["state"]))
        if pool.store.by_uuid("host", uuid) is not None:
            raise ApiError("OPERATION_NOT_ALLOWED", "Host is already part of a pool")
        # the file names the attempt: a directory that is only called the same is another machine's
        try:
            seen = link.Link.read(state)
        except (OSError, ValueError):
            seen = None
        if seen is None or seen.join != join:
            raise ApiError("OPERATION_NOT_ALLOWED", f"the pool's server cannot see the host's directory {state}")
        places = {name: message[name] for name in _PLACES}
        _copy_programs(state, pool.state, uuid)
        _copy_variables(state, pool.state, [vm["uuid"] for vm in bundle.get("VM", {}).values()])
        pool.machines.admit(uuid, Machine(state=str(state), join=join, **places))
        ref = ""
        try:
            with pool.store.transaction() as tx:
                if join in self._refused:
                    raise ApiError("OPERATION_NOT_ALLOWED", "the host has given this attempt up")
                ref = carrying.adopt(tx, bundle, cpus=pool.settings.cpus)
                # before anybody sees the row: whoever sees it asks where it is
                pool.hosts[ref] = HostAddress(ref, **places)
        except BaseException:
            pool.hosts.pop(ref, None)
            pool.machines.drop(uuid)
            raise
        for sr, record in pool.store.all("SR").items():
            if any(pool.store.get("PBD", pbd)["host"] == ref for pbd in record["PBDs"]):
                pool.storage.forget_repository(sr)
                pool.storage.prepare(sr)

    def _settle(self, uuid: str, join: str) -> bool:
        """Whether that attempt of a host was taken; one that was not never will be."""
        with self._pool.store.transaction():
            machine = self._pool.machines.known().get(uuid)
            taken = machine is not None and machine.join == join and self._pool.store.by_uuid("host", uuid) is not None
            if not taken:
                self._refused.add(join)
            return taken


def _copy_programs(source: Path, target: Path, uuid: str) -> None:
    """Plug-ins and extensions of the host come along."""
    own = source / "dom0" / uuid / "etc"
    if own.is_dir():
        shutil.copytree(own, target / "dom0" / uuid / "etc", symlinks=True, dirs_exist_ok=True)


def _copy_variables(source: Path, target: Path, vms: list[str]) -> None:
    """So do the firmware variables of its VMs."""
    for vm in vms:
        for path in (source / "nvram").glob(f"{vm}*"):
            (target / "nvram").mkdir(exist_ok=True, mode=0o700)
            shutil.copy2(path, target / "nvram" / path.name)
