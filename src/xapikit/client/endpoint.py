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
"""Where a XAPI server listens."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit


@dataclass(frozen=True)
class Endpoint:
    """One listener. ``host`` is a name or an address, IPv6 without brackets."""

    scheme: str
    host: str
    port: int

    @classmethod
    def parse(cls, url: str) -> Endpoint:
        """From ``https://host[:port][/...]``; without scheme https. Raises ValueError for anything else.

        User names and passwords have no place in such a URL and are refused.
        """
        parts = urlsplit(url if "://" in url else f"https://{url}")
        if parts.scheme not in ("http", "https"):
            raise ValueError(f"URL of a XAPI host starts with https:// or http://, not {parts.scheme}://")
        if parts.username is not None or parts.password is not None:
            raise ValueError("the URL of a XAPI host must not contain a user name or password")
        if not parts.hostname:
            raise ValueError("the URL of a XAPI host needs a host name or address")
        return cls(parts.scheme, parts.hostname, parts.port or (443 if parts.scheme == "https" else 80))

    @property
    def secure(self) -> bool:
        return self.scheme == "https"

    @property
    def netloc(self) -> str:
        """``host:port`` as a Host header has it: IPv6 in brackets, the usual port left out."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        usual = 443 if self.secure else 80
        return host if self.port == usual else f"{host}:{self.port}"

    def __str__(self) -> str:
        return f"{self.scheme}://{self.netloc}"


def endpoint_for(address: str, like: Endpoint, overrides: Mapping[str, str]) -> Endpoint:
    """The endpoint of a host that the server named by its management address.

    ``overrides`` maps such addresses to URLs (or other addresses), for pools behind address translation or with
    several hosts on one address. Otherwise scheme and port are those of ``like``. A bare IPv6 address is understood.
    """
    named = overrides.get(address, address)
    if "://" in named:
        return Endpoint.parse(named)
    try:
        ipaddress.IPv6Address(named.partition("%")[0])
    except ValueError:
        parts = urlsplit(f"//{named}")
        return Endpoint(like.scheme, parts.hostname or named, parts.port or like.port)
    return Endpoint(like.scheme, named, like.port)


def endpoint_for_url(url: str, like: Endpoint, overrides: Mapping[str, str]) -> tuple[Endpoint, str]:
    """Where a URL that the server gave (a redirect, a console's location) leads: endpoint and request target.

    https is never given up for http. Who chose http stays with it, since the servers of a pool that has no
    certificate that could be verified name themselves with https all the same; only an explicit port is believed.
    Raises ValueError for what is no such URL.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"not the location of anything on a XAPI host: {url[:80]!r}")
    target = f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
    with_port = f"{parts.hostname}:{parts.port}" if parts.port else parts.hostname
    for address in (with_port, parts.hostname):
        if address in overrides:
            return endpoint_for(address, like, overrides), target
    if parts.port:
        return Endpoint("https" if like.secure else parts.scheme, parts.hostname, parts.port), target
    return Endpoint(like.scheme, parts.hostname, like.port), target
