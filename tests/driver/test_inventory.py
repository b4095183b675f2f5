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
"""What Placement and the resource tracker are told."""

import json
import uuid
from typing import Any

import os_traits
import pytest
from nova.compute import provider_tree

from driver_rig import CONF, MIB, Rig, flavor
from nova_xapi.driver import XenAPIDriver
from nova_xapi.hosts.inventory import HARDWARE, cpu_traits

GIB = 1 << 30


def tree_of(driver: XenAPIDriver) -> Any:
    tree = provider_tree.ProviderTree()
    node = driver.get_available_nodes()[0]
    tree.new_root(node, str(uuid.uuid4()))
    return tree


def updated(driver: XenAPIDriver, tree: Any) -> Any:
    node = driver.get_available_nodes()[0]
    driver.update_provider_tree(tree, node)
    return tree.data(node)


def test_inventory_is_the_hosts_less_what_is_taken(rig: Rig) -> None:
    driver = rig.driver()
    tree = tree_of(driver)
    with rig.counted() as calls:
        inventory = updated(driver, tree).inventory
    assert not calls
    host = rig.rows("host")[rig.xapi.hosts[0].ref]
    dom0 = rig.rows("VM")[host["control_domain"]]
    sr = next(row for row in rig.rows("SR").values() if row["type"] == "ext")
    assert inventory["VCPU"]["total"] == 8
    assert inventory["VCPU"]["allocation_ratio"] == CONF.initial_cpu_allocation_ratio
    assert inventory["MEMORY_MB"]["total"] == 16 * 1024
    taken = host["memory_overhead"] + dom0["memory_target"]
    assert inventory["MEMORY_MB"]["reserved"] == -(-taken // MIB) + CONF.reserved_host_memory_mb
    assert inventory["DISK_GB"]["total"] == sr["physical_size"] // GIB
    assert all(one["max_unit"] == one["total"] for one in inventory.values())


def test_servers_cost_their_overhead_and_foreign_vms_all_they_have(rig: Rig) -> None:
    driver = rig.driver()
    tree = tree_of(driver)
    before = updated(driver, tree).inventory["MEMORY_MB"]["reserved"]
    server = rig.spawn(driver, rig.image(), flavor_=flavor(memory_mb=512))
    vm, record = rig.vm(server)
    driver.service.conn.cache.catch_up()
    mine = updated(driver, tree).inventory["MEMORY_MB"]["reserved"]
    assert mine - before == pytest.approx(record["memory_overhead"] / MIB, abs=1)
    # the same VM without our mark is somebody's
    rig.client.call("VM.remove_from_other_config", vm, "nova_xapi_service")
    driver.service.conn.cache.catch_up()
    foreign = updated(driver, tree).inventory["MEMORY_MB"]["reserved"]
    assert foreign - before == pytest.approx(record["memory_overhead"] / MIB + 512, abs=1)


def test_traits_are_the_hosts_and_those_of_others_stay(rig: Rig) -> None:
    driver = rig.driver()
    tree = tree_of(driver)
    node = driver.get_available_nodes()[0]
    tree.add_traits(node, "CUSTOM_GOLD", "COMPUTE_STATUS_DISABLED", "OWNER_NOVA", "HW_CPU_X86_SGX")
    traits = updated(driver, tree).traits
    assert traits >= HARDWARE | {"CUSTOM_GOLD", "COMPUTE_STATUS_DISABLED", "OWNER_NOVA"}
    assert {"HW_CPU_X86_AESNI", "HW_CPU_X86_AVX2", "HW_CPU_X86_SSE42"} <= traits
    assert "HW_CPU_X86_SGX" not in traits  # the host's CPU does not have it
    assert not [trait for trait in traits if not trait.startswith("CUSTOM_") and trait not in os_traits.get_traits()]


def test_cpu_flags_without_a_trait_are_left_out() -> None:
    assert cpu_traits(["aes", "pni", "fpu", "no_such_flag"]) == {"HW_CPU_X86_AESNI", "HW_CPU_X86_SSE3"}


def test_reserved_never_exceeds_what_there_is() -> None:
    with Rig(memory_bytes=2 * GIB) as rig:
        CONF.set_override("reserved_host_memory_mb", 100_000)
        try:
            driver = rig.driver()
            inventory = updated(driver, tree_of(driver)).inventory
        finally:
            CONF.clear_override("reserved_host_memory_mb")
    assert inventory["MEMORY_MB"]["reserved"] == inventory["MEMORY_MB"]["total"]


def test_the_resource_tracker_gets_what_it_needs(rig: Rig) -> None:
    driver = rig.driver()
    node = driver.get_available_nodes()[0]
    rig.spawn(driver, rig.image(), flavor_=flavor(vcpus=2))
    resource = driver.get_available_resource(node)
    assert resource["hypervisor_hostname"] == node == driver.service.settings.host
    assert resource["hypervisor_type"] == "XenServer"
    assert resource["hypervisor_version"] == 8003000
    assert resource["supported_instances"] == [("x86_64", "xen", "hvm")]
    assert resource["vcpus_used"] == 2
    assert json.loads(resource["cpu_info"])["topology"]["cores"] == 8
    assert json.loads(resource["pci_passthrough_devices"]) == []
    assert all(isinstance(resource[name], int) for name in ("vcpus", "memory_mb", "local_gb", "memory_mb_used"))


def test_the_node_keeps_its_name_when_the_host_is_renamed(rig: Rig) -> None:
    driver = rig.driver()
    before = driver.get_available_nodes()
    rig.client.call("host.set_name_label", rig.xapi.hosts[0].ref, "another name")
    driver.service.conn.cache.catch_up()
    assert driver.get_available_nodes(refresh=True) == before
    assert driver.node_is_available(before[0])
