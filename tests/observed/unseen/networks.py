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
"""What happened between the steps of the file about networks, and what answers showed that were cut."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from observed.replayer import Replayer


def name_the_metrics(replayer: Replayer) -> None:
    replayer.symbols["PIF_metrics_1"] = replayer.ok("PIF.get_metrics", "$pif_eth0_host1")


def name_the_untagged_pif(replayer: Replayer) -> None:
    replayer.symbols["untagged_pif"] = replayer.ok("VLAN.get_untagged_PIF", "$vlan")


def name_the_pif_of_the_bond(replayer: Replayer) -> None:
    replayer.symbols["bond_pif"] = replayer.ok("Bond.get_master", "$bond")


def destroy_the_vlans(replayer: Replayer) -> None:
    for pif in replayer.ok("network.get_PIFs", "$pv_net"):
        replayer.ok("VLAN.destroy", replayer.ok("PIF.get_VLAN_master_of", pif))


def take_the_first_free_bridge(replayer: Replayer) -> None:
    replayer.ok("network.create", {"name_label": "earlier", "other_config": {}})


BEFORE = {
    ("database", "missing_optional_via_network", 0): take_the_first_free_bridge,
    ("network", "pif_record", 1): name_the_metrics,
    ("network", "vlan", 3): name_the_untagged_pif,
    ("network", "pool_create_vlan", 5): destroy_the_vlans,
    ("network", "pool_create_vlan", 7): destroy_the_vlans,
    ("network", "bond", 8): name_the_pif_of_the_bond,
}
