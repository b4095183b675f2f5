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
"""VBDs and VIFs of running guests: who may have a disk, what drives take, which networks and addresses a VIF gets."""

import pytest

from xapi_caller import Caller
from xapikit.host import EmbeddedHost
from xapikit.model import NULL_REF

MIB = 1 << 20
NFS = {"server": "filer", "serverpath": "/vms"}


@pytest.fixture
def pool(xapi_pool: EmbeddedHost) -> Caller:
    return Caller(xapi_pool.urls[0], password=xapi_pool.password)


def shared_sr(call: Caller, host: str) -> str:
    sr: str = call("SR.create", host, NFS, 0, "shared", "", "nfs", "user", True, {})
    return sr


def disk(call: Caller, sr: str, **members: object) -> str:
    record = {"SR": sr, "virtual_size": 4 * MIB, "type": "user", "sharable": False, "read_only": False}
    vdi: str = call("VDI.create", {**record, "other_config": {}, **members})
    return vdi


def vm_of(call: Caller, label: str) -> str:
    template = call("VM.get_by_name_label", "Other install media")[0]
    vm: str = call("VM.clone", template, label)
    call("VM.provision", vm)
    return vm


def vbd_of(call: Caller, vm: str, vdi: str, device: str = "0", *, mode: str = "RW", kind: str = "Disk") -> str:
    vbd: str = call(
        "VBD.create",
        {
            "VM": vm, "VDI": vdi, "userdevice": device, "bootable": True, "mode": mode, "type": kind,
            "empty": vdi == NULL_REF, "other_config": {}, "qos_algorithm_type": "", "qos_algorithm_params": {},
        },
    )  # fmt: skip
    return vbd


def vif_of(call: Caller, vm: str, network: str) -> str:
    record = {"VM": vm, "network": network, "device": "0", "MAC": "", "MTU": 0, "other_config": {}}
    vif: str = call("VIF.create", {**record, "qos_algorithm_type": "", "qos_algorithm_params": {}})
    return vif


@pytest.mark.parametrize("mode", ["RW", "RO"])
def test_a_written_disk_has_one_guest_in_the_whole_pool(pool: Caller, xapi_pool: EmbeddedHost, mode: str) -> None:
    one, two = (host.ref for host in xapi_pool.hosts)
    vdi = disk(pool, shared_sr(pool, one))
    writer, other = vm_of(pool, "writer"), vm_of(pool, "other")
    vbd_of(pool, writer, vdi)
    vbd = vbd_of(pool, other, vdi, mode=mode)
    pool("VM.start_on", writer, one, False, False)
    assert pool.error("VM.start_on", other, two, False, False) == ["VDI_IN_USE", vdi]
    assert pool.error("VBD.assert_attachable", vbd) == ["VDI_IN_USE", vdi]
    pool("VM.hard_shutdown", writer)
    pool("VBD.assert_attachable", vbd)
    pool("VM.start_on", other, two, False, False)


def test_guests_of_several_hosts_read_one_disk(pool: Caller, xapi_pool: EmbeddedHost) -> None:
    one, two = (host.ref for host in xapi_pool.hosts)
    vdi = disk(pool, shared_sr(pool, one))
    for host in (one, two):
        vm = vm_of(pool, "reader")
        vbd_of(pool, vm, vdi, mode="RO")
        pool("VM.start_on", vm, host, False, False)
    assert len([key for key in pool("VDI.get_sm_config", vdi) if key.startswith("host_")]) == 2


def test_a_drive_of_a_running_guest_does_not_take_a_disk_that_is_written(call: Caller, xapi_host: EmbeddedHost) -> None:
    sr = xapi_host.pool.row["default_SR"]
    vdi, image = disk(call, sr), disk(call, sr)
    vm = vm_of(call, "vm")
    vbd_of(call, vm, vdi)
    drive = vbd_of(call, vm, NULL_REF, "3", mode="RO", kind="CD")
    call("VM.start", vm, False, False)
    assert call.error("VBD.insert", drive, vdi) == ["VDI_IN_USE", vdi]
    call("VBD.insert", drive, image)
    assert (call("VBD.get_VDI", drive), call("VBD.get_empty", drive)) == (image, False)
    call("VBD.eject", drive)
    assert call("VBD.get_empty", drive) is True


def test_what_may_not_be_a_disk_of_a_vm_is_not_attachable(call: Caller, xapi_host: EmbeddedHost) -> None:
    vm, vdi = vm_of(call, "vm"), disk(call, xapi_host.pool.row["default_SR"])
    vbd = vbd_of(call, vm, vdi)
    call("VBD.assert_attachable", vbd)
    with xapi_host.pool.store.transaction() as tx:
        tx.update("VDI", vdi, read_only=True)
    assert call.error("VBD.assert_attachable", vbd) == ["VDI_READONLY", vdi]
    with xapi_host.pool.store.transaction() as tx:
        tx.update("VDI", vdi, managed=False)
    assert call.error("VBD.assert_attachable", vbd) == ["VDI_NOT_MANAGED", vbd]


def test_a_disk_is_plugged_once_its_own_operation_is_over(call: Caller, xapi_host: EmbeddedHost) -> None:
    store = xapi_host.pool.store
    vm, vdi = vm_of(call, "vm"), disk(call, xapi_host.pool.row["default_SR"])
    call("VM.start", vm, False, False)
    vbd = vbd_of(call, vm, vdi, "1")
    with store.transaction() as tx:
        tx.update("VDI", vdi, current_operations={"OpaqueRef:t": "clone"})
    task = call("Async.VBD.plug", vbd)
    assert not store.wait(lambda: store.get("VBD", vbd)["currently_attached"], 0.3)
    assert call("task.get_status", task) == "pending"
    with store.transaction() as tx:
        tx.update("VDI", vdi, current_operations={})
    assert store.wait(lambda: store.get("VBD", vbd)["currently_attached"], 10)


def test_a_disk_that_is_only_read_is_not_plugged_into_an_hvm_guest(call: Caller, xapi_host: EmbeddedHost) -> None:
    vm, vdi = vm_of(call, "vm"), disk(call, xapi_host.pool.row["default_SR"])
    call("VM.start", vm, False, False)
    vbd = vbd_of(call, vm, vdi, "1", mode="RO")
    assert call.error("VBD.plug", vbd) == ["DISK_VBD_MUST_BE_READWRITE_FOR_HVM", vbd]


def test_a_suspended_guest_does_not_keep_a_disk_from_others(call: Caller, xapi_host: EmbeddedHost) -> None:
    vdi = disk(call, xapi_host.pool.row["default_SR"])
    one, two = vm_of(call, "one"), vm_of(call, "two")
    for vm in (one, two):
        vbd_of(call, vm, vdi)
    call("VM.start", one, False, False)
    call("VM.suspend", one)
    call("VM.start", two, False, False)
    assert call.error("VM.resume", one, False, False) == ["VDI_IN_USE", vdi]


def test_a_running_guest_reaches_only_networks_of_its_host(pool: Caller, xapi_pool: EmbeddedHost) -> None:
    one, two = (host.ref for host in xapi_pool.hosts)
    vm = vm_of(pool, "vm")
    everywhere = pool("network.create", {"name_label": "everywhere", "other_config": {}})
    there = pool("network.create", {"name_label": "there", "other_config": {}})
    (eth2,) = (
        ref for ref, row in pool("PIF.get_all_records").items() if row["device"] == "eth2" and row["host"] == one
    )
    pool("VLAN.create", eth2, 7, there)
    vif = vif_of(pool, vm, everywhere)
    pool("VM.start_on", vm, two, False, False)
    assert pool.error("VIF.move", vif, there) == ["HOST_CANNOT_ATTACH_NETWORK", two, there]
    pool("VIF.unplug", vif)
    pool("VIF.move", vif, there)
    assert pool.error("VIF.plug", vif) == ["HOST_CANNOT_ATTACH_NETWORK", two, there]
    pool("VIF.move", vif, everywhere)
    pool("VIF.plug", vif)


def test_a_nic_that_guests_use_is_not_taken_down(call: Caller) -> None:
    (eth1,) = (ref for ref, row in call("PIF.get_all_records").items() if row["device"] == "eth1")
    network, vm = call("PIF.get_network", eth1), vm_of(call, "vm")
    vif = vif_of(call, vm, network)
    call("VM.start", vm, False, False)
    assert call.error("PIF.unplug", eth1) == ["VIF_IN_USE", network, vif]
    call("VIF.unplug", vif)
    call("PIF.unplug", eth1)
    call("network.attach", network, call("PIF.get_host", eth1))
    assert call("PIF.get_currently_attached", eth1) is True


def test_a_starting_guest_brings_its_nics_up(call: Caller) -> None:
    (eth1,) = (ref for ref, row in call("PIF.get_all_records").items() if row["device"] == "eth1")
    (eth2,) = (ref for ref, row in call("PIF.get_all_records").items() if row["device"] == "eth2")
    vm = vm_of(call, "vm")
    vif_of(call, vm, call("PIF.get_network", eth1))
    call("PIF.unplug", eth1)
    call("VM.start", vm, False, False)
    assert call("PIF.get_currently_attached", eth1) is True
    call("VM.hard_shutdown", vm)
    bonded = call("network.create", {"name_label": "b", "other_config": {}})
    call("Bond.create", bonded, [eth1, eth2], "")
    # its VIF went along; one that stays on the network of a member keeps its VM from starting
    other = vm_of(call, "other")
    vif_of(call, other, call("PIF.get_network", eth1))
    call("VM.start", vm, False, False)
    assert call.error("VM.start", other, False, False) == ["CANNOT_PLUG_BOND_SLAVE", eth1]
    assert call("VM.get_power_state", other) == "Halted"


def test_guests_on_the_internal_network_have_addresses_of_their_own(call: Caller) -> None:
    (internal,) = (ref for ref, row in call("network.get_all_records").items() if row["bridge"] == "xenapi")
    one, two = vm_of(call, "one"), vm_of(call, "two")
    first, second = vif_of(call, one, internal), vif_of(call, two, internal)
    assert call("network.get_assigned_ips", internal) == {}
    for vm in (one, two):
        call("VM.start", vm, False, False)
    assert call("network.get_assigned_ips", internal) == {first: "169.254.0.2", second: "169.254.0.3"}
    call("VM.hard_shutdown", one)
    call("VIF.destroy", first)
    third = vif_of(call, one, internal)
    call("VM.start", one, False, False)
    assert call("network.get_assigned_ips", internal) == {third: "169.254.0.2", second: "169.254.0.3"}
    call("network.remove_from_other_config", internal, "ip_end")
    three = vm_of(call, "three")
    fourth = vif_of(call, three, internal)
    call("VM.start", three, False, False)
    assert fourth not in call("network.get_assigned_ips", internal)


def test_a_locked_vif_is_given_only_addresses_that_it_may_use(call: Caller, xapi_host: EmbeddedHost) -> None:
    vm = vm_of(call, "vm")
    vif = vif_of(call, vm, call("network.create", {"name_label": "n", "other_config": {}}))
    call("VM.start", vm, False, False)
    assert call.error("VIF.configure_ipv4", vif, "Static", "10.0.0.5/24", "") == ["VM_LACKS_FEATURE", vm]
    with xapi_host.pool.store.transaction() as tx:
        metrics = tx.get("VM", vm)["guest_metrics"]
        tx.update("VM_guest_metrics", metrics, other={"feature-static-ip-setting": "1"})
    call("VIF.set_locking_mode", vif, "locked")
    call("VIF.set_ipv4_allowed", vif, ["10.0.0.5", "10.0.0.5"])
    assert call("VIF.get_ipv4_allowed", vif) == ["10.0.0.5"]
    error = call.error("VIF.configure_ipv4", vif, "Static", "10.0.0.6/24", "")
    assert error == ["ADDRESS_VIOLATES_LOCKING_CONSTRAINT", "10.0.0.6/24"]
    error = call.error("VIF.configure_ipv4", vif, "Static", "10.0.0.5/24", "nowhere")
    assert error == ["INVALID_IP_ADDRESS_SPECIFIED", "gateway"]
    call("VIF.configure_ipv4", vif, "Static", "10.0.0.5/24", "10.0.0.1")
    record = call("VIF.get_record", vif)
    assert (record["ipv4_configuration_mode"], record["ipv4_addresses"]) == ("Static", ["10.0.0.5/24"])
    call("VIF.configure_ipv4", vif, "None", "", "")
    assert call("VIF.get_ipv4_addresses", vif) == []


def test_a_vif_is_not_locked_where_a_controller_decides(call: Caller) -> None:
    network = call("network.create", {"name_label": "n", "other_config": {}})
    vif = vif_of(call, vm_of(call, "vm"), network)
    call("SDN_controller.introduce", "ssl", "10.0.0.9", 6640)
    refused = ["OPERATION_NOT_ALLOWED", "A vswitch controller is active"]
    assert call.error("VIF.set_locking_mode", vif, "locked") == refused
    call("VIF.set_locking_mode", vif, "disabled")


def nics(call: Caller, host: str) -> dict[str, str]:
    return {row["device"]: ref for ref, row in call("PIF.get_all_records").items() if row["host"] == host}


def test_guests_of_a_host_follow_its_nics_into_a_bond_and_out_again(pool: Caller, xapi_pool: EmbeddedHost) -> None:
    one = xapi_pool.hosts[0].ref
    devices = nics(pool, one)
    eth2, eth3 = devices["eth2"], devices["eth3"]
    before, bonded = pool("PIF.get_network", eth3), pool("network.create", {"name_label": "b", "other_config": {}})
    here, anywhere = vm_of(pool, "here"), vm_of(pool, "anywhere")
    vifs = {vm: vif_of(pool, vm, before) for vm in (here, anywhere)}
    pool("VM.start_on", here, one, False, False)
    bond = pool("Bond.create", bonded, [eth2, eth3, eth2], "")
    assert pool("VIF.get_network", vifs[here]) == bonded
    assert pool("VIF.get_currently_attached", vifs[here]) is True
    assert pool("VIF.get_network", vifs[anywhere]) == before
    pool("Bond.destroy", bond)
    assert pool("VIF.get_network", vifs[here]) == pool("PIF.get_network", eth2)


def test_two_vlans_with_one_tag_become_one_on_a_bond(call: Caller, xapi_host: EmbeddedHost) -> None:
    devices = nics(call, xapi_host.hosts[0].ref)
    networks = [call("network.create", {"name_label": name, "other_config": {}}) for name in ("one", "two", "bond")]
    vm = vm_of(call, "vm")
    vif = vif_of(call, vm, networks[1])
    kept, gone = (call("VLAN.create", devices[f"eth{n + 2}"], 9, networks[n]) for n in (0, 1))
    bond = call("Bond.create", networks[2], [devices["eth2"], devices["eth3"]], "")
    assert call("PIF.get_VLAN_slave_of", call("Bond.get_master", bond)) == [kept]
    assert call.error("VLAN.get_record", gone)[0] == "HANDLE_INVALID"
    assert call("VIF.get_network", vif) == networks[0]


def test_what_is_no_nic_is_no_member_of_a_bond(call: Caller, xapi_host: EmbeddedHost) -> None:
    devices = nics(call, xapi_host.hosts[0].ref)
    one, two = (call("network.create", {"name_label": name, "other_config": {}}) for name in ("one", "two"))
    untagged = call("VLAN.get_untagged_PIF", call("VLAN.create", devices["eth2"], 9, one))
    assert call.error("Bond.create", two, [untagged], "") == ["PIF_VLAN_EXISTS", "eth2"]
    assert call.error("Bond.create", two, [devices["eth2"]], "nonsense") == ["MAC_INVALID", "nonsense"]
    call("PIF.set_disallow_unplug", devices["eth2"], True)
    bond = call("Bond.create", two, [devices["eth2"], devices["eth3"]], "")
    assert call("PIF.get_disallow_unplug", call("Bond.get_master", bond)) is True
    assert call.error("PIF.forget", devices["eth2"]) == ["PIF_ALREADY_BONDED", devices["eth2"]]
