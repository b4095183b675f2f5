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
"""Where the hosts of a pool listen.

A host has an address of its own and the usual ports. On loopback every host of a pool gets the next address
(127.0.0.1, 127.0.0.2...) with the same port, so that HOST_IS_SLAVE, which names an address alone, can be followed.
On any other address further hosts get the next ports, and the address they give away carries the port.
"""

from __future__ import annotations

import errno
import ipaddress
import socket
import ssl
from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack

from xapikit.host.server.listener import Bound, bind
from xapikit.host.settings import Listen

_ATTEMPTS = 50


def host_addresses(first: str, hosts: int) -> list[str]:
    """The address of each host of a pool whose first one listens on ``first``. Raises ValueError."""
    try:
        address = ipaddress.ip_address(first)
    except ValueError:
        raise ValueError(f"{first!r} is not an IP address") from None
    if isinstance(address, ipaddress.IPv4Address) and address.is_loopback:
        return [str(address + number) for number in range(hosts)]
    return [first] * hosts


def advertised(address: str) -> str:
    """The address that others are told: that of the way out for a wildcard, the address itself otherwise."""
    if not ipaddress.ip_address(address).is_unspecified:
        return address
    family, elsewhere = (socket.AF_INET6, "2001:db8::1") if ":" in address else (socket.AF_INET, "192.0.2.1")
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.settimeout(1)
        try:
            probe.connect((elsewhere, 9))  # nothing is sent: only the route is looked up
        except OSError:
            return "::1" if family == socket.AF_INET6 else "127.0.0.1"
        return str(probe.getsockname()[0])


def bind_hosts(
    listen: Listen, hosts: int, tls: ssl.SSLContext | None, absent: Collection[int] = ()
) -> dict[int, Bound]:
    """One listening socket per host, by its place, without those in ``absent``. Raises OSError, ValueError; nothing
    stays open then."""
    addresses = host_addresses(listen.address, hosts)
    for attempt in range(_ATTEMPTS):
        try:
            return _bind_all(addresses, listen.port, tls, absent)
        except OSError as error:
            # a port that the system chose for the first address can be taken on the next one
            if listen.port or error.errno != errno.EADDRINUSE or attempt == _ATTEMPTS - 1:
                raise
    raise AssertionError("unreachable")


def port_of(listen: Listen, addresses: Sequence[str], number: int, bound: Mapping[int, Bound]) -> int:
    """The port for a host: the same on addresses of their own, the next ones on a common address."""
    common = number > 0 and addresses[number] == addresses[0]
    if listen.port:
        return listen.port + number if common else listen.port
    return 0 if common or not bound else next(iter(bound.values())).port


def _bind_all(
    addresses: Sequence[str], port: int, tls: ssl.SSLContext | None, absent: Collection[int]
) -> dict[int, Bound]:
    bound: dict[int, Bound] = {}
    with ExitStack() as undo:
        for number, address in enumerate(addresses):
            if number in absent:
                continue
            made = bind(address, port_of(Listen(address, port), addresses, number, bound), tls)
            undo.callback(made.socket.close)
            bound[number] = made
        undo.pop_all()
    return bound
