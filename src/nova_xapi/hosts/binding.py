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
"""Which XAPI host a compute service manages, and why it may refuse to start.

Every refusal says what was found and what to do about it.
"""

from __future__ import annotations

import logging
import socket
from typing import Final

from nova_xapi.errors import HostRefused
from nova_xapi.settings import Settings
from xapikit.client import EventCache, Record, XapiClient
from xapikit.client import errors as xapi
from xapikit.client.endpoint import Endpoint

LOG = logging.getLogger(__name__)

MAINTENANCE: Final = "MAINTENANCE_MODE"


def log_in(client: XapiClient, settings: Settings) -> None:
    """Log in. Raises HostRefused for each way in which that can fail."""
    where = " or ".join(settings.urls)
    try:
        client.connect(settings.login_timeout)
    except xapi.SessionAuthenticationFailed as error:
        raise HostRefused(
            f"The XAPI host at {where} refuses user {settings.username!r} with this password: set [xenserver] "
            f"connection_username and connection_password"
        ) from error
    except xapi.CertificateRefused as error:
        raise HostRefused(f"{error}") from error
    except xapi.HostIsSlave as error:
        raise HostRefused(
            f"The XAPI host at {where} is a member of a pool whose coordinator is known as {error.address}, which does "
            f"not answer as such: see [xenserver] connection_addresses"
        ) from error
    except xapi.TransportError as error:
        raise HostRefused(
            f"No XAPI host answers at {where} within {settings.login_timeout:g} s: {error}. Is [xenserver] "
            f"connection_url right, is the host up, and is its port open from here?"
        ) from error
    except xapi.ClientError as error:
        raise HostRefused(f"The XAPI host at {where} does not let this service in: {error}") from error


def find_host(cache: EventCache, settings: Settings) -> tuple[str, Record]:
    """Reference and record of the host that the service manages. Raises HostRefused, listing the hosts there are."""
    hosts = cache.records("host")
    if settings.host_uuid:
        found = cache.by_uuid("host", settings.host_uuid)
        if found is None:
            raise HostRefused(
                f"No host of this pool has the uuid {settings.host_uuid} of [xenserver] connection_host_uuid. "
                f"It has: {_listing(hosts)}"
            )
        return found
    if len(hosts) == 1:
        return next(iter(hosts.items()))
    names = _names(settings)
    matching = [
        (ref, record)
        for ref, record in hosts.items()
        if names & {record["address"].lower(), record["hostname"].lower()}
    ] or [(ref, record) for ref, record in hosts.items() if record["name_label"].lower() in names]
    if len(matching) != 1:
        raise HostRefused(
            f"{'None' if not matching else 'More than one'} of the {len(hosts)} hosts of this pool is the one that "
            f"{settings.urls[0]} names. Set [xenserver] connection_host_uuid to one of: {_listing(hosts)}"
        )
    return matching[0]


def check_usable(cache: EventCache, host: Record) -> None:
    """Raises HostRefused when the host is down, disabled or in maintenance."""
    name = f"Host {host['name_label']} ({host['uuid']})"
    metrics = cache.get("host_metrics", host["metrics"])
    if metrics is None or not metrics["live"]:
        raise HostRefused(f"{name} is down, as its pool sees it: start it, then start this service")
    if not host["enabled"]:
        mode = "in maintenance mode" if MAINTENANCE in host["other_config"] else "disabled"
        raise HostRefused(f"{name} is {mode}: end that (xe host-enable uuid={host['uuid']}), then start this service")


def _listing(hosts: dict[str, Record]) -> str:
    return ", ".join(f"{one['uuid']} ({one['name_label']}, {one['address']})" for one in hosts.values())


def _names(settings: Settings) -> set[str]:
    """What the host of the first URL may be called in its pool: as written, resolved, and behind translation."""
    endpoint = Endpoint.parse(settings.urls[0])
    names = {endpoint.host.lower(), f"{endpoint.host.lower()}:{endpoint.port}"}
    for managed, reached in settings.addresses.items():
        target = reached if "://" in reached else f"{endpoint.scheme}://{reached}"
        if (endpoint.host, endpoint.port) == _place(target, endpoint.port):
            names.add(managed.lower())
    try:
        names |= {str(found[4][0]) for found in socket.getaddrinfo(endpoint.host, endpoint.port)}
    except OSError as error:
        LOG.debug("%s is not resolved: %s", endpoint.host, error)
    return names


def _place(url: str, default_port: int) -> tuple[str, int]:
    endpoint = Endpoint.parse(url)
    return endpoint.host, endpoint.port if ":" in url.partition("://")[2].rpartition("]")[2] else default_port
