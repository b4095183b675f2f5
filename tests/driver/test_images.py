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
"""How images become disks of servers: cloned from the cache or fetched alone, as a disk or as a CD."""

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from driver_rig import MIB, Rig, flavor, instance, meta
from nova_xapi.image import errors, marks


def devices(rig: Rig, server: Any) -> dict[str, tuple[str, str, bool]]:
    """Type, mode and bootable of each VBD of a server, by position."""
    vm, _ = rig.vm(server)
    return {
        vbd["userdevice"]: (vbd["type"], vbd["mode"], vbd["bootable"])
        for vbd in rig.rows("VBD").values()
        if vbd["VM"] == vm
    }


def vdi_at(rig: Rig, server: Any, position: int) -> tuple[str, Any]:
    vm, _ = rig.vm(server)
    (ref,) = [vbd["VDI"] for vbd in rig.rows("VBD").values() if vbd["VM"] == vm and vbd["userdevice"] == str(position)]
    return ref, rig.rows("VDI")[ref]


def content(rig: Rig, vdi: str) -> bytes:
    with rig.client.export_vdi(vdi) as chunks:
        return b"".join(bytes(chunk) for chunk in chunks)


def begins_with(rig: Rig, vdi: str, image: Any) -> bool:
    """Whether a disk that may be much larger begins with the image."""
    with rig.client.export_vdi(vdi) as chunks:
        found = b"".join(bytes(chunk) for chunk, _ in zip(chunks, range(4), strict=False))
    data = b"".join(image.chunks())
    return len(found) > 0 and found[: len(data)] == data[: len(found)]


def iso() -> bytes:
    descriptor = b"\x01CD001\x01\0".ljust(2048, b"\0")
    return bytes(16 * 2048) + descriptor + b"\xffCD001\x01".ljust(2048, b"\0") + os.urandom(MIB)


def test_a_disk_grows_to_the_flavor_and_starts_with_the_image(rig: Rig) -> None:
    driver, image = rig.driver(), rig.image()
    server = rig.spawn(driver, image, flavor_=flavor(root_gb=1), power_on=False)
    ref, vdi = vdi_at(rig, server, 0)
    assert int(vdi["virtual_size"]) == 1 << 30
    assert begins_with(rig, ref, image)


@pytest.mark.feature("storage.image")
@pytest.mark.parametrize(("root_gb", "expected"), [(1, {"0", "1"}), (0, {"1"})])
def test_an_iso_is_a_cd_beside_a_blank_disk(rig: Rig, root_gb: int, expected: set[str]) -> None:
    driver, image = rig.driver(), rig.glance.add(iso(), "iso")
    server = rig.spawn(driver, image, flavor_=flavor(root_gb=root_gb))
    found = devices(rig, server)
    assert set(found) == expected and found["1"] == ("CD", "RO", True)
    driver.power_off(server)
    ref, _ = vdi_at(rig, server, 1)
    assert content(rig, ref)[: image.length] == b"".join(image.chunks())
    _, vm = rig.vm(server)
    assert "d" in vm["HVM_boot_params"]["order"]


def test_without_the_cache_an_image_is_fetched_for_each_server(rig: Rig) -> None:
    driver, image = rig.driver(cache_images="none"), rig.image()
    before = rig.census()
    servers = [rig.spawn(driver, image, flavor_=flavor(root_gb=1)) for _ in range(2)]
    assert image.downloads == 2
    assert not any(marks.is_base(vdi) or marks.importer_of(vdi) for vdi in rig.rows("VDI").values())
    for server in servers:
        driver.power_off(server)
        ref, vdi = vdi_at(rig, server, 0)
        assert vdi["virtual_size"] == 1 << 30 and vdi["name_label"].endswith(" root")
        assert begins_with(rig, ref, image)
        driver.destroy(rig.context, server, [])
    assert rig.census() == before


def test_some_images_are_cached_when_they_say_so(rig: Rig) -> None:
    driver, image = rig.driver(cache_images="some"), rig.image()
    rig.spawn(driver, image)
    assert not any(marks.is_base(vdi) for vdi in rig.rows("VDI").values())
    rig.spawn(driver, image, system_metadata={"image_cache_in_nova": "True"})
    rig.spawn(driver, image, system_metadata={"image_cache_in_nova": "True"})
    assert sum(marks.is_base(vdi) for vdi in rig.rows("VDI").values()) == 1
    assert image.downloads == 2


@pytest.mark.parametrize("cached", ["all", "none"])
def test_a_refused_image_leaves_nothing_of_the_server(rig: Rig, cached: str) -> None:
    driver, image = rig.driver(cache_images=cached), rig.image(os_hash_value="0" * 128)
    before = rig.census()
    with pytest.raises(errors.ImageRefused, match="hash"):
        rig.spawn(driver, image)
    assert rig.census() == before


def test_one_image_for_servers_on_both_hosts_at_once(pool: Rig) -> None:
    image = pool.image()
    drivers = [pool.driver(host=number) for number in (0, 1)]
    image.gate.clear()
    with ThreadPoolExecutor() as threads:
        spawning = [threads.submit(pool.spawn, driver, image) for driver in drivers for _ in range(3)]
        image.gate.set()
        servers = [one.result(90) for one in spawning]
    assert len({server.uuid for server in servers}) == 6
    # the SRs of the hosts are their own
    assert image.downloads == 2
    assert sum(marks.is_base(vdi) for vdi in pool.rows("VDI").values()) == 2


@pytest.mark.parametrize("cached", ["all", "none"])
def test_a_restart_of_the_toolstack_during_an_import_leaves_nothing(rig: Rig, cached: str) -> None:
    driver, image = rig.driver(cache_images=cached), rig.image(size=16 * MIB)
    before = rig.census()
    whole = image.chunks
    restarted, never = threading.Event(), threading.Event()

    def halting() -> Any:
        for number, chunk in enumerate(whole()):
            if number == 8 and not restarted.is_set():
                # the host has the first bytes
                assert any(rig.xapi.call_counts().get("put_import_raw_vdi") or never.wait(0.05) for _ in range(600))
                restarted.set()
                rig.xapi.restart()
            yield chunk

    image.chunks = halting
    with pytest.raises(errors.ImportFailed):
        rig.spawn(driver, image)
    assert restarted.is_set()
    assert rig.census() == before
    assert rig.spawn(driver, image)


def test_a_server_from_an_unknown_format_is_refused_without_a_call(rig: Rig) -> None:
    driver, image = rig.driver(), rig.image(disk_format="qcow2")
    with (
        rig.counted() as calls,
        pytest.raises(errors.UnsupportedImage, match="supported are disk_format vhd, raw, iso"),
    ):
        driver.spawn(rig.context, instance(image.id), meta(image), [], "secret", {}, network_info=[])
    assert not {"VM.create", "VDI.create"} & set(calls)


@pytest.mark.feature("operation.cache-images")
def test_an_image_is_cached_before_anybody_needs_it(rig: Rig) -> None:
    driver, image = rig.driver(), rig.image()
    assert driver.cache_image(rig.context, image.id) is True
    assert driver.cache_image(rig.context, image.id) is False
    rig.spawn(driver, image)
    assert image.downloads == 1
    with pytest.raises(NotImplementedError):
        rig.driver(cache_images="none").cache_image(rig.context, image.id)
