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
"""Sending calls so that each has its effect once: what is tried again, when, and what never is.

The rules, in one place:

=====================================  ===============================================================
what came back                         what happens
=====================================  ===============================================================
SESSION_INVALID                        the call was not carried out: log in once, send again
HOST_IS_SLAVE                          not carried out: go to the coordinator, send again
HOST_STILL_BOOTING,                    not carried out: back off, send again
TOO_MANY_PENDING_TASKS,
HOST_IN_EMERGENCY_MODE
NotSent                                not carried out: back off, send again (elsewhere, if known)
MaybeSent                              send again only if twice does what once does, else tell the caller
CallTimedOut, HttpError,               tell the caller
CertificateRefused, other errors
=====================================  ===============================================================
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

from xapikit.client.backoff import Backoff
from xapikit.client.connection import Connection
from xapikit.client.deadline import Deadline
from xapikit.client.endpoint import Endpoint
from xapikit.client.errors import (
    CallTimedOut,
    CertificateRefused,
    ClientClosed,
    HostIsSlave,
    MaybeSent,
    NotSent,
    XapiError,
)
from xapikit.client.methods import traits
from xapikit.client.rpc import Rpc
from xapikit.client.secret import LOG
from xapikit.client.session import Session, SessionKeeper

EMERGENCY: Final = "HOST_IN_EMERGENCY_MODE"
_NOT_YET: Final = frozenset(("HOST_STILL_BOOTING", "TOO_MANY_PENDING_TASKS", EMERGENCY))
_FINAL: Final = (CallTimedOut, CertificateRefused, ClientClosed)


class Caller:
    """Carries out calls with a session. Thread-safe."""

    def __init__(self, sessions: SessionKeeper, rpc: Rpc, patience: float) -> None:
        """``patience``: seconds during which a server that cannot be reached or is starting is tried again."""
        self.sessions = sessions
        self.closing = threading.Event()
        self._rpc = rpc
        self._patience = patience

    def call(self, method: str, params: Sequence[Any], deadline: Deadline, repeatable: bool | None = None) -> Any:
        """The value of a call; see the table above. ``repeatable`` overrules what the method's name says."""
        known = traits(method)
        repeat = known.repeatable if repeatable is None else repeatable

        def once(session: Session | None) -> Any:
            started = time.monotonic()
            if session is None:
                value = self._send(self.sessions.endpoint, method, params, deadline)
            else:
                value = self._send(session.endpoint, method, [session.ref, *params], deadline)
            LOG.debug("%s: %.1f ms", method, (time.monotonic() - started) * 1e3)
            return value

        return self._persist(once, deadline, known.takes_session, repeat)

    def check(self, deadline: Deadline) -> None:
        """Log in unless that was done, as persistently as a call would."""
        self._persist(lambda session: None, deadline, True, True)

    def _persist(
        self, once: Callable[[Session | None], Any], deadline: Deadline, with_session: bool, repeat: bool
    ) -> Any:
        backoff = Backoff(self._patience, deadline, self.closing)
        renewed = redirects = 0
        while True:
            session: Session | None = None
            endpoint = self.sessions.endpoint
            try:
                if with_session:
                    session = self.sessions.current(deadline)
                return once(session)
            except HostIsSlave as error:
                redirects += 1
                # members that name each other, or a coordinator that is gone: wait for who takes over
                if redirects > 1 and not backoff.pause():
                    raise
                self.sessions.follow(error, session)
            except XapiError as error:
                if error.code == "SESSION_INVALID" and session is not None and not renewed:
                    renewed += 1
                    LOG.info("%s does not know our session any more; logging in again", session.endpoint)
                    self.sessions.forget(session)
                elif error.code not in _NOT_YET or not backoff.pause():
                    raise
                elif error.code == EMERGENCY:
                    self.sessions.try_elsewhere(endpoint)
            except _FINAL:
                raise
            except (NotSent, MaybeSent) as error:
                # a log-in that may have been sent is repeated: the worst is a session that nobody uses
                harmless = isinstance(error, NotSent) or repeat or (with_session and session is None)
                if not harmless or not backoff.pause():
                    raise
                LOG.info("trying again (failure %d): %s", backoff.failures, error)
                if isinstance(error, NotSent) and backoff.failures > 1:
                    self.sessions.try_elsewhere(endpoint)

    def _send(self, endpoint: Endpoint, method: str, params: Sequence[Any], deadline: Deadline) -> Any:
        with self.sessions.pool(endpoint).connection(deadline) as connection:
            return self._rpc.exchange(connection, method, params, deadline)

    def call_on(self, connection: Connection, session: Session, method: str, params: Sequence[Any],
                deadline: Deadline) -> Any:  # fmt: skip
        """One exchange over a connection of the caller's own, nothing tried again: for event streams."""
        return self._rpc.exchange(connection, method, [session.ref, *params], deadline)

    def close(self) -> None:
        self.closing.set()
        self.sessions.close()
