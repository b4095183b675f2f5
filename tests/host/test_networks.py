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
"""Networks, NICs and VLANs of a host (recorded in observed/network)."""

import pytest

from xapi_caller import Caller


@pytest.fixture
def network(call: Caller) -> str:
    ref: str = call("network.create", {"name_label": "n", "other_config": {}})
    return ref


def pif(call: Caller, device: str) -> str:
    return next(ref for ref, row in call("PIF.get_all_records").items() if row["device"] == device)


def test_a_new_network_gets_the_first_free_bridge_and_defaults(call: Caller, network: str) -> None:
    record = call("network.get_record", network)
    assert record["bridge"] == "xapi0"
    assert (record["MTU"], record["managed"], record["default_locking_mode"]) == (1500, True, "unlocked")


@pytest.mark.parametrize("bridge", ["xapi99", "xenbr9", "tap0", "vif1", "eth7", "averyveryverylongname", "xenbr0"])
@pytest.mark.parametrize("managed", [True, False])
def test_bridges_of_the_toolstack_cannot_be_taken(call: Caller, bridge: str, managed: bool) -> None:
    record = {"name_label": "n", "other_config": {}, "bridge": bridge, "managed": managed}
    assert call.error("network.create", record) == ["INVALID_VALUE", "bridge", bridge]


def test_an_unmanaged_network_takes_any_free_bridge_once(call: Caller) -> None:
    record = {"name_label": "n", "other_config": {}, "bridge": "br-int", "managed": False}
    ref = call("network.create", record)
    assert call("network.get_managed", ref) is False
    assert call.error("network.create", record) == ["BRIDGE_NAME_EXISTS", "br-int"]


def test_what_is_used_or_the_systems_is_not_destroyed(call: Caller) -> None:
    by_bridge = {row["bridge"]: ref for ref, row in call("network.get_all_records").items()}
    assert call.error("network.destroy", by_bridge["xenapi"])[0] == "CANNOT_DESTROY_SYSTEM_NETWORK"
    assert call.error("network.destroy", by_bridge["xenbr1"]) == ["NETWORK_CONTAINS_PIF", pif(call, "eth1")]


def test_purposes_exclude_each_other(call: Caller, network: str) -> None:
    call("network.add_purpose", network, "nbd")
    call("network.add_purpose", network, "nbd")
    error = call.error("network.add_purpose", network, "insecure_nbd")
    assert error == ["NETWORK_INCOMPATIBLE_PURPOSES", "insecure_nbd", "nbd"]
    assert call("network.get_purpose", network) == ["nbd"]


def test_the_management_interface_stays_up(call: Caller) -> None:
    eth0, eth2 = pif(call, "eth0"), pif(call, "eth2")
    assert call.error("PIF.unplug", eth0) == ["PIF_IS_MANAGEMENT_INTERFACE", eth0]
    call("PIF.unplug", eth2)
    assert call("PIF.get_currently_attached", eth2) is False
    call("PIF.plug", eth2)
    call("PIF.set_disallow_unplug", eth2, True)
    assert call.error("PIF.unplug", eth2) == ["PIF_DOES_NOT_ALLOW_UNPLUG", eth2]


def test_a_vlan_is_an_untagged_pif_on_its_network(call: Caller, network: str) -> None:
    eth2 = pif(call, "eth2")
    vlan = call("VLAN.create", eth2, 42, network)
    untagged = call("VLAN.get_untagged_PIF", vlan)
    record = call("PIF.get_record", untagged)
    assert (record["device"], record["VLAN"], record["MAC"]) == ("eth2", 42, "fe:ff:ff:ff:ff:ff")
    assert call("PIF.get_VLAN_slave_of", eth2) == [vlan]
    assert call.error("VLAN.create", eth2, 5000, network) == ["VLAN_TAG_INVALID", "5000"]
    assert call.error("VLAN.create", untagged, 44, network) == ["PIF_IS_VLAN", untagged]
    assert call.error("network.destroy", network) == ["NETWORK_CONTAINS_PIF", untagged]
    call("VLAN.destroy", vlan)
    assert call.error("PIF.get_record", untagged) == ["HANDLE_INVALID", "PIF", untagged]
    call("network.destroy", network)


def test_addresses_are_checked(call: Caller) -> None:
    eth2 = pif(call, "eth2")
    call("PIF.reconfigure_ip", eth2, "Static", "10.99.0.5", "255.255.255.0", "", "")
    assert call("PIF.get_IP", eth2) == "10.99.0.5"
    error = call.error("PIF.reconfigure_ip", eth2, "Static", "bad", "", "", "")
    assert error == ["INVALID_IP_ADDRESS_SPECIFIED", "IP"]


def test_a_bond_takes_its_members_over_and_gives_them_back(call: Caller, network: str) -> None:
    eth2, eth3 = pif(call, "eth2"), pif(call, "eth3")
    assert call.error("Bond.create", network, [], "") == ["PIF_BOND_NEEDS_MORE_MEMBERS"]
    bond = call("Bond.create", network, [eth2, eth3], "", "active-backup", {})
    record = call("PIF.get_record", call("Bond.get_master", bond))
    assert (record["device"], record["physical"], record["bond_master_of"]) == ("bond0", False, [bond])
    assert call("PIF.get_bond_slave_of", eth2) == bond
    assert call.error("PIF.plug", eth2) == ["CANNOT_PLUG_BOND_SLAVE", eth2]
    error = call.error("Bond.set_property", bond, "hashing_algorithm", "src_mac")
    assert error == ["INVALID_VALUE", "properties", "hashing_algorithm = src_mac"]
    call("Bond.destroy", bond)
    assert call("PIF.get_bond_slave_of", eth2) == "OpaqueRef:NULL"
    assert call("network.get_PIFs", network) == []
