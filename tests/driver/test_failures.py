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
"""Bad input, and failures of host, image service and network: a clear error, and nothing is left."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from nova import exception
from nova.network import model
from sweep.run import Stage

from driver_rig import MIB, Rig, flavor, instance, meta, port
from nova_xapi.driver import XenAPIDriver
from nova_xapi.errors import HypervisorFailed, UnsupportedDevice
from xapikit import vhd

FULL = ["SR_BACKEND_FAILURE_44", "", "There is insufficient space", ""]
BROKEN = ["SR_BACKEND_FAILURE_46", "", "The VDI is not available [opterr=VHD broken]", ""]


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with Rig(hosts=2) as rig:
        yield Stage.set_up(rig)


def refused(stage: Stage, kind: type[Exception], spawn: Callable[[], Any], *words: str) -> str:
    """What the spawn says; nothing is left of it, also without a clean-up."""
    with pytest.raises(kind) as told:
        spawn()
    assert stage.remaining(10.0) == {}
    for word in words:
        assert word in str(told.value)
    return str(told.value)


def test_an_image_that_does_not_exist(stage: Stage) -> None:
    image = stage.rig.image()
    del stage.rig.glance.images[image.id]
    refused(stage, exception.ImageNotFound, lambda: stage.spawn(image), image.id)


def test_image_data_that_glance_does_not_give(stage: Stage) -> None:
    image = stage.rig.image()
    image.data_status = 404
    refused(stage, exception.NovaException, lambda: stage.spawn(image), image.id)


def test_a_stream_that_is_cut(stage: Stage) -> None:
    image = stage.rig.image()
    image.cut_after = MIB
    refused(stage, exception.NovaException, lambda: stage.spawn(image), image.id)


def test_a_hash_that_lies(stage: Stage) -> None:
    image = stage.rig.image()
    image.record["os_hash_value"] = "0" * 128
    refused(stage, exception.ImageUnacceptable, lambda: stage.spawn(image), image.id)


def test_an_image_that_is_not_of_its_format(stage: Stage) -> None:
    image = stage.rig.glance.add(b"QFI\xfb\x00\x00\x00\x03" + bytes(4 * MIB), "raw")
    refused(stage, exception.ImageUnacceptable, lambda: stage.spawn(image), image.id)
    claimed = stage.rig.image(disk_format="vhd")
    refused(stage, exception.ImageUnacceptable, lambda: stage.spawn(claimed), claimed.id)


def test_a_format_that_is_not_supported(stage: Stage) -> None:
    image = stage.rig.image(disk_format="vmdk")
    refused(stage, exception.InvalidDiskFormat, lambda: stage.spawn(image), "vmdk")


def test_an_image_larger_than_the_flavors_disk(stage: Stage, tmp_path: Path) -> None:
    vhd.create(tmp_path / "large.vhd", 2 << 30)
    image = stage.rig.glance.add((tmp_path / "large.vhd").read_bytes(), "vhd")
    with stage.rig.counted() as calls:
        refused(stage, exception.FlavorDiskSmallerThanImage, lambda: stage.spawn(image))
    assert "VDI.create" not in calls  # before the first byte


def test_a_flavor_without_disk_takes_the_images_size(stage: Stage) -> None:
    server = stage.rig.spawn(stage.driver, stage.image, flavor_=flavor(root_gb=0))
    root = stage.rig.rows("VBD")[stage.rig.vm(server)[1]["VBDs"][0]]["VDI"]
    assert stage.rig.rows("VDI")[root]["virtual_size"] == 4 * MIB
    stage.remove(server)


def test_more_vcpus_than_the_host_has(stage: Stage) -> None:
    def spawn() -> None:
        stage.rig.spawn(stage.driver, stage.image, flavor_=flavor(vcpus=9))

    with stage.rig.counted() as calls:
        refused(stage, exception.ComputeResourcesUnavailable, spawn, "9 vCPUs", "8 CPUs")
    assert not calls


def test_more_memory_than_the_host_has(stage: Stage) -> None:
    def spawn() -> None:
        stage.rig.spawn(stage.driver, stage.image, flavor_=flavor(memory_mb=1 << 20))

    refused(stage, exception.ComputeResourcesUnavailable, spawn, "HOST_NOT_ENOUGH_FREE_MEMORY")


def test_an_image_property_with_an_unknown_value(stage: Stage) -> None:
    def spawn() -> None:
        stage.rig.spawn(stage.driver, stage.image, image_meta=meta(stage.image, hw_vif_model="virtio"))

    with stage.rig.counted() as calls:
        refused(stage, exception.ImageUnacceptable, spawn, "hw_vif_model=virtio")
    assert not calls


def test_a_volume(stage: Stage) -> None:
    info = {"block_device_mapping": [{"mount_device": "/dev/vdb"}], "swap": None, "ephemerals": []}
    refused(
        stage,
        UnsupportedDevice,
        lambda: stage.rig.spawn(stage.driver, stage.image, block_device_info=info),
        "volumes",
    )


def test_a_port_that_is_not_bound(stage: Stage) -> None:
    refused(
        stage,
        exception.VirtualInterfacePlugException,
        lambda: stage.rig.spawn(stage.driver, stage.image, [port(type="binding_failed")]),
    )


def test_a_network_that_could_not_be_allocated(stage: Stage) -> None:
    def allocate() -> Any:
        raise exception.NoMoreFixedIps(net="net")

    server = instance(stage.image.id)
    with pytest.raises(exception.NoMoreFixedIps):
        stage.driver.spawn(
            stage.rig.context,
            server,
            meta(stage.image),
            [],
            "",
            {},
            network_info=model.NetworkInfoAsyncWrapper(allocate),
        )
    assert stage.remaining(10.0) == {}


@pytest.mark.parametrize("name", ['it\'s "quoted"', "line\nbreak\ttab", "x" * 255, "сервер 服务器 🦊", "<&>;$(id)", ""])
def test_names_of_all_kinds(stage: Stage, name: str) -> None:
    server = stage.rig.spawn(stage.driver, stage.image, display_name=name)
    found = stage.rig.vm(server)[1]["name_description"]
    assert found == " ".join(name.replace("\t", " ").split()) if "\n" in name else found == name
    stage.remove(server)


@pytest.mark.parametrize(
    ("method", "error", "kind"),
    [
        ("VDI.clone", FULL, exception.ComputeResourcesUnavailable),
        ("VDI.resize", FULL, exception.ComputeResourcesUnavailable),
        ("VDI.clone", BROKEN, HypervisorFailed),
        ("VM.start_on", ["HOST_DISABLED", "OpaqueRef:h"], exception.ComputeResourcesUnavailable),
        ("VM.start_on", ["VM_REQUIRES_SR", "OpaqueRef:v", "OpaqueRef:s"], exception.ComputeResourcesUnavailable),
        ("VM.start_on", ["INTERNAL_ERROR", "xenopsd internal error"], HypervisorFailed),
        ("VM.create", ["RBAC_PERMISSION_DENIED", "VM.create", "no permission"], HypervisorFailed),
    ],
)  # fmt: skip
def test_what_the_host_refuses_is_named(stage: Stage, method: str, error: list[str], kind: type[Exception]) -> None:
    rule = stage.rig.xapi.faults.add("error", method=method, error=error)
    try:
        refused(stage, kind, lambda: stage.spawn(stage.image), error[0], method)
    finally:
        stage.rig.xapi.faults.remove(rule)


def test_an_sr_that_is_full_before_the_import(stage: Stage) -> None:
    image = stage.rig.image()
    rule = stage.rig.xapi.faults.add("error", method="VDI.create", error=FULL)
    try:
        refused(stage, exception.ComputeResourcesUnavailable, lambda: stage.spawn(image), "no room", image.id)
    finally:
        stage.rig.xapi.faults.remove(rule)


def test_a_host_that_was_disabled(stage: Stage) -> None:
    host = stage.driver.service.conn.host_ref
    stage.rig.client.call("host.disable", host)
    stage.driver.service.conn.cache.catch_up()
    try:
        refused(stage, exception.ComputeResourcesUnavailable, lambda: stage.spawn(stage.image), "disabled")
    finally:
        stage.rig.client.call("host.enable", host)
        stage.driver.service.conn.cache.catch_up()


def test_a_guest_that_does_not_come_up_ends_the_spawn(rig: Rig) -> None:
    driver = rig.driver(running_timeout=1)
    image = rig.image()
    stage = Stage(rig, driver, image)
    stage.remove(stage.spawn(image))
    rig.settled_census()
    stage.baseline = stage.census()
    # the host says that it started the guest, and the news of it does not come
    news = rig.xapi.faults.add("delay", method="event.from", seconds=8)
    # the request for news that is under way ends with this; the next one is late
    driver.service.conn.cache.catch_up()
    with pytest.raises(HypervisorFailed) as told:
        stage.spawn(image)
    assert "completing" in str(told.value)
    rig.xapi.faults.remove(news)
    rig.xapi.faults.clear()
    driver.service.conn.cache.wait_in_step(30)
    assert stage.remaining(10.0) == {}


# -------------------------------------------------------------------------------------------- the toolstack restarts


def test_a_restart_of_the_toolstack_in_the_middle_is_survived_or_leaves_nothing(rig: Rig) -> None:
    driver = rig.driver()
    image = rig.image()
    server = rig.spawn(driver, image)
    for at in ("VDI.clone", "VM.create", "VBD.create", "VM.start_on", "VM.remove_from_other_config"):
        rule = rig.xapi.faults.add("restart", method=at, count=1)
        made = None
        try:
            made = rig.spawn(driver, image)
        except exception.NovaException as error:
            assert str(error)
        rig.xapi.faults.remove(rule)
        driver.service.conn.cache.wait_in_step(60)
        if made is not None:
            assert driver.get_info(made, use_cache=False).state == 1
            driver.destroy(rig.context, made, None)
        driver.service.reconciler.run()
        vms = [vm for vm in rig.rows("VM").values() if "nova_uuid" in vm["other_config"]]
        assert [vm["other_config"]["nova_uuid"] for vm in vms] == [server.uuid], at
        disks = [vdi for vdi in rig.rows("VDI").values() if "nova_xapi_owner" in vdi["other_config"]]
        assert len(disks) == 1, at
    # the server that ran all the time was not touched
    assert driver.get_info(server).state == 1


def test_operations_wait_for_a_toolstack_that_restarts(rig: Rig) -> None:
    driver: XenAPIDriver = rig.driver()
    server = rig.spawn(driver, rig.image())
    rig.xapi.restart()
    driver.reboot(rig.context, server, None, "HARD")
    driver.power_off(server)
    assert driver.get_info(server).state == 4
    driver.destroy(rig.context, server, None)
    assert driver.list_instance_uuids() == []
