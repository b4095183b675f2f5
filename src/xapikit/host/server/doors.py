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
"""The listening sockets of a pool's hosts: each host's open and close on their own, on addresses that stay theirs."""

from __future__ import annotations

import contextlib
import ssl
import threading
from collections.abc import Callable, Collection
from typing import TypeAlias

from xapikit.host.server.addresses import bind_hosts, host_addresses, port_of
from xapikit.host.server.http import HttpConnection, HttpRequest
from xapikit.host.server.listener import Bound, Listener, Take, bind
from xapikit.host.settings import Listen

ServeHost: TypeAlias = Callable[[HttpRequest, HttpConnection, str], bool]
"""Answers a request addressed to a host (a reference); True when the connection may carry another."""


class Door:
    """Where one host listens."""

    def __init__(self, sockets: list[Bound], address: str) -> None:
        self.address = address
        self.bound: list[Bound] = sockets
        self.host = ""
        """Who is served there now; empty: nobody."""
        self.ports = {one.tls is not None: one.port for one in sockets}

    @property
    def http_port(self) -> int | None:
        return self.ports.get(False)

    @property
    def https_port(self) -> int | None:
        return self.ports.get(True)


class Doors:
    """The doors of all hosts of a server, by their place."""

    def __init__(
        self,
        http: Listen | None,
        https: Listen | None,
        tls: ssl.SSLContext | None,
        count: int,
        absent: Collection[int] = (),
    ) -> None:
        """Bind everything but the places in ``absent``, which are others'; nothing is served yet. Raises OSError,
        ValueError."""
        self._tls = tls
        self._lock = threading.Lock()
        self.listener = Listener()
        first = (https or http or Listen("127.0.0.1")).address
        addresses = host_addresses(first, count)
        made: list[list[Bound]] = [[] for _ in range(count)]
        self._ports: list[dict[bool, int]] = [{} for _ in range(count)]
        with contextlib.ExitStack() as undo:
            for listen, context, secure in ((http, None, False), (https, tls, True)):
                if listen is None:
                    continue
                bound = bind_hosts(listen, count, context, absent)
                for number, one in bound.items():
                    undo.callback(one.socket.close)
                    made[number].append(one)
                for number in range(count):
                    port = bound[number].port if number in bound else port_of(listen, addresses, number, bound)
                    self._ports[number][secure] = port
            undo.pop_all()
        self._doors = [Door(sockets, address) for sockets, address in zip(made, addresses, strict=True)]

    def door(self, slot: int) -> Door:
        return self._doors[slot]

    def place(self, slot: int) -> tuple[Listen | None, Listen | None]:
        """Where a host is to be served over http and https, also one that is not served here."""
        address, ports = self._doors[slot].address, self._ports[slot]
        http, https = (Listen(address, ports[secure]) if secure in ports else None for secure in (False, True))
        return http, https

    def open(self, slot: int, host: str, serve: ServeHost, take: Take | None = None) -> None:
        """Serve a host at its door; it is bound again where it was if it was shut. Raises OSError."""
        with self._lock:
            door = self._doors[slot]
            if door.host:
                return
            if not door.bound:
                tls = {False: None, True: self._tls}
                door.bound = [bind(door.address, port, tls[secure]) for secure, port in door.ports.items()]
            door.host = host
            for one in door.bound:
                self.listener.serve(one, lambda request, connection: serve(request, connection, host), host, take)

    def shut(self, slot: int) -> None:
        """Nobody listens there any more, and every connection is cut."""
        with self._lock:
            self._shut(self._doors[slot])

    def shut_unserved(self) -> None:
        """Let go of the addresses where nobody is at home; they were bound to keep them together."""
        with self._lock:
            for door in self._doors:
                if not door.host:
                    self._shut(door)

    def close(self) -> None:
        """Shut them all."""
        self.listener.close()
        with self._lock:
            for door in self._doors:
                self._shut(door)

    def _shut(self, door: Door) -> None:
        host, door.host = door.host, ""
        bound, door.bound = door.bound, []
        if host:
            self.listener.shut(host)
        for one in bound:
            one.socket.close()
