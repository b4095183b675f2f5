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
"""The XAPI network that stands for Open vSwitch's integration bridge.

Somebody else (Neutron's agent, OVN) owns the bridge. So the network is made with ``managed=false``: XAPI then neither
creates nor removes the bridge, and VIFs on the network become its ports.
"""

from __future__ import annotations

import logging
from typing import Final

from nova_xapi.errors import HypervisorFailed
from nova_xapi.hosts.connection import HostConnection
from nova_xapi.marks import SERVICE
from xapikit.client import EventCache
from xapikit.client import errors as xapi

LOG = logging.getLogger(__name__)

NAME: Final = "OpenStack integration"


def find(conn: HostConnection) -> str | None:
    """Reference of the network, from the cache."""
    return next(iter(conn.cache.find("network", bridge=conn.settings.integration_bridge)), None)


def provide(conn: HostConnection) -> str:
    """Reference of the network; it is made where there is none, once per pool. Raises HypervisorFailed."""
    found = find(conn)
    if found is not None:
        return found
    bridge = conn.settings.integration_bridge
    record = {
        "name_label": NAME,
        "name_description": f"Ports of servers; bridge {bridge} belongs to Open vSwitch's agent or OVN",
        "bridge": bridge,
        "managed": False,
        "MTU": 1500,
        "other_config": {SERVICE: conn.settings.host},
        "tags": [],
    }
    try:
        # twice is refused, since bridge names are unique: whoever made it, then it is there
        conn.call("network.create", record, repeatable=True)
        LOG.info("made network %r for bridge %s", NAME, bridge)
    except xapi.XapiError as error:
        if error.code != "BRIDGE_NAME_EXISTS":
            raise HypervisorFailed(
                f"no network for [xenserver] ovs_integration_bridge = {bridge} can be made on the pool", error
            ) from error
    except xapi.ClientError as error:
        raise HypervisorFailed(f"no network for bridge {bridge} was made", error) from error

    def seen(_: EventCache) -> str | None:
        return find(conn)

    try:
        ref = conn.wait(seen)
    except xapi.WaitTimeout as error:
        raise HypervisorFailed(f"network of bridge {bridge}", error) from error
    assert ref is not None
    return ref
