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
"""A bounded set of keep-alive connections to one endpoint, shared by threads."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from xapikit.client.connection import Connection
from xapikit.client.deadline import Deadline
from xapikit.client.endpoint import Endpoint
from xapikit.client.errors import ClientClosed, NotSent
from xapikit.client.tls import TlsPolicy

MAX_IDLE: Final = 30.0
"""Seconds after which an idle connection is not trusted: a server or a middlebox may be about to close it, and a
request that crosses with the close leaves it open whether it was carried out."""


class ConnectionPool:
    """At most ``size`` connections; who finds none free waits. The most recently used is taken first."""

    def __init__(self, endpoint: Endpoint, tls: TlsPolicy, size: int) -> None:
        self.endpoint = endpoint
        self._tls = tls
        self._size = size
        self._condition = threading.Condition()
        self._idle: list[Connection] = []
        self._in_use: set[Connection] = set()
        self._opening = 0
        self._closed = False
        self._retired = False

    @contextmanager
    def connection(self, deadline: Deadline) -> Iterator[Connection]:
        """A connection for one exchange; it is kept if that was completed. Raises :class:`NotSent`."""
        connection = self._take(deadline)
        try:
            yield connection
        finally:
            self._give_back(connection)

    def _take(self, deadline: Deadline) -> Connection:
        dead: list[Connection] = []
        try:
            with self._condition:
                while True:
                    if self._closed:
                        raise ClientClosed("the client was closed", str(self.endpoint))
                    while self._idle:
                        connection = self._idle.pop()
                        if time.monotonic() - connection.last_used < MAX_IDLE and connection.usable():
                            self._in_use.add(connection)
                            return connection
                        dead.append(connection)
                    if len(self._in_use) + self._opening < self._size:
                        self._opening += 1
                        break
                    if not self._condition.wait(deadline.remaining()) and deadline.expired:
                        raise NotSent(f"all {self._size} connections stayed busy", str(self.endpoint))
        finally:
            for connection in dead:
                connection.close()
        return self._open(deadline)

    def _open(self, deadline: Deadline) -> Connection:
        connection = None
        try:
            connection = Connection(self.endpoint, self._tls, deadline)
        finally:
            with self._condition:
                self._opening -= 1
                if connection is None:
                    self._condition.notify()
                elif not self._closed:
                    self._in_use.add(connection)
        if self._closed:
            connection.close()
            raise ClientClosed("the client was closed", str(self.endpoint))
        return connection

    def _give_back(self, connection: Connection) -> None:
        with self._condition:
            self._in_use.discard(connection)
            keep = connection.reusable and not (self._closed or self._retired)
            if keep:
                self._idle.append(connection)
            self._condition.notify()
        if not keep:
            connection.close()

    def drop_idle(self) -> None:
        """Close the connections that nobody uses; the pool stays usable."""
        with self._condition:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def retire(self) -> None:
        """Close connections as they come back: another pool has taken over."""
        with self._condition:
            self._retired = True
        self.drop_idle()

    def close(self) -> None:
        """Close idle connections and wake the threads that wait on the others."""
        with self._condition:
            self._closed = True
            idle, self._idle = self._idle, []
            busy = list(self._in_use)
            self._condition.notify_all()
        for connection in idle:
            connection.close()
        for connection in busy:
            connection.abort()
