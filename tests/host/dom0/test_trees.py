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
"""A domain has its part of XenStore as long as it exists, and that part says what is true."""

from collections.abc import Callable
from pathlib import Path

import pytest

from host.dom0.rig import MIB, Machine
from xapi_caller import Caller
from xapikit.host import EmbeddedHost


def test_a_running_vm_has_the_visible_parts_of_a_real_one(xapi_host: EmbeddedHost, call: Caller) -> None:
    one = Machine.make(xapi_host, call, xenstore_data={"vm-data": "top", "vm-data/a/b": "1", "other": "no"}).start()
    domid, uuid = one.row["domid"], one.uuid
    tree = one.listing()
    assert tree["vm"] == f"/vm/{uuid}" and tree["name"] == "guest" and tree["domid"] == str(domid)
    assert (tree["memory/static-max"], tree["memory/dynamic-min"]) == ("262144", "131072")
    assert (tree["cpu/0/availability"], tree["cpu/1/availability"]) == ("online", "offline")
    assert tree["platform/cores-per-socket"] == "1" and tree["bios-strings/bios-vendor"] == "Xen"
    assert tree["console/vnc-port"].isdecimal()
    assert (tree["vm-data"], tree["vm-data/a/b"]) == ("top", "1") and "other" not in tree
    back = f"/local/domain/0/backend/vbd3/{domid}/51712"
    assert (tree["device/vbd/51712/backend"], tree["device/vbd/51712/state"]) == (back, "4")
    assert one.value(f"{back}/frontend") == f"{one.home}/device/vbd/51712"
    assert (one.value(f"{back}/dev"), one.value(f"{back}/state"), one.value(f"{back}/mode")) == ("xvda", "4", "w")
    assert one.value(f"{back}/sectors") == str(2 * MIB // 512)
    vif = call("VIF.get_record", call("VM.get_VIFs", one.vm)[0])
    assert tree["device/vif/0/mac"] == vif["MAC"]
    bridge = call("network.get_bridge", vif["network"])
    assert one.value(f"/local/domain/0/backend/vif/{domid}/0/bridge") == bridge
    assert one.value(f"/xapi/{uuid}/private/vif/0/vif-uuid") == vif["uuid"]
    assert one.value(f"/vm/{uuid}/domains/{domid}") == one.home
    assert one.value("/local/domain/0/name") == "Domain-0"
    assert one.perms("") == ["n0", f"r{domid}"] and one.perms("vm-data") == [f"n{domid}"]


def test_the_tree_goes_with_the_domain_and_a_reboot_gives_a_new_one(xapi_host: EmbeddedHost, call: Caller) -> None:
    one = Machine.make(xapi_host, call).start()
    before, store, uuid = one.home, one.xenstore, one.uuid
    call("VM.clean_reboot", one.vm)
    assert one.home != before and store.find(before) is None and store.find(one.home) is not None
    home, domid = one.home, one.row["domid"]
    call("VM.hard_shutdown", one.vm)
    for path in (home, f"/vm/{uuid}", f"/xapi/{uuid}", f"/local/domain/0/backend/vbd3/{domid}"):
        assert store.find(path) is None, path


def test_devices_come_and_go_and_media_change(xapi_host: EmbeddedHost, call: Caller) -> None:
    one = Machine.make(xapi_host, call).start()
    domid = one.row["domid"]
    vbd, vif = one.disk("2"), one.nic("3")
    call("VBD.plug", vbd)
    call("VIF.plug", vif)
    assert one.value("device/vbd/51744/state") == one.value("device/vif/3/state") == "4"
    assert one.value(f"/local/domain/0/backend/vif/{domid}/3/state") == "4"
    assert "3/ip" in one.metrics["networks"]
    call("VBD.unplug", vbd)
    call("VIF.unplug", vif)
    assert one.value("device/vbd/51744/state") == one.value(f"/xapi/{one.uuid}/private/vif/3/mac") == "(none)"
    assert set(one.metrics["networks"]) == {"0/ip", "0/ipv4/0"}
    call("VM.set_VCPUs_number_live", one.vm, 2)
    assert one.value("cpu/1/availability") == "online"
    call("VM.set_memory_dynamic_range", one.vm, 128 * MIB, 192 * MIB)
    assert one.value("memory/target") == str(one.row["memory_target"] // 1024)
    assert one.value("memory/dynamic-max") == str(192 * 1024)


def test_networks_and_locks_of_a_nic_are_followed(xapi_host: EmbeddedHost, call: Caller) -> None:
    one = Machine.make(xapi_host, call).start()
    vif = call("VM.get_VIFs", one.vm)[0]
    private = f"/xapi/{one.uuid}/private/vif/0"
    call("VIF.set_locking_mode", vif, "locked")
    call("VIF.set_ipv4_allowed", vif, ["192.0.2.1", "192.0.2.2"])
    assert one.value(f"{private}/locking-mode") == "locked"
    assert one.value(f"{private}/ipv4-allowed") == "192.0.2.1,192.0.2.2"
    other = call("network.create", {"name_label": "n", "name_description": "", "MTU": 1500, "other_config": {}})
    call("VIF.move", vif, other)
    bridge = call("network.get_bridge", other)
    assert one.value(f"/local/domain/0/backend/vif/{one.row['domid']}/0/bridge") == bridge != ""
    assert one.value(f"{private}/network-uuid") == call("network.get_uuid", other)


def test_live_data_is_what_set_xenstore_data_says(xapi_host: EmbeddedHost, call: Caller) -> None:
    one = Machine.make(xapi_host, call, xenstore_data={"vm-data/a": "1", "vm-data/b": "2"}).start()
    call("VM.set_xenstore_data", one.vm, {"vm-data/b": "3", "vm-data/c/d": "4", "FIST/x": "5", "other": "6"})
    assert one.listing("vm-data") == {"": "", "b": "3", "c": "", "c/d": "4"}
    assert one.value("FIST/x") == "5" and one.value("other") == "(none)"
    call("VM.add_to_xenstore_data", one.vm, "vm-data/e", "7")  # the record alone: until the next start
    assert one.value("vm-data/e") == "(none)"
    call("VM.hard_reboot", one.vm)
    assert one.value("vm-data/e") == "7" and one.value("vm-data/b") == "3"
    call("VM.set_xenstore_data", one.vm, {})
    assert one.listing("vm-data") == {"": ""} and one.value("FIST") == "(none)"
    assert call("VM.get_xenstore_data", one.vm) == {}


def test_what_a_guest_writes_below_vm_data_is_in_the_record(xapi_host: EmbeddedHost, call: Caller) -> None:
    one = Machine.make(xapi_host, call, xenstore_data={"vm-data/a": "1", "other": "2"}).start()
    one.write("vm-data/from/guest", "hello", as_guest=True)
    assert call("VM.get_xenstore_data", one.vm) == {"vm-data/a": "1", "other": "2", "vm-data/from/guest": "hello"}
    with one.xenstore.edit(one.row["domid"]) as edit:
        edit.rm(f"{one.home}/vm-data/from")
    assert call("VM.get_xenstore_data", one.vm) == {"vm-data/a": "1", "other": "2"}


def test_what_cannot_be_a_node_does_not_keep_a_vm_from_starting(xapi_host: EmbeddedHost, call: Caller) -> None:
    data = {"vm-data/a b": "1", "vm-data/../x": "2", "vm-data/long": "x" * 5000, "vm-data/ok": "3", "vm-data//e": "4"}
    one = Machine.make(xapi_host, call, xenstore_data=data, platform={"a.b/../..": "x"}).start()
    assert one.listing("vm-data") == {"": "", "ok": "3"}


def test_a_restart_of_the_toolstack_leaves_trees_and_guests_as_they_were(
    xapi_factory: Callable[..., EmbeddedHost], tmp_path: Path
) -> None:
    xapi = xapi_factory(state=tmp_path)
    call = Caller(xapi.urls[0], password=xapi.password)
    one = Machine.make(xapi, call).start()
    gone = Machine.make(xapi, call, devices=False).start()
    one.write("data/own", "kept", as_guest=True)
    before, metrics = one.listing(), one.metrics
    lost = gone.home
    with gone.xenstore.edit() as edit:
        edit.write("/local/domain/999/vm", "/vm/nobody")  # of a domain that nobody knows
    xapi.restart()
    again = Caller(xapi.urls[0], password=xapi.password)
    now = Machine(xapi, again, one.vm)
    assert now.listing() == before and now.value("data/own") == "kept"
    assert now.metrics == metrics
    assert now.xenstore.find("/local/domain/999") is None and now.xenstore.find(lost) is not None
    again("VM.clean_shutdown", one.vm)  # the guest reacts, it was not started anew
    assert again("VM.get_power_state", one.vm) == "Halted"


def test_a_moved_vm_has_its_tree_on_its_new_host(xapi_pool: EmbeddedHost) -> None:
    call = Caller(xapi_pool.urls[0], password=xapi_pool.password)
    one = Machine.make(xapi_pool, call, devices=False, xenstore_data={"vm-data/a": "1"}).start()
    one.nic("0")
    store, home = one.xenstore, one.home
    other = next(host for host in call("host.get_all") if host != one.row["resident_on"])
    call("VM.pool_migrate", one.vm, other, {})
    assert one.xenstore is not store and store.find(home) is None
    assert one.value("vm-data/a") == "1" and one.value("control/feature-poweroff") == "1"
    call("VM.clean_shutdown", one.vm)
    assert one.row["power_state"] == "Halted"


@pytest.mark.parametrize("paused", [True, False])
def test_suspended_guests_have_no_tree_and_speak_again_when_resumed(
    xapi_host: EmbeddedHost, call: Caller, paused: bool
) -> None:
    one = Machine.make(xapi_host, call).start()
    store, home = one.xenstore, one.home
    call("VM.suspend", one.vm)
    assert store.find(home) is None
    call("VM.resume", one.vm, paused, False)
    assert one.value("attr/PVAddons/MajorVersion") == ("(none)" if paused else "8")
    assert one.metrics["PV_drivers_version"]["major"] == "8"  # known from before
