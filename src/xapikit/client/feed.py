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
"""A thread that follows ``event.from`` over a connection of its own and hands each batch to a handler.

It survives whatever happens to the server: it connects and logs in again for as long as it is not stopped, continues
from its token while the session lives, and starts from the beginning under a new one, since tokens mean nothing to a
restarted server or another coordinator.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from xapikit.client.caller import EMERGENCY, Caller
from xapikit.client.connection import Connection
from xapikit.client.deadline import Deadline
from xapikit.client.errors import (
    CertificateRefused,
    ClientError,
    HostIsSlave,
    NotSent,
    SessionAuthenticationFailed,
    XapiError,
)
from xapikit.client.secret import LOG
from xapikit.client.session import Session

POLL: Final = 20.0
"""Seconds that the server may keep ``event.from`` waiting; also how long silence goes unnoticed, with GRACE."""
GRACE: Final = 15.0

_DELAYS: Final = (0.0, 0.2, 0.5, 1.0, 2.0, 5.0)
_REFUSED_DELAY: Final = 30.0
"""After a wrong password or certificate: those do not change by themselves, and log-ins can lock an account."""


@dataclass(frozen=True)
class Batch:
    """One reply of ``event.from``. ``fresh``: it holds everything there is, as additions."""

    events: Sequence[Mapping[str, Any]]
    counts: Mapping[str, int]
    token: str
    fresh: bool

    @classmethod
    def read(cls, reply: Any, fresh: bool) -> Batch:
        """Raises ValueError for a reply that is none."""
        try:
            return cls(reply["events"], reply["valid_ref_counts"], reply["token"], fresh)
        except (KeyError, TypeError) as error:
            raise ValueError(f"not a reply of event.from: {error}") from None


class Handler(Protocol):
    """Called from the thread of the feed, one call at a time."""

    def begin(self) -> None:
        """The next ``event.from`` is about to be sent."""

    def apply(self, batch: Batch) -> None:
        """A batch arrived; empty when nothing happened for a while."""

    def lost(self, error: Exception) -> None:
        """The feed broke off; it is being restored."""


class EventFeed:
    """Follows ``classes`` (API spelling) until stopped. With :meth:`park` it rests while nobody needs it."""

    def __init__(self, caller: Caller, name: str, classes: Sequence[str], handler: Handler, poll: float = POLL) -> None:
        self._caller = caller
        self._name = name
        self._classes = list(classes)
        self._handler = handler
        self._poll = poll
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._wanted = threading.Event()
        self._wanted.set()
        self._connection: Connection | None = None
        self._thread: threading.Thread | None = None
        self._token = ""
        self._generation = 0
        self._endpoint = caller.sessions.endpoint

    def start(self) -> None:
        with self._lock:
            if self._thread is None and not self._stopping.is_set():
                self._thread = threading.Thread(target=self._run, name=f"xapi-events-{self._name}", daemon=True)
                self._thread.start()

    def stop(self, timeout: float = 5.0) -> None:
        """End the thread; a blocked ``event.from`` is cut off."""
        self._stopping.set()
        self._wanted.set()
        with self._lock:
            thread, connection = self._thread, self._connection
        if connection is not None:
            connection.abort()
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout)

    def park(self) -> None:
        """Send no further ``event.from`` until :meth:`unpark`; the one under way ends by itself."""
        self._wanted.clear()

    def unpark(self) -> None:
        self._wanted.set()

    def _run(self) -> None:
        failures = 0
        while not self._stopping.is_set():
            if not self._wanted.wait(self._poll):
                continue
            try:
                self._turn()
                failures = 0
            except Exception as error:  # the thread must live: whoever waits on it has no other source
                if self._stopping.is_set():
                    break
                delay = self._recover(error, failures)
                failures += 1
                self._stopping.wait(delay)
        self._drop()

    def _turn(self) -> None:
        self._endpoint = self._caller.sessions.endpoint
        try:
            session = self._caller.sessions.current(Deadline(self._poll + GRACE))
        except HostIsSlave as error:
            self._caller.sessions.follow(error, None)
            raise
        if session.generation != self._generation:
            self._token, self._generation = "", session.generation
        connection = self._connect(session)
        fresh = self._token == ""
        self._handler.begin()
        deadline = Deadline(self._poll + GRACE)
        try:
            # the first look must not wait: there may be nothing of these classes yet
            params = [self._classes, self._token, 0.0 if fresh else self._poll]
            reply = self._caller.call_on(connection, session, "event.from", params, deadline)
        except HostIsSlave as error:
            self._caller.sessions.follow(error, session)
            raise
        except XapiError as error:
            if error.code == "SESSION_INVALID":
                self._caller.sessions.forget(session)
            self._token = ""
            raise
        batch = Batch.read(reply, fresh)
        self._handler.apply(batch)
        self._token = batch.token

    def _connect(self, session: Session) -> Connection:
        connection = self._connection
        same = connection is not None and connection.endpoint == session.endpoint
        if same and connection is not None and connection.reusable and connection.usable():
            return connection
        self._drop()
        connection = self._caller.sessions.connect(session.endpoint, Deadline(self._poll + GRACE))
        with self._lock:
            self._connection = connection
            stopping = self._stopping.is_set()
        if stopping:
            connection.abort()
        return connection

    def _drop(self) -> None:
        with self._lock:
            connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _recover(self, error: Exception, failures: int) -> float:
        """Put the feed into a state from which it can go on; the delay before that."""
        if not isinstance(error, XapiError):
            self._drop()
        if not isinstance(error, ClientError):
            # nothing that a server sends may get here; start over with a clean slate
            LOG.exception("event feed %s: reply not understood", self._name)
            self._token = ""
        elif failures <= 1 or failures % 20 == 0:
            LOG.info("event feed %s broke off (failure %d): %s", self._name, failures + 1, error)
        self._handler.lost(error)
        if isinstance(error, SessionAuthenticationFailed | CertificateRefused):
            return _REFUSED_DELAY
        lost = isinstance(error, XapiError) and error.code == EMERGENCY
        if lost or (isinstance(error, NotSent) and failures > 1):
            self._caller.sessions.try_elsewhere(self._endpoint)
        return _DELAYS[min(failures, len(_DELAYS) - 1)]
