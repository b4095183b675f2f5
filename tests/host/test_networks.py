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

from collections.abc import Callable

import pytest

from xapi_caller import Caller
from xapikit.host import EmbeddedHost


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
    assert call("PIF.get_VLAN_master_of", untagged) == vlan
    other = call("network.create", {"name_label": "o", "other_config": {}})
    assert call.error("VLAN.create", eth2, 5000, other) == ["VLAN_TAG_INVALID", "5000"]
    assert call.error("VLAN.create", eth2, 42, other) == ["PIF_VLAN_EXISTS", "eth2"]
    assert call.error("VLAN.create", untagged, 44, other) == ["PIF_IS_VLAN", untagged]
    host = call("PIF.get_host", eth2)
    assert call.error("VLAN.create", eth2, 5000, network) == ["NETWORK_ALREADY_CONNECTED", host, untagged]
    assert call.error("network.destroy", network) == ["NETWORK_CONTAINS_PIF", untagged]
    call("VLAN.destroy", vlan)
    assert call.error("PIF.get_record", untagged) == ["HANDLE_INVALID", "PIF", untagged]
    call("network.destroy", network)


def test_what_lost_its_interfaces_can_still_be_destroyed(call: Caller, network: str) -> None:
    eth2, other = pif(call, "eth2"), call("network.create", {"name_label": "o", "other_config": {}})
    call("PIF.reconfigure_ip", eth2, "Static", "10.99.0.5", "255.255.255.0", "", "")
    vlan, tunnel = call("VLAN.create", eth2, 42, network), call("tunnel.create", eth2, other)
    untagged, access = call("VLAN.get_untagged_PIF", vlan), call("tunnel.get_access_PIF", tunnel)
    for ref in (untagged, access, eth2):
        call("PIF.db_forget", ref)
    call("VLAN.destroy", vlan)
    call("tunnel.destroy", tunnel)
    assert call("VLAN.get_all") == call("tunnel.get_all") == []


def test_rows_are_introduced_as_they_are_told(call: Caller, network: str) -> None:
    eth2 = call("PIF.get_record", pif(call, "eth2"))
    untagged = call(
        "PIF.db_introduce", "eth2", network, eth2["host"], "fe:ff:ff:ff:ff:ff", 1500, 42, False, "None", "", "", "", "",
        "OpaqueRef:NULL", "OpaqueRef:NULL", False, {"k": "v"}, True, "None", [], "", "IPv4", True, {},
    )  # fmt: skip
    record = call("PIF.get_record", untagged)
    assert (record["VLAN"], record["disallow_unplug"], record["currently_attached"]) == (42, True, False)
    vlan = call("VLAN.pool_introduce", pif(call, "eth2"), untagged, 42, {})
    assert call("PIF.get_VLAN_slave_of", pif(call, "eth2")) == [vlan]
    brought = call("network.pool_introduce", "brought", "", 9000, {}, "br-mine", False, ["nbd"])
    record = call("network.get_record", brought)
    assert (record["MTU"], record["managed"], record["purpose"]) == (9000, False, ["nbd"])


def test_the_older_calls_make_and_destroy_vlans(call: Caller, network: str) -> None:
    eth2 = pif(call, "eth2")
    host = call("PIF.get_host", eth2)
    untagged = call("PIF.create_VLAN", "eth2", network, host, 7)
    assert call("PIF.get_VLAN", untagged) == 7
    assert call.error("PIF.create_VLAN", "eth9", network, host, 7) == ["INVALID_VALUE", "device", "eth9"]
    assert call.error("PIF.destroy", eth2) == ["PIF_IS_PHYSICAL", eth2]
    call("PIF.destroy", untagged)
    assert call("network.get_PIFs", network) == []
    assert call("PIF_metrics.get_carrier", call("PIF.get_metrics", eth2)), "shared with the VLAN, and still there"


def test_a_forgotten_nic_comes_back_with_a_scan(call: Caller) -> None:
    eth3 = pif(call, "eth3")
    record = call("PIF.get_record", eth3)
    call("PIF.forget", eth3)
    call("PIF.scan", record["host"])
    found = call("PIF.get_record", pif(call, "eth3"))
    same = ("MAC", "network", "device", "physical", "managed", "ip_configuration_mode")
    assert {name: found[name] for name in same} == {name: record[name] for name in same}
    call("PIF.forget", pif(call, "eth3"))
    introduced = call("PIF.introduce", record["host"], "", "eth3", False)
    assert call("PIF.get_MAC", introduced) == record["MAC"]
    assert call.error("PIF.plug", introduced) == ["PIF_UNMANAGED", introduced]


def test_one_pool_reads_disks_one_way(call: Caller, network: str) -> None:
    other = call("network.create", {"name_label": "o", "other_config": {}})
    call("network.add_purpose", network, "nbd")
    assert call.error("network.add_purpose", other, "insecure_nbd")[0] == "NETWORK_INCOMPATIBLE_PURPOSES"
    call("network.remove_purpose", network, "nbd")
    call("network.add_purpose", other, "insecure_nbd")


@pytest.mark.parametrize("protocol", ["gre", "vxlan"])
def test_a_tunnel_needs_an_address_below_and_goes_down_with_it(call: Caller, network: str, protocol: str) -> None:
    eth2 = pif(call, "eth2")
    assert call.error("tunnel.create", eth2, network, protocol) == ["TRANSPORT_PIF_NOT_CONFIGURED", eth2]
    call("PIF.reconfigure_ip", eth2, "Static", "10.99.0.5", "255.255.255.0", "", "")
    tunnel = call("tunnel.create", eth2, network, protocol)
    record = call("tunnel.get_record", tunnel)
    assert (record["protocol"], record["transport_PIF"]) == (protocol, eth2)
    assert record["status"] == {"active": "true"}
    access = call("PIF.get_record", record["access_PIF"])
    assert (access["device"], access["network"], access["currently_attached"]) == ("tunnel0", network, True)
    other = call("network.create", {"name_label": "o", "other_config": {}})
    assert call.error("tunnel.create", record["access_PIF"], other) == ["IS_TUNNEL_ACCESS_PIF", record["access_PIF"]]
    assert call.error("VLAN.create", record["access_PIF"], 5, other)[0] == "IS_TUNNEL_ACCESS_PIF"
    assert call.error("PIF.forget", eth2) == ["PIF_TUNNEL_STILL_EXISTS", eth2]
    call("PIF.unplug", eth2)
    assert call("PIF.get_currently_attached", record["access_PIF"]) is False
    assert call("tunnel.get_status", tunnel) == {"active": "false"}
    call("PIF.plug", record["access_PIF"])
    assert call("PIF.get_currently_attached", eth2) is True
    call("tunnel.destroy", tunnel)
    assert call("network.get_PIFs", network) == []


def test_a_bond_takes_tunnels_and_vlans_over(call: Caller, network: str) -> None:
    eth2, eth3 = pif(call, "eth2"), pif(call, "eth3")
    tagged = call("network.create", {"name_label": "v", "other_config": {}})
    tunnelled = call("network.create", {"name_label": "t", "other_config": {}})
    call("PIF.reconfigure_ip", eth2, "Static", "10.99.0.5", "255.255.255.0", "", "")
    vlan, tunnel = call("VLAN.create", eth2, 9, tagged), call("tunnel.create", eth2, tunnelled)
    bond = call("Bond.create", network, [eth2, eth3], "")
    master = call("Bond.get_master", bond)
    assert call("VLAN.get_tagged_PIF", vlan) == call("tunnel.get_transport_PIF", tunnel) == master
    assert call("PIF.get_device", call("VLAN.get_untagged_PIF", vlan)) == "bond0"
    call("Bond.destroy", bond)
    assert call("VLAN.get_tagged_PIF", vlan) == call("tunnel.get_transport_PIF", tunnel) == eth2


def test_a_bond_has_the_addresses_of_its_first_configured_member(call: Caller, network: str) -> None:
    eth2, eth3 = pif(call, "eth2"), pif(call, "eth3")
    call("PIF.reconfigure_ip", eth3, "Static", "10.99.0.5", "255.255.255.0", "10.99.0.1", "10.99.0.53")
    call("PIF.reconfigure_ipv6", eth3, "Static", "fd00::5/64", "fd00::1", "")
    names = ("ip_configuration_mode", "IP", "netmask", "gateway", "DNS", "ipv6_configuration_mode", "IPv6")
    before = {name: call("PIF.get_record", eth3)[name] for name in names}
    bond = call("Bond.create", network, [eth2, eth3], "")
    master, member = (call("PIF.get_record", ref) for ref in (call("Bond.get_master", bond), eth3))
    assert {name: master[name] for name in names} == before
    assert (member["IP"], member["IPv6"], member["ip_configuration_mode"]) == ("", [], "None")
    assert call("Bond.get_primary_slave", bond) == eth3 and master["MAC"] == member["MAC"]
    call("Bond.destroy", bond)
    assert {name: call("PIF.get_record", eth3)[name] for name in names} == before


def test_a_pool_has_one_sdn_controller(call: Caller, network: str) -> None:
    assert call.error("SDN_controller.introduce", "ssl", "", 0) == ["INVALID_VALUE", "address", ""]
    assert call.error("SDN_controller.introduce", "pssl", "", 1) == ["INVALID_VALUE", "port", "1"]
    error = call.error("SDN_controller.introduce", "ssl", "nowhere", 0)
    assert error == ["INVALID_IP_ADDRESS_SPECIFIED", "address"]
    controller = call("SDN_controller.introduce", "ssl", "10.0.0.9", 0)
    assert call("SDN_controller.get_port", controller) == 6632
    assert call.error("SDN_controller.introduce", "pssl")[0] == "OPERATION_NOT_ALLOWED"
    call("SDN_controller.forget", controller)
    call("pool.set_vswitch_controller", "10.0.0.10")
    (record,) = call("SDN_controller.get_all_records").values()
    assert (record["protocol"], record["address"], record["port"]) == ("ssl", "10.0.0.10", 6632)
    call("pool.set_vswitch_controller", "")
    assert call("SDN_controller.get_all") == []


def test_without_open_vswitch_there_are_no_tunnels_and_no_controllers(
    xapi_factory: Callable[..., EmbeddedHost],
) -> None:
    xapi = xapi_factory(network_backend="bridge")
    call = Caller(xapi.urls[0], password=xapi.password)
    assert call("host.get_software_version", call("host.get_all")[0])["network_backend"] == "bridge"
    network = call("network.create", {"name_label": "n", "other_config": {}})
    refused = ["OPERATION_NOT_ALLOWED", "host not configured for vswitch operation"]
    assert call.error("tunnel.create", pif(call, "eth2"), network) == ["OPENVSWITCH_NOT_ACTIVE"]
    assert call.error("SDN_controller.introduce", "ssl", "10.0.0.9", 6640) == refused
    assert call.error("pool.set_vswitch_controller", "10.0.0.9") == refused
    assert call.error("pool.set_igmp_snooping_enabled", call("pool.get_all")[0], True) == ["OPENVSWITCH_NOT_ACTIVE"]
    call.close()


def test_igmp_snooping_shows_on_the_nics(call: Caller) -> None:
    pool = call("pool.get_all")[0]
    call("pool.set_igmp_snooping_enabled", pool, True)
    assert call("PIF.get_igmp_snooping_status", pif(call, "eth0")) == "enabled"
    call("pool.set_igmp_snooping_enabled", pool, False)
    assert call("PIF.get_igmp_snooping_status", pif(call, "eth0")) == "disabled"


def test_no_nic_has_virtual_functions(call: Caller, network: str) -> None:
    eth2 = pif(call, "eth2")
    assert call.error("network_sriov.create", eth2, network) == ["PIF_IS_NOT_SRIOV_CAPABLE", eth2]


def test_addresses_are_checked(call: Caller) -> None:
    eth2 = pif(call, "eth2")
    call("PIF.reconfigure_ip", eth2, "Static", "10.99.0.5", "255.255.255.0", "", "")
    assert call("PIF.get_IP", eth2) == "10.99.0.5"
    error = call.error("PIF.reconfigure_ip", eth2, "Static", "bad", "", "", "")
    assert error == ["INVALID_IP_ADDRESS_SPECIFIED", "IP"]
    error = call.error("PIF.reconfigure_ipv6", eth2, "Static", "fd00::5", "", "")
    assert error == ["INVALID_CIDR_ADDRESS_SPECIFIED", "IPv6"]
    call("PIF.reconfigure_ipv6", eth2, "Static", "fd00::5/64", "fd00::1", "fd00::53")
    record = call("PIF.get_record", eth2)
    assert (record["IPv6"], record["ipv6_gateway"], record["DNS"]) == (["fd00::5/64"], "fd00::1", "fd00::53")
    assert record["IP"] == "10.99.0.5"


def test_the_management_interface_keeps_an_address(call: Caller) -> None:
    eth0 = pif(call, "eth0")
    refused = ["PIF_IS_MANAGEMENT_INTERFACE", eth0]
    assert call.error("PIF.reconfigure_ip", eth0, "None", "", "", "", "") == refused
    assert call.error("PIF.set_primary_address_type", eth0, "IPv6") == refused
    assert call.error("PIF.forget", eth0) == refused


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


def test_management_moves_to_an_interface_that_has_an_address(call: Caller) -> None:
    eth0, eth1 = pif(call, "eth0"), pif(call, "eth1")
    host, network = call("PIF.get_host", eth0), call("PIF.get_network", eth1)
    assert call("host.get_management_interface", host) == eth0
    missing = ["PIF_HAS_NO_NETWORK_CONFIGURATION", eth1]
    assert call.error("host.management_reconfigure", eth1) == missing
    assert call.error("pool.management_reconfigure", network) == missing
    call("PIF.unplug", eth1)
    call("PIF.reconfigure_ip", eth1, "Static", "10.99.0.5", "255.255.255.0", "", "")
    call("pool.management_reconfigure", network)
    assert call("host.get_management_interface", host) == eth1, "and it is up"
    call("PIF.unplug", eth0)
    call("host.management_reconfigure", eth0)
    assert call("host.get_management_interface", host) == eth0
    call("PIF.set_primary_address_type", eth1, "IPv6")
    call("PIF.reconfigure_ipv6", eth1, "Static", "fd00::5/64", "", "")
    assert call.error("host.management_reconfigure", eth1) == ["PIF_INCOMPATIBLE_PRIMARY_ADDRESS_TYPE", eth1]


def test_management_of_a_pool_needs_an_interface_on_each_host(xapi_factory: Callable[..., EmbeddedHost]) -> None:
    xapi = xapi_factory(hosts=2)
    call = Caller(xapi.urls[0], password=xapi.password)
    one, two = (host.ref for host in xapi.hosts)
    network = call("network.create", {"name_label": "n", "other_config": {}})
    (base,) = (ref for ref, row in call("PIF.get_all_records").items() if (row["device"], row["host"]) == ("eth3", one))
    call("VLAN.create", base, 5, network)
    assert call.error("pool.management_reconfigure", network) == ["PIF_NOT_PRESENT", two, network]
    call.close()


def test_nothing_is_done_on_a_host_that_is_off(xapi_factory: Callable[..., EmbeddedHost]) -> None:
    xapi = xapi_factory(hosts=2)
    call = Caller(xapi.urls[0], password=xapi.password)
    member = xapi.hosts[1].ref
    network = call("network.create", {"name_label": "n", "other_config": {}})
    nics = {row["device"]: ref for ref, row in call("PIF.get_all_records").items() if row["host"] == member}
    call("host.disable", member)
    call("host.shutdown", member)
    unreachable = []
    for method, *arguments in (
        ("PIF.scan", member),
        ("PIF.unplug", nics["eth2"]),
        ("PIF.reconfigure_ip", nics["eth2"], "None", "", "", "", ""),
        ("VLAN.create", nics["eth2"], 5, network),
        ("Bond.create", network, [nics["eth2"], nics["eth3"]], ""),
        ("tunnel.create", nics["eth2"], network),
        ("network.attach", network, member),
        ("pool.create_VLAN", "eth2", network, 5),
        ("SR.probe", member, {"device": "/dev/sdb"}, "ext", {}),
    ):
        unreachable.append((method, call.error(method, *arguments)[0]))
    assert {code for _, code in unreachable} <= {"HOST_OFFLINE", "CANNOT_CONTACT_HOST"}, unreachable
    assert call("network.get_PIFs", network) == []
    call.close()
