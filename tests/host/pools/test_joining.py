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
"""Hosts that join a pool and leave it: what they take along, what they answer, what is left of them."""

from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from waiting import wait
from xapi_caller import Caller, CallFailed
from xapikit.host import EmbeddedHost
from xapikit.host.pytest_plugin import XapiFactory

OPTIONS = {"timed_delay": "0"}


@pytest.fixture
def pools(xapi_factory: XapiFactory, tmp_path: Path) -> tuple[EmbeddedHost, EmbeddedHost]:
    """A pool, and a host that is to join it."""
    pool = xapi_factory(state=tmp_path / "pool", names=["alpha"], password="of the pool", options=OPTIONS)
    host = xapi_factory(state=tmp_path / "host", names=["beta"], password="of the host", options=OPTIONS)
    return pool, host


def log_in(xapi: EmbeddedHost) -> Caller:
    return Caller(xapi.url, password=xapi.password)


def address(xapi: EmbeddedHost) -> str:
    return urlsplit(xapi.url).netloc


def join(pool: EmbeddedHost, host: EmbeddedHost, method: str = "pool.join") -> Caller:
    """Let a host join a pool; a caller of the pool's coordinator."""
    log_in(host)(method, address(pool), "root", pool.password)
    wait(lambda: host.front is not None and host.front.connected)
    return log_in(pool)


def refusal(url: str, password: str) -> list[str]:
    with pytest.raises(CallFailed) as caught:
        Caller(url, password=password)
    return caught.value.error


def disk(caller: Caller, sr: str, name: str = "disk") -> str:
    record = {"name_label": name, "name_description": "", "SR": sr, "virtual_size": 4 << 20, "type": "user",
              "sharable": False, "read_only": False, "other_config": {}}  # fmt: skip
    return str(caller("VDI.create", record))


def local_sr(caller: Caller, host: str) -> str:
    for sr, row in caller("SR.get_all_records").items():
        if row["type"] == "ext" and [caller("PBD.get_host", pbd) for pbd in row["PBDs"]] == [host]:
            return str(sr)
    raise AssertionError("no local SR")


def vm_record(caller: Caller, name: str) -> dict[str, Any]:
    template = next(ref for ref, row in caller("VM.get_all_records").items() if row["is_default_template"])
    record: dict[str, Any] = caller("VM.get_record", template)
    kept = ("VCPUs_max", "VCPUs_at_startup", "memory_static_max", "memory_static_min", "memory_dynamic_max",
            "memory_dynamic_min", "HVM_boot_policy", "HVM_boot_params", "platform", "actions_after_shutdown",
            "actions_after_reboot", "actions_after_crash", "PV_bootloader", "PV_kernel", "PV_ramdisk", "PV_args",
            "PV_bootloader_args", "PV_legacy_args", "PCI_bus", "recommendations", "VCPUs_params")  # fmt: skip
    own = {"name_label": name, "name_description": "", "user_version": 1, "is_a_template": False,
           "affinity": "OpaqueRef:NULL", "other_config": {}}  # fmt: skip
    return {**{field: record[field] for field in kept}, **own}


def guest(caller: Caller, name: str, vdi: str) -> str:
    vm = str(caller("VM.create", vm_record(caller, name)))
    vbd = {"VM": vm, "VDI": vdi, "userdevice": "0", "bootable": True, "mode": "RW", "type": "Disk", "unpluggable": True,
           "empty": False, "other_config": {}, "qos_algorithm_type": "", "qos_algorithm_params": {}}  # fmt: skip
    caller("VBD.create", vbd)
    return vm


def written(xapi: EmbeddedHost, caller: Caller, vdi: str, content: bytes | None = None, *, url: str = "") -> bytes:
    """Write a disk, or read it, at a host."""
    connection = HTTPConnection(urlsplit(url or xapi.url).netloc, timeout=30)
    verb, path = ("PUT", "import_raw_vdi") if content is not None else ("GET", "export_raw_vdi")
    connection.request(verb, f"/{path}?session_id={caller.session}&vdi={vdi}&format=raw", content)
    answer = connection.getresponse()
    assert answer.status == 200, answer.status
    data = answer.read()
    connection.close()
    return data


def test_a_host_joins_with_its_disks_and_vms_and_answers_as_a_member(pools: tuple[EmbeddedHost, EmbeddedHost]) -> None:
    pool, host = pools
    before = log_in(host)
    (old,) = before("host.get_all")
    uuid, sr = before("host.get_uuid", old), local_sr(before, old)
    vdi = disk(before, sr)
    vm = guest(before, "guest", vdi)
    uuids = {cls: before(f"{cls}.get_uuid", ref) for cls, ref in (("SR", sr), ("VDI", vdi), ("VM", vm))}
    content = bytes(range(256)) * (16 << 10)
    written(host, before, vdi, content)
    wait(lambda: before("VDI.get_physical_utilisation", vdi) > 1 << 20)

    caller = join(pool, host)

    assert len(caller("host.get_all")) == 2
    new = caller("host.get_by_uuid", uuid)
    assert new != old
    moved = {cls: caller(f"{cls}.get_by_uuid", uuid) for cls, uuid in uuids.items()}
    assert local_sr(caller, new) == moved["SR"]
    assert caller("VDI.get_SR", moved["VDI"]) == moved["SR"]
    dom0 = caller("host.get_control_domain", new)
    assert caller("VM.get_resident_on", dom0) == new and caller("host.get_resident_VMs", new) == [dom0]
    assert len(caller("host.get_host_CPUs", new)) == 8
    # what the pool had already is one: networks of NICs, the tools, the templates
    names = [row["name_label"] for row in caller("network.get_all_records").values()]
    assert len(names) == len(set(names))
    assert len([row for row in caller("SR.get_all_records").values() if row["is_tools_sr"]]) == 1
    assert len([row for row in caller("VM.get_all_records").values() if row["is_control_domain"]]) == 2
    pifs = [row for row in caller("PIF.get_all_records").values() if row["host"] == new]
    assert len(pifs) == 4 and all(len(caller("network.get_PIFs", row["network"])) == 2 for row in pifs)
    # the host is a member now
    assert refusal(host.url, pool.password) == ["HOST_IS_SLAVE", address(pool)]
    member = Caller(host.url)
    member.session = member.bare("session.slave_local_login_with_password", "root", pool.password)
    assert member("host.is_in_emergency_mode") is False and member("pool.is_slave", new) is True
    # its disks are where they were, and of use to the VM, which runs there alone
    assert written(pool, caller, moved["VDI"], url=host.url) == content
    assert (
        caller.error("VM.start_on", moved["VM"], caller("pool.get_master", caller("pool.get_all")[0]), False, False)[0]
        == "VM_REQUIRES_SR"
    )
    caller("VM.start", moved["VM"], False, False)
    assert caller("VM.get_resident_on", moved["VM"]) == new
    caller("VM.hard_shutdown", moved["VM"])
    assert caller("VDI.get_uuid", caller("VDI.snapshot", moved["VDI"]))
    assert disk(caller, moved["SR"], "another")


def test_a_member_of_another_servers_pool_is_one_after_restarts(pools: tuple[EmbeddedHost, EmbeddedHost]) -> None:
    pool, host = pools
    caller = join(pool, host)
    uuid = next(row["uuid"] for row in caller("host.get_all_records").values() if row["name_label"] == "beta")
    host.restart()
    wait(lambda: host.front is not None and host.front.connected)
    assert refusal(host.url, pool.password) == ["HOST_IS_SLAVE", address(pool)]
    pool.restart()
    caller = log_in(pool)
    wait(lambda: answers(host, pool))
    assert caller("host.get_by_uuid", uuid)
    assert disk(caller, local_sr(caller, caller("host.get_by_uuid", uuid)))


def answers(host: EmbeddedHost, pool: EmbeddedHost) -> bool:
    try:
        return refusal(host.url, pool.password) == ["HOST_IS_SLAVE", address(pool)]
    except OSError:
        return False


def test_a_member_whose_pool_is_gone_is_in_emergency_mode(pools: tuple[EmbeddedHost, EmbeddedHost]) -> None:
    pool, host = pools
    join(pool, host)
    urls = host.urls
    pool.stop()
    wait(lambda: host.front is not None and not host.front.connected)
    assert refusal(urls[0], "of the pool") == ["HOST_IN_EMERGENCY_MODE"]
    member = Caller(urls[0])
    with pytest.raises(CallFailed):
        member.bare("session.slave_local_login_with_password", "root", "of the host")
    member.session = member.bare("session.slave_local_login_with_password", "root", "of the pool")
    assert member("host.is_in_emergency_mode") is True
    assert member.error("pool.emergency_transition_to_master")[0] == "OPERATION_NOT_ALLOWED"
    # the password is known there, and in no file
    assert b"of the pool" not in b"".join(path.read_bytes() for path in (host.settings.state).glob("*.json"))
    pool.start()
    wait(lambda: host.front is not None and host.front.connected)
    assert refusal(urls[0], pool.password) == ["HOST_IS_SLAVE", address(pool)]


def test_a_member_that_is_gone_cannot_be_contacted(pools: tuple[EmbeddedHost, EmbeddedHost]) -> None:
    pool, host = pools
    caller = join(pool, host)
    member = next(ref for ref, row in caller("host.get_all_records").items() if row["name_label"] == "beta")
    sr = local_sr(caller, member)
    host.stop()
    wait(lambda: not pool.pool.machines.answers(member))
    with pytest.raises(CallFailed) as caught:
        disk(caller, sr)
    assert caught.value.error == ["CANNOT_CONTACT_HOST", member]
    assert caller.error("host.disable", member) == ["CANNOT_CONTACT_HOST", member]
    host.start()
    wait(lambda: pool.pool.machines.answers(member))
    assert disk(caller, sr)


def test_a_joined_host_can_be_the_coordinator(pools: tuple[EmbeddedHost, EmbeddedHost]) -> None:
    pool, host = pools
    caller = join(pool, host)
    member = next(ref for ref, row in caller("host.get_all_records").items() if row["name_label"] == "beta")
    old, first = pool.pool, pool.urls[0]
    caller("pool.designate_new_master", member)
    wait(lambda: pool.running and pool.pool is not old and host.front is not None and host.front.connected)
    wait(lambda: pool.pool.machines.answers(member))
    assert refusal(first, pool.password) == ["HOST_IS_SLAVE", address(host)]
    assert pool.url == host.url
    again = Caller(host.url, password=pool.password)
    assert len(again("host.get_all")) == 2 and again("VM.get_all")


def test_a_joined_host_can_be_powered_off(pools: tuple[EmbeddedHost, EmbeddedHost]) -> None:
    pool, host = pools
    caller = join(pool, host)
    member = next(ref for ref, row in caller("host.get_all_records").items() if row["name_label"] == "beta")
    vm = guest(caller, "guest", disk(caller, local_sr(caller, member)))
    caller("VM.start", vm, False, False)
    assert caller("VM.get_resident_on", vm) == member
    pool.power_off("beta")
    with pytest.raises((OSError, HTTPException)):
        Caller(host.url, password=pool.password)
    assert caller.error("VM.hard_reboot", vm) == ["CANNOT_CONTACT_HOST", member]
    pool.power_on("beta")
    assert refusal(host.url, pool.password) == ["HOST_IS_SLAVE", address(pool)]
    assert caller("VM.get_power_state", vm) == "Halted"


def test_an_ejected_host_is_a_fresh_pool_of_its_own(pools: tuple[EmbeddedHost, EmbeddedHost]) -> None:
    pool, host = pools
    caller = join(pool, host)
    member = next(ref for ref, row in caller("host.get_all_records").items() if row["name_label"] == "beta")
    uuid, sr = caller("host.get_uuid", member), local_sr(caller, member)
    vdi = disk(caller, sr)
    vm = guest(caller, "guest", vdi)
    files = host.settings.state / "sr" / caller("SR.get_uuid", sr)
    assert list(files.iterdir())
    caller("VM.start", vm, False, False)
    assert caller.error("pool.eject", member) == ["HOST_HAS_RESIDENT_VMS", member]
    caller("VM.hard_shutdown", vm)
    caller("pool.eject", member)
    assert len(caller("host.get_all")) == 1
    for cls, ref in (("SR", sr), ("VDI", vdi), ("host", member)):
        assert caller.error(f"{cls}.get_record", ref)[0] == "HANDLE_INVALID"
    assert caller("VM.get_VBDs", vm) == []  # the VM is the pool's, and has lost its disk
    wait(lambda: host.running)
    alone = Caller(host.url, password="of the host")
    (fresh,) = alone("host.get_all_records").values()
    assert fresh["uuid"] != uuid
    assert not files.exists()
    assert [row for row in alone("VM.get_all_records").values() if row["name_label"] == "guest"] == []
    # and it may come again
    join(pool, host)
    assert len(caller("host.get_all")) == 2


def test_a_host_of_the_server_itself_is_ejected_and_joins_again(xapi_factory: XapiFactory, tmp_path: Path) -> None:
    xapi = xapi_factory(state=tmp_path / "pool", hosts=3, options=OPTIONS)
    caller = log_in(xapi)
    second = xapi.hosts[1]
    sr = caller("SR.get_uuid", local_sr(caller, second.ref))
    disk(caller, local_sr(caller, second.ref))
    caller("pool.eject", second.ref)
    (child,) = wait(lambda: xapi.ejected)
    assert child.url == second.url and not (xapi.settings.state / "sr" / sr).exists()
    alone = Caller(second.url, password=xapi.password)
    (row,) = alone("host.get_all_records").values()
    assert row["name_label"] == second.name and row["uuid"] != second.uuid and row["address"] == second.address
    # both are there again after a restart of all, at the addresses that they had
    urls = xapi.urls
    xapi.restart()
    assert xapi.urls == urls and len(log_in(xapi)("host.get_all")) == 2
    xapi.stop()
    xapi.start()
    (child,) = xapi.ejected
    assert [host.address for host in xapi.hosts] == ["127.0.0.1", "127.0.0.3"] and child.hosts[0].address == "127.0.0.2"
    assert len(Caller(child.url, password=xapi.password)("host.get_all")) == 1
    join(xapi, child)
    assert len(log_in(xapi)("host.get_all")) == 3
    assert refusal(child.url, xapi.password) == ["HOST_IS_SLAVE", "127.0.0.1"]


def test_a_host_does_not_join_when_something_speaks_against_it(pools: tuple[EmbeddedHost, EmbeddedHost]) -> None:
    pool, host = pools
    caller = log_in(host)
    where = address(pool)

    def refused(*arguments: str) -> list[str]:
        return caller.error("pool.join", *(arguments or (where, "root", pool.password)))

    assert refused("127.0.0.1:1", "root", "x") == ["JOINING_HOST_CONNECTION_FAILED"]
    assert refused("no such [name", "root", "x") == ["JOINING_HOST_CONNECTION_FAILED"]
    assert refused(where, "root", "wrong")[0] == "SESSION_AUTHENTICATION_FAILED"
    assert refused(address(host), "root", host.password) == [
        "OPERATION_NOT_ALLOWED",
        "Host cannot become slave of itself",
    ]
    (me,) = caller("host.get_all")
    vm = guest(caller, "guest", disk(caller, local_sr(caller, me)))
    caller("VM.start", vm, False, False)
    assert refused() == ["JOINING_HOST_CANNOT_HAVE_RUNNING_VMS"]
    caller("VM.hard_shutdown", vm)
    shared = caller("SR.create", me, {"server": "nas", "serverpath": "/x"}, 0, "s", "", "nfs", "user", True, {})
    assert refused() == ["JOINING_HOST_CANNOT_CONTAIN_SHARED_SRS"]
    caller("PBD.unplug", caller("SR.get_PBDs", shared)[0])
    caller("SR.forget", shared)
    vlan = caller("network.create", {"name_label": "vlan", "other_config": {}})
    pif = next(ref for ref, row in caller("PIF.get_all_records").items() if row["management"])
    tag = caller("VLAN.create", pif, 7, vlan)
    assert refused() == ["POOL_JOINING_HOST_HAS_NON_MANAGEMENT_VLANS"]
    caller("VLAN.destroy", tag)
    with host.pool.store.transaction() as tx:
        tx.update("host", me, cpu_info={**tx.get("host", me)["cpu_info"], "vendor": "AuthenticAMD"})
    assert refused() == ["HOSTS_NOT_HOMOGENEOUS", "CPUs differ"]
    # nothing came of all that; other CPUs can be accepted
    assert len(log_in(pool)("host.get_all")) == 1
    assert disk(caller, local_sr(caller, me))
    assert len(join(pool, host, "pool.join_force")("host.get_all")) == 2


def test_only_a_pool_of_one_joins_and_only_by_its_coordinator(xapi_factory: XapiFactory) -> None:
    pool, pair = xapi_factory(), xapi_factory(hosts=2)
    caller = log_in(pair)
    assert caller.error("pool.join", address(pool), "root", pool.password) == [
        "JOINING_HOST_CANNOT_BE_MASTER_OF_OTHER_HOSTS"
    ]
    single = log_in(pool)
    member = urlsplit(pair.urls[1]).netloc
    assert single.error("pool.join", member, "root", pair.password) == ["HOST_IS_SLAVE", "127.0.0.1"]


def test_a_shared_sr_of_the_pool_is_plugged_on_who_joins(pools: tuple[EmbeddedHost, EmbeddedHost]) -> None:
    pool, host = pools
    caller = log_in(pool)
    (first,) = caller("host.get_all")
    shared = caller("SR.create", first, {"server": "nas", "serverpath": "/x"}, 0, "s", "", "nfs", "user", True, {})
    vm = guest(caller, "agile", disk(caller, shared))
    join(pool, host)
    member = next(ref for ref in caller("host.get_all") if ref != first)
    assert {caller("PBD.get_host", pbd) for pbd in caller("SR.get_PBDs", shared)} == {first, member}
    caller("VM.assert_agile", vm)
    caller("VM.start_on", vm, first, False, False)
    caller("VM.pool_migrate", vm, member, {})
    assert caller("VM.get_resident_on", vm) == member
    local = guest(caller, "bound", disk(caller, local_sr(caller, first)))
    assert caller.error("VM.assert_agile", local)[0] == "HA_CONSTRAINT_VIOLATION_SR_NOT_SHARED"


def test_events_tell_of_a_host_that_joins(pools: tuple[EmbeddedHost, EmbeddedHost]) -> None:
    pool, host = pools
    caller = log_in(pool)
    token = caller("event.from", ["host", "pool"], "", 0.0)["token"]
    join(pool, host)
    batch = caller("event.from", ["host", "pool"], token, 5.0)
    added = [event for event in batch["events"] if event["class"] == "host" and event["operation"] == "add"]
    assert [event["snapshot"]["name_label"] for event in added] == ["beta"]
    assert batch["valid_ref_counts"]["host"] == 2


def test_snapshots_templates_suspended_vms_and_plugins_come_along(pools: tuple[EmbeddedHost, EmbeddedHost]) -> None:
    pool, host = pools
    before = log_in(host)
    (me,) = before("host.get_all")
    vdi = disk(before, local_sr(before, me), "root")
    vm = guest(before, "guest", vdi)
    private = before("network.create", {"name_label": "private", "other_config": {}})
    before("VIF.create", {"VM": vm, "network": private, "device": "0", "MAC": "", "MTU": 1500, "other_config": {},
                          "qos_algorithm_type": "", "qos_algorithm_params": {}})  # fmt: skip
    snapshot = before("VM.snapshot", vm, "then")
    template = before("VM.clone", vm, "own template")
    before("VM.set_is_a_template", template, True)
    before("VM.start", vm, False, False)
    before("VM.suspend", vm)
    uuids = {ref: before("VM.get_uuid", ref) for ref in (vm, snapshot, template)}
    plugins = host.pool.programs.root(before("host.get_uuid", me)) / "etc/xapi.d/plugins"
    script = plugins / "hello"
    script.write_text(
        "#!/bin/sh\necho '<methodResponse><params><param><value><struct><member><name>Status</name><value>Success"
        "</value></member><member><name>Value</name><value>hello</value></member></struct></value></param></params>"
        "</methodResponse>'\n"
    )
    script.chmod(0o755)
    caller = join(pool, host)
    found = {ref: caller("VM.get_by_uuid", uuid) for ref, uuid in uuids.items()}
    member = next(ref for ref, row in caller("host.get_all_records").items() if row["name_label"] == "beta")
    assert caller("VM.get_snapshots", found[vm]) == [found[snapshot]]
    assert caller("VM.get_snapshot_of", found[snapshot]) == found[vm]
    assert caller("VM.get_is_a_template", found[template]) is True
    (vif,) = caller("VM.get_VIFs", found[vm])
    assert caller("network.get_name_label", caller("VIF.get_network", vif)) == "private"
    assert caller("VM.get_power_state", found[vm]) == "Suspended"
    caller("VM.resume", found[vm], False, False)
    assert caller("VM.get_power_state", found[vm]) == "Running"
    assert caller("VM.get_resident_on", found[vm]) == member
    caller("VM.hard_shutdown", found[vm])
    caller("VM.revert", found[snapshot])
    assert caller("host.call_plugin", member, "hello", "main", {}) == "hello"
    caller("VM.destroy", caller("VM.clone", found[template], "from it"))
