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
"""Being logged in: one session for the whole client, at the coordinator, renewed when the server has lost it."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from xapikit.client.connection import Connection
from xapikit.client.deadline import Deadline
from xapikit.client.endpoint import Endpoint, endpoint_for, endpoint_for_url
from xapikit.client.errors import ClientClosed, ClientError, HostIsSlave, NotSent
from xapikit.client.pool import ConnectionPool
from xapikit.client.rpc import Rpc
from xapikit.client.secret import LOG, Redactor, Secret
from xapikit.client.tls import TlsPolicy

LOGOUT_TIMEOUT = 5.0


@dataclass(frozen=True)
class Credentials:
    username: str
    password: Secret
    originator: str
    """Distinctive: a XAPI server ends the oldest of more than 500 sessions of one originator."""


@dataclass(frozen=True)
class Session:
    """``generation`` grows with each log-in: what was learnt under an older one may be out of date."""

    ref: str = field(repr=False)
    endpoint: Endpoint
    generation: int


class SessionKeeper:
    """Knows where the coordinator is and who we are there. Thread-safe."""

    def __init__(
        self,
        endpoints: Iterable[Endpoint],
        credentials: Credentials,
        tls: TlsPolicy,
        rpc: Rpc,
        redactor: Redactor,
        *,
        connections: int,
        overrides: Mapping[str, str],
    ) -> None:
        self.credentials = credentials
        self._tls = tls
        self._rpc = rpc
        self._redactor = redactor
        self._connections = connections
        self._overrides = overrides
        self._login_lock = threading.Lock()
        self._lock = threading.Lock()
        self._known = list(dict.fromkeys(endpoints))
        self._endpoint = self._known[0]
        self._pools: dict[Endpoint, ConnectionPool] = {}
        self._policies: dict[Endpoint, TlsPolicy] = {}
        self._session: Session | None = None
        self._generation = 0
        self._closed = False

    # ---------------------------------------------------------------------------------------------- where

    @property
    def endpoint(self) -> Endpoint:
        """Where calls go now."""
        return self._endpoint

    def endpoint_of(self, address: str) -> Endpoint:
        """The endpoint of a host of the pool, from the management address that the server knows it by."""
        return endpoint_for(address, self._endpoint, self._overrides)

    def locate(self, url: str) -> tuple[Endpoint, str]:
        """Endpoint and request target of a URL that the server gave. Raises ValueError."""
        return endpoint_for_url(url, self._endpoint, self._overrides)

    def pool(self, endpoint: Endpoint) -> ConnectionPool:
        with self._lock:
            if self._closed:
                raise ClientClosed("the client was closed", str(endpoint))
            if endpoint not in self._pools:
                if not endpoint.secure:
                    LOG.warning("%s: passwords and sessions travel in clear text; use https", endpoint)
                self._pools[endpoint] = ConnectionPool(endpoint, self._policy(endpoint), self._connections)
            return self._pools[endpoint]

    def connect(self, endpoint: Endpoint, deadline: Deadline) -> Connection:
        """A connection of its own, outside the pool, for event streams and transfers. The caller closes it."""
        if self._closed:
            raise ClientClosed("the client was closed", str(endpoint))
        return Connection(endpoint, self._policy(endpoint), deadline)

    def _policy(self, endpoint: Endpoint) -> TlsPolicy:
        return self._policies.get(endpoint, self._tls)

    def follow(self, error: HostIsSlave, session: Session | None) -> None:
        """A member named the coordinator: go there, unless another thread has already moved on from ``session``.

        Where certificates are pinned, the fingerprint that the (verified) member tells counts as pinned too.
        """
        target = self.endpoint_of(error.address)
        with self._lock:
            self._trust(target, error.coordinator_fingerprint)
            if session is not None and self._session is not session:
                return
            if target != self._endpoint:
                LOG.info("%s is a pool member; its coordinator is %s", self._endpoint, target)
            self._move(target)

    def _trust(self, target: Endpoint, told: str) -> None:
        if not (told and target.secure and self._tls.pins):
            return
        try:
            policy = self._tls.also_trusting(told)
        except ValueError:
            LOG.warning("%s: a member told a fingerprint that is none: %r", target, told[:80])
            return
        if policy.pins != self._policy(target).pins:
            self._policies[target] = policy
            outdated = self._pools.pop(target, None)
            if outdated is not None:
                outdated.retire()

    def try_elsewhere(self, failed: Endpoint) -> None:
        """Nobody answers at ``failed``: take the next endpoint known, if that is where calls still go."""
        with self._lock:
            if failed == self._endpoint and len(self._known) > 1:
                position = self._known.index(failed) if failed in self._known else -1
                self._move(self._known[(position + 1) % len(self._known)])
                LOG.warning("no connection to %s; trying %s", failed, self._endpoint)

    def learn(self, addresses: Iterable[str]) -> None:
        """Remember where the other hosts of the pool are, in case the coordinator goes away."""
        learnt = [self.endpoint_of(address) for address in addresses if address]
        with self._lock:
            self._known = list(dict.fromkeys([*self._known, *learnt]))

    def _move(self, target: Endpoint) -> None:
        left = self._pools.get(self._endpoint) if target != self._endpoint else None
        self._endpoint = target
        self._session = None
        if target not in self._known:
            self._known.append(target)
        if left is not None:
            left.drop_idle()

    # -------------------------------------------------------------------------------------------- session

    @property
    def generation(self) -> int:
        return self._generation

    def current(self, deadline: Deadline) -> Session:
        """The session, made first where there is none. Raises what a log-in raises."""
        session = self._session
        if session is not None:
            return session
        if not self._login_lock.acquire(timeout=deadline.remaining(threading.TIMEOUT_MAX) or 0.0):
            raise NotSent("another thread is still logging in", str(self._endpoint))
        try:
            return self._session or self._log_in(deadline)
        finally:
            self._login_lock.release()

    def forget(self, session: Session) -> None:
        """The server does not know this session any more; the next call logs in again."""
        with self._lock:
            if self._session is session:
                self._session = None

    def _log_in(self, deadline: Deadline) -> Session:
        endpoint = self._endpoint
        who = self.credentials
        with self.pool(endpoint).connection(deadline) as connection:
            params = [who.username, who.password.reveal(), "1.0", who.originator]
            ref = self._rpc.exchange(connection, "session.login_with_password", params, deadline)
        self._redactor.hide(ref)
        with self._lock:
            if self._closed or endpoint != self._endpoint:
                raise NotSent("the coordinator changed during the log-in", str(endpoint))
            self._generation += 1
            self._session = session = Session(ref, endpoint, self._generation)
        LOG.info("logged in to %s as %s (%s)", endpoint, who.username, who.originator)
        return session

    def close(self) -> None:
        """Log out, which wakes blocked ``event.from`` calls, and close all connections."""
        with self._lock:
            session, self._session = self._session, None
        if session is not None:
            deadline = Deadline(LOGOUT_TIMEOUT)
            try:
                with self.pool(session.endpoint).connection(deadline) as connection:
                    self._rpc.exchange(connection, "session.logout", [session.ref], deadline)
            except ClientError as error:
                LOG.info("log-out from %s failed; the server ends the session in a day: %s", session.endpoint, error)
        with self._lock:
            self._closed = True
            pools = list(self._pools.values())
        for pool in pools:
            pool.close()
