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
"""The life of a server, called as the compute manager calls it; and what each call costs the host."""

import random
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from nova import exception
from nova.compute import power_state
from nova.console import type as console_type
from nova.network import model

from driver_rig import MIB, Rig, flavor, instance, port
from nova_xapi.driver import XenAPIDriver

GIB = 1 << 30


def test_a_spawn_from_a_cached_image_stays_within_its_budget(rig: Rig) -> None:
    driver = rig.driver()
    image = rig.image()
    rig.spawn(driver, image, [port()])
    with rig.counted() as calls:
        rig.spawn(driver, image, [port()], flavor_=flavor(root_gb=1))
    assert calls == Counter(
        (
            "VDI.clone", "VDI.add_to_other_config", "VDI.resize", "VDI.set_name_label", "VM.create", "VBD.create",
            "VIF.create", "VM.start_on", "VM.remove_from_other_config",
        )
    )  # fmt: skip


def test_a_further_vif_costs_one_call_and_a_blank_disk_two(rig: Rig) -> None:
    driver = rig.driver()
    image = rig.image()
    rig.spawn(driver, image)
    totals = []
    for ports, shape in (
        ([port()], flavor()),
        ([port(), port()], flavor()),
        ([port()], flavor(swap=64)),
        ([port()], flavor(swap=64, ephemeral_gb=1)),
        ([port(active=False)], flavor()),
    ):
        with rig.counted() as calls:
            rig.spawn(driver, image, ports, flavor_=shape)
        totals.append(sum(calls.values()))
    assert totals == [8, 9, 10, 12, 9]


def test_the_number_of_vms_in_the_pool_changes_no_call(rig: Rig) -> None:
    driver = rig.driver()
    image = rig.image()
    rig.spawn(driver, image)
    seen = []
    for _ in range(3):
        with rig.counted() as calls:
            rig.spawn(driver, image)
        seen.append(calls)
    assert seen[0] == seen[1] == seen[2]


def test_a_server_gets_what_its_flavor_and_ports_say(pool: Rig) -> None:
    driver = pool.driver(host=1)
    image = pool.image()
    ports = [port(mtu=1450), port(mtu=9000)]
    shape = flavor(vcpus=2, memory_mb=512, root_gb=1, swap=64, ephemeral_gb=1)
    server = pool.spawn(driver, image, ports, flavor_=shape, display_name='it\'s "quoted"\nname 名前')
    _, vm = pool.vm(server)
    assert vm["power_state"] == "Running"
    assert vm["resident_on"] == vm["affinity"] == pool.xapi.hosts[1].ref
    assert vm["name_label"] == server.name
    assert vm["name_description"] == 'it\'s "quoted" name 名前'
    assert vm["memory_static_max"] == vm["memory_dynamic_min"] == 512 * MIB
    assert vm["VCPUs_max"] == 2
    assert vm["HVM_boot_params"] == {"order": "cd", "firmware": "bios"}
    vifs = sorted((pool.rows("VIF")[ref] for ref in vm["VIFs"]), key=lambda vif: vif["device"])
    assert [(vif["MAC"], vif["MTU"]) for vif in vifs] == [
        (one["address"], one["network"]["meta"]["mtu"]) for one in ports
    ]
    assert [vif["other_config"]["nicira-iface-id"] for vif in vifs] == [one["id"] for one in ports]
    assert {vif["locking_mode"] for vif in vifs} == {"unlocked"}
    network = pool.rows("network")[vifs[0]["network"]]
    assert (network["bridge"], network["managed"]) == ("br-int", False)
    vbds = {vbd["userdevice"]: vbd for vbd in (pool.rows("VBD")[ref] for ref in vm["VBDs"])}
    vdis = {position: pool.rows("VDI")[vbd["VDI"]] for position, vbd in vbds.items()}
    assert {position: vdi["virtual_size"] for position, vdi in vdis.items()} == {"0": GIB, "2": 64 * MIB, "4": GIB}
    assert vdis["0"]["name_label"] == f"{server.name} root"
    assert vbds["0"]["bootable"] and not vbds["2"]["bootable"]


def test_the_root_disk_holds_the_image(rig: Rig) -> None:
    driver = rig.driver()
    data = random.Random(7).randbytes(3 * MIB) + bytes(MIB)
    image = rig.glance.add(data, "raw")
    server = rig.spawn(driver, image, flavor_=flavor(root_gb=1), power_on=False)
    _, vm = rig.vm(server)
    assert vm["power_state"] == "Halted"
    root = rig.rows("VBD")[vm["VBDs"][0]]["VDI"]
    body = b""
    with rig.client.export_vdi(root) as chunks:
        while len(body) < 8 * MIB:
            body += next(chunks)
    assert body[: len(data)] == data
    assert not any(body[len(data) :])


def test_an_iso_is_a_cd_beside_a_blank_root_disk(rig: Rig) -> None:
    driver = rig.driver()
    iso = bytes(16 * 2048) + b"\x01CD001\x01\x00" + bytes(2040) + b"\xffCD001\x01" + bytes(2041) + bytes(MIB)
    image = rig.glance.add(iso, "iso")
    first, second = (rig.spawn(driver, image, flavor_=flavor(root_gb=1)) for _ in range(2))
    _, vm = rig.vm(first)
    vbds = {vbd["userdevice"]: vbd for vbd in (rig.rows("VBD")[ref] for ref in vm["VBDs"])}
    assert [(vbds[at]["type"], vbds[at]["mode"]) for at in ("0", "1")] == [("Disk", "RW"), ("CD", "RO")]
    assert vm["HVM_boot_params"]["order"] == "dc"
    cd = vbds["1"]["VDI"]
    driver.destroy(rig.context, first, None)
    # the other one still has it, and so has the cache
    assert cd in rig.rows("VDI")
    driver.destroy(rig.context, second, None)
    assert cd in rig.rows("VDI")


def test_destroy_leaves_nothing_but_the_base_image(rig: Rig) -> None:
    driver = rig.driver()
    image = rig.image()
    server = rig.spawn(driver, image)
    driver.destroy(rig.context, server, None)
    before = rig.settled_census()
    other = rig.spawn(driver, image, [port()], flavor_=flavor(root_gb=1, swap=64, ephemeral_gb=2))
    with rig.counted() as calls:
        driver.destroy(rig.context, other, model.NetworkInfo([]))
    assert rig.settled_census() == before
    assert calls == {"VM.hard_shutdown": 1, "VM.destroy": 1, "VDI.destroy": 3}
    assert not driver.instance_exists(other)


def test_destroy_of_what_is_not_there_succeeds(rig: Rig) -> None:
    driver = rig.driver()
    server = rig.spawn(driver, rig.image())
    for _ in range(2):
        driver.destroy(rig.context, server, None)
    driver.cleanup(rig.context, server, None)
    driver.destroy(rig.context, instance(), model.NetworkInfo([]), block_device_info=None)


def test_a_server_can_be_made_again_after_it_was_destroyed(rig: Rig) -> None:
    driver = rig.driver()
    image = rig.image()
    server = rig.spawn(driver, image)
    driver.destroy(rig.context, server, None)
    rig.spawn(driver, image, server=server)
    assert driver.get_info(server).state == power_state.RUNNING


def test_a_second_spawn_of_one_server_is_refused_and_harms_nothing(rig: Rig) -> None:
    driver = rig.driver()
    image = rig.image()
    server = rig.spawn(driver, image)
    before = rig.census()
    with pytest.raises(exception.InstanceExists):
        rig.spawn(driver, image, server=server)
    assert rig.census() == before
    assert driver.get_info(server).state == power_state.RUNNING


# --------------------------------------------------------------------------------------------------------- power


def test_power_operations_reach_their_state_and_can_be_repeated(rig: Rig) -> None:
    driver = rig.driver()
    server = rig.spawn(driver, rig.image())
    steps: list[tuple[Any, int]] = [
        (lambda: driver.pause(server), power_state.PAUSED),
        (lambda: driver.unpause(server), power_state.RUNNING),
        (lambda: driver.power_off(server), power_state.SHUTDOWN),
        (lambda: driver.power_on(rig.context, server, None), power_state.RUNNING),
        (lambda: driver.power_off(server, timeout=30, retry_interval=10), power_state.SHUTDOWN),
        (lambda: driver.reboot(rig.context, server, None, "HARD"), power_state.RUNNING),
    ]
    for step, state in steps:
        step()
        assert driver.get_info(server).state == state
        assert driver.get_info(server, use_cache=False).state == state
        if state != power_state.RUNNING or step is not steps[-1][0]:
            step()
            assert driver.get_info(server).state == state


@pytest.mark.parametrize("kind", ["SOFT", "HARD"])
def test_a_reboot_ends_in_another_domain(rig: Rig, kind: str) -> None:
    driver = rig.driver()
    server = rig.spawn(driver, rig.image())
    before = rig.vm(server)[1]["domid"]
    driver.reboot(rig.context, server, None, kind)
    _, vm = rig.vm(server)
    assert vm["power_state"] == "Running"
    assert vm["domid"] not in (before, -1)


@pytest.mark.parametrize("first", ["VM.pause", "VM.suspend", "VM.hard_shutdown"])
def test_a_hard_reboot_makes_a_guest_run_whatever_its_state(rig: Rig, first: str) -> None:
    driver = rig.driver()
    server = rig.spawn(driver, rig.image())
    vm, record = rig.vm(server)
    rig.client.call(first, vm)
    driver.service.conn.cache.catch_up()
    driver.reboot(rig.context, server, None, "HARD")
    after = rig.vm(server)[1]
    assert after["power_state"] == "Running"
    assert after["domid"] not in (record["domid"], -1)


def test_power_off_is_clean_first(rig: Rig) -> None:
    driver = rig.driver()
    server = rig.spawn(driver, rig.image())
    with rig.counted() as calls:
        driver.power_off(server, timeout=30, retry_interval=10)
    assert calls["VM.clean_shutdown"] == 1
    assert "VM.hard_shutdown" not in calls


def test_a_guest_that_cannot_be_asked_is_switched_off_at_once(rig: Rig) -> None:
    driver = rig.driver()
    server = rig.spawn(driver, rig.image())
    vm, _ = rig.vm(server)
    rig.xapi.faults.add("error", method="VM.clean_shutdown", error=["VM_LACKS_FEATURE", vm])
    driver.power_off(server, timeout=600, retry_interval=300)
    assert rig.vm(server)[1]["power_state"] == "Halted"


def test_a_guest_that_does_not_react_is_switched_off_after_the_timeout(rig: Rig) -> None:
    driver = rig.driver()
    server = rig.spawn(driver, rig.image(), power_on=False)
    rig.client.call("VM.add_to_platform", rig.vm(server)[0], "timed_ignores_requests", "true")
    driver.power_on(rig.context, server, None)
    with rig.counted() as calls:
        driver.power_off(server, timeout=1, retry_interval=0.4)  # type: ignore[arg-type]
    assert rig.vm(server)[1]["power_state"] == "Halted"
    assert calls["VM.clean_shutdown"] == 3
    assert calls["VM.hard_shutdown"] == 1


def test_a_soft_reboot_falls_back_to_a_hard_one(rig: Rig) -> None:
    driver = rig.driver()
    server = rig.spawn(driver, rig.image())
    before = rig.vm(server)[1]["domid"]
    rig.xapi.faults.add("error", method="VM.clean_reboot", error=["VM_LACKS_FEATURE", "vm"])
    driver.reboot(rig.context, server, None, "SOFT")
    assert rig.vm(server)[1]["domid"] not in (before, -1)


def test_operations_on_a_server_without_vm_say_so(rig: Rig) -> None:
    driver = rig.driver()
    missing = instance()
    calls = [
        lambda: driver.get_info(missing),
        lambda: driver.get_info(missing, use_cache=False),
        lambda: driver.power_on(rig.context, missing, None),
        lambda: driver.power_off(missing, 1, 1),
        lambda: driver.reboot(rig.context, missing, None, "HARD"),
        lambda: driver.pause(missing),
        lambda: driver.unpause(missing),
        lambda: driver.get_console_output(rig.context, missing),
        lambda: driver.get_vnc_console(rig.context, missing),
        lambda: driver.get_diagnostics(missing),
        lambda: driver.get_instance_diagnostics(missing),
    ]
    for call in calls:
        with pytest.raises(exception.InstanceNotFound):
            call()
    driver.unplug_vifs(missing, model.NetworkInfo([port()]))


# --------------------------------------------------------------------------------------------- listing, whose is it


def test_listing_is_of_this_service_on_this_host_alone(pool: Rig) -> None:
    one, other = pool.driver(host=0), pool.driver(host=1)
    image = pool.image()
    mine = [pool.spawn(one, image), pool.spawn(one, image, power_on=False)]
    theirs = pool.spawn(other, image)
    template = next(ref for ref, vm in pool.rows("VM").items() if vm["is_default_template"])
    foreign = pool.client.call("VM.clone", template, "somebody's")
    pool.client.call("VM.set_is_a_template", foreign, False)
    pool.client.call("VM.add_to_other_config", foreign, "nova_uuid", mine[0].uuid)
    one.service.conn.cache.catch_up()
    assert one.list_instance_uuids() == sorted(server.uuid for server in mine)
    assert sorted(one.list_instances()) == sorted(server.name for server in mine)
    assert one.get_num_instances() == 2
    assert other.list_instance_uuids() == [theirs.uuid]
    assert one.instance_exists(mine[1]) and not one.instance_exists(theirs)
    one.destroy(pool.context, mine[0], None)
    assert foreign in pool.rows("VM")


def test_a_snapshot_that_somebody_took_is_no_server(rig: Rig) -> None:
    driver = rig.driver()
    server = rig.spawn(driver, rig.image(), power_on=False)
    rig.client.call("VM.snapshot", rig.vm(server)[0], "a snapshot")
    driver.service.conn.cache.catch_up()
    assert driver.list_instance_uuids() == [server.uuid]
    assert driver.get_info(server).state == power_state.SHUTDOWN


def test_periodic_questions_make_no_call(rig: Rig) -> None:
    driver = rig.driver()
    servers = [rig.spawn(driver, rig.image(), power_on=False) for _ in range(3)]
    node = driver.get_available_nodes()[0]
    with rig.counted() as calls:
        driver.get_num_instances()
        driver.list_instance_uuids()
        driver.get_available_resource(node)
        for server in servers:
            driver.get_info(server)
            driver.plug_vifs(server, model.NetworkInfo([]))
    assert not calls


def test_what_a_person_does_is_seen(rig: Rig) -> None:
    driver = rig.driver()
    server = rig.spawn(driver, rig.image())
    vm, _ = rig.vm(server)
    rig.client.call("VM.hard_shutdown", vm)
    assert driver.get_info(server, use_cache=False).state == power_state.SHUTDOWN
    driver.service.conn.wait(lambda cache: cache.get("VM", vm)["power_state"] == "Halted")  # type: ignore[index]
    assert driver.get_info(server).state == power_state.SHUTDOWN
    rig.client.call("VM.destroy", vm)
    with pytest.raises(exception.InstanceNotFound):
        driver.get_info(server, use_cache=False)


def test_a_cache_that_is_behind_answers_nothing(rig: Rig) -> None:
    driver = rig.driver()
    server = rig.spawn(driver, rig.image())
    rig.xapi.faults.add("error", method="event.from", error=["INTERNAL_ERROR", "no news"])
    rig.client.call("VM.add_tags", rig.vm(server)[0], "something happens")
    driver.service.conn.cache.wait_for(lambda cache: not cache.in_step, 30)
    for call in (
        lambda: driver.get_info(server),
        driver.list_instance_uuids,
        driver.get_num_instances,
        driver.get_available_nodes,
        lambda: driver.get_available_resource("node"),
    ):
        with pytest.raises(exception.VirtDriverNotReady):
            call()
    rig.xapi.faults.clear()
    driver.service.conn.cache.wait_in_step(30)
    assert driver.get_info(server).state == power_state.RUNNING


# ------------------------------------------------------------------------------------------------------ networks


def test_ports_are_waited_for_with_the_guest_paused(rig: Rig) -> None:
    driver = rig.driver()
    inactive, active = port(active=False), port(active=True)
    states: list[str] = []

    def look() -> None:
        states.extend(vm["power_state"] for vm in rig.rows("VM").values() if "nova_uuid" in vm["other_config"])

    rig.ports.during = look
    server = rig.spawn(driver, rig.image(), [inactive, active])
    assert rig.ports.waited_for == [inactive["id"]]
    assert states == ["Paused"]
    assert rig.vm(server)[1]["power_state"] == "Running"


@pytest.mark.parametrize("how", ["failing", "silent"])
def test_a_port_that_is_not_wired_ends_the_spawn(rig: Rig, how: str) -> None:
    driver = rig.driver()
    image = rig.image()
    driver.destroy(rig.context, rig.spawn(driver, image), None)
    before = rig.settled_census()
    bad = port(active=False)
    getattr(rig.ports, how).add(bad["id"])
    with pytest.raises(exception.VirtualInterfaceCreateException):
        rig.spawn(driver, image, [port(), bad])
    assert rig.settled_census() == before


def test_vifs_that_are_missing_are_made_again_and_others_left(rig: Rig) -> None:
    driver = rig.driver()
    ports = model.NetworkInfo([port(), port()])
    server = rig.spawn(driver, rig.image(), ports)
    vm, record = rig.vm(server)
    lost = next(ref for ref in record["VIFs"] if rig.rows("VIF")[ref]["device"] == "1")
    rig.client.call("VIF.unplug", lost)
    rig.client.call("VIF.destroy", lost)
    driver.service.conn.cache.catch_up()
    driver.plug_vifs(server, ports)
    driver.service.conn.cache.catch_up()
    vifs = [rig.rows("VIF")[ref] for ref in rig.rows("VM")[vm]["VIFs"]]
    assert sorted(vif["MAC"] for vif in vifs) == sorted(one["address"] for one in ports)
    assert all(vif["currently_attached"] for vif in vifs)
    with rig.counted() as calls:
        driver.plug_vifs(server, ports)
    assert not calls
    driver.unplug_vifs(server, ports)
    assert not rig.rows("VM")[vm]["VIFs"]


# ------------------------------------------------------------------------------------------------------ the rest


def test_consoles_and_diagnostics(rig: Rig) -> None:
    driver = rig.driver()
    one = port()
    server = rig.spawn(driver, rig.image(), [one])
    console = driver.get_vnc_console(rig.context, server)
    assert isinstance(console, console_type.ConsoleVNC)
    # the proxy asks a second time and compares
    again = driver.get_vnc_console(rig.context, server)
    assert (console.host, console.port, console.internal_access_path) == (
        again.host,
        again.port,
        again.internal_access_path,
    )
    assert isinstance(driver.get_console_output(rig.context, server), bytes)
    found = driver.get_instance_diagnostics(server)
    assert (found.state, found.driver, found.num_cpus, found.num_nics, found.num_disks) == (
        "running",
        "xenapi",
        1,
        1,
        1,
    )
    assert found.nic_details[0].mac_address == one["address"]
    assert found.memory_details.maximum == 256
    assert found.uptime is not None and found.uptime < 600
    assert driver.get_diagnostics(server)["vif_0_mac"] == one["address"]
    assert driver.get_host_ip_addr() == rig.xapi.hosts[0].address
    assert " up " in driver.get_host_uptime()


def test_two_services_spawn_one_image_at_once_and_it_is_fetched_once_per_sr(pool: Rig) -> None:
    drivers: list[XenAPIDriver] = [pool.driver(host=0), pool.driver(host=1)]
    image = pool.image()
    with ThreadPoolExecutor(6) as threads:
        servers = list(threads.map(lambda n: pool.spawn(drivers[n % 2], image), range(6)))
    assert image.downloads == 2  # one for the local SR of each host
    assert all(pool.vm(server)[1]["power_state"] == "Running" for server in servers)
    for number, server in enumerate(servers):
        assert pool.vm(server)[1]["resident_on"] == pool.xapi.hosts[number % 2].ref
