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
"""ML2 mechanism driver `xapi_unwired`: binds ports and wires none. For demonstrations and tests.

Nova refuses a server whose port is not bound, and waits for the event that a bound port is wired. Without an agent
nobody would do either. This driver binds each port on every host at once and reports it active, so servers get
their port, MAC and addresses, and no tenant connectivity.
"""

from __future__ import annotations

from typing import Any

from neutron_lib import constants
from neutron_lib.api.definitions import portbindings
from neutron_lib.plugins.ml2 import api


class UnwiredMechanismDriver(api.MechanismDriver):
    """Binds normal ports as an Open vSwitch agent would have it, filtering promised to nobody."""

    def initialize(self) -> None:
        """Nothing to set up: no agents, no tables."""

    @property
    def connectivity(self) -> str:
        return str(portbindings.CONNECTIVITY_L2)

    def bind_port(self, context: Any) -> None:
        vnic = context.current.get(portbindings.VNIC_TYPE, portbindings.VNIC_NORMAL)
        if vnic != portbindings.VNIC_NORMAL or not context.segments_to_bind:
            return
        context.set_binding(
            context.segments_to_bind[0][api.ID],
            portbindings.VIF_TYPE_OVS,
            {
                portbindings.CAP_PORT_FILTER: False,
                portbindings.OVS_HYBRID_PLUG: False,
                portbindings.VIF_DETAILS_BRIDGE_NAME: "br-int",
                portbindings.VIF_DETAILS_CONNECTIVITY: self.connectivity,
            },
            status=constants.PORT_STATUS_ACTIVE,
        )
