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
"""The life of servers, through Nova's API, scheduler, conductor and compute services."""

import random
import tempfile
import threading
from pathlib import Path
from typing import Any

import pytest
from nova import context

from cloud.base import MIB, CloudTestCase
from nova_xapi.image import marks
from xapikit import vhd

DISK = random.Random(1).randbytes(MIB) + bytes(3 * MIB)


class LifeTest(CloudTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.image = self.glance.add("disk", DISK, "raw")

    @pytest.mark.feature("operation.launch", "operation.terminate", "operation.get-guest-info")
    def test_a_server_boots_runs_and_leaves_nothing(self) -> None:
        before = self.census()
        server = self.boot("one", self.image, "compute1")
        _, vm = self.vm_of(server)
        assert vm["power_state"] == "Running"
        hosts = self.client.call("host.get_all_records")
        assert hosts[vm["resident_on"]]["name_label"] == "host1"
        assert server["OS-EXT-STS:power_state"] == 1
        self._delete_server(server)
        after = self.census()
        # the cached base image stays
        assert after == {**before, "VDI": before["VDI"] + 1}

    @pytest.mark.feature("operation.reboot", "operation.power", "operation.pause", "operation.unpause")
    def test_power_operations(self) -> None:
        server = self.boot("two", self.image, "compute2")
        ref, _ = self.vm_of(server)

        def power() -> str:
            state: str = self.client.call("VM.get_power_state", ref)
            return state

        self._stop_server(server)
        assert power() == "Halted"
        self._start_server(server)
        assert power() == "Running"
        self.api.post_server_action(server["id"], {"pause": None})
        self._wait_for_state_change(server, "PAUSED")
        assert power() == "Paused"
        self.api.post_server_action(server["id"], {"unpause": None})
        self._wait_for_state_change(server, "ACTIVE")
        assert power() == "Running"
        for kind in ("SOFT", "HARD"):
            before = self.client.call("VM.get_domid", ref)
            self._reboot_server(server, hard=kind == "HARD")
            assert power() == "Running"
            assert self.client.call("VM.get_domid", ref) != before

    @pytest.mark.feature("operation.cache-images", "storage.image")
    def test_two_hosts_spawn_one_image_at_once_and_each_repository_gets_it_once(self) -> None:
        # one request makes them all: Nova's test fixtures cannot take many requests at a time
        self.boot("many", self.image, wait=False, min_count=4, max_count=4)
        servers = self.api.get_servers()
        assert len(servers) == 4
        hosts = {self._wait_for_state_change(server, "ACTIVE")["OS-EXT-SRV-ATTR:host"] for server in servers}
        assert hosts == set(self.COMPUTES)
        bases = [vdi for vdi in self.client.call("VDI.get_all_records").values() if marks.is_base(vdi)]
        # the repositories are local ones: one for each host
        assert len(bases) == len(self.COMPUTES)
        assert len({vdi["SR"] for vdi in bases}) == len(self.COMPUTES)

    @pytest.mark.feature("operation.get-host-uptime", "operation.get-host-ip")
    def test_hypervisors_report_what_the_hosts_have(self) -> None:
        for hypervisor in self.api.api_get("/os-hypervisors/detail").body["hypervisors"]:
            detail = self.api.api_get(f"/os-hypervisors/{hypervisor['id']}").body["hypervisor"]
            assert detail["hypervisor_type"] == "XenServer"
            host = detail["service"]["host"]
            assert " up " in self.computes[host].manager.get_host_uptime(context.get_admin_context())
            provider = self._get_provider_uuid_by_host(detail["service"]["host"])
            inventory = self._get_provider_inventory(provider)
            assert inventory["MEMORY_MB"]["total"] > 1024
            assert {"VCPU", "DISK_GB"} <= set(inventory)

    def test_a_guest_halted_behind_the_back_of_nova_is_stopped(self) -> None:
        server = self.boot("behind", self.image, "compute1")
        ref, _ = self.vm_of(server)
        self.client.call("VM.hard_shutdown", ref)
        self._wait_for_state_change(server, "SHUTOFF")

    @pytest.mark.feature("guest.setup.configdrive")
    def test_a_config_drive_is_a_cd(self) -> None:
        server = self.boot("drive", self.image, "compute1", config_drive=True)
        ref, vm = self.vm_of(server)
        drives = [self.client.call("VBD.get_record", vbd) for vbd in vm["VBDs"]]
        cds = [drive for drive in drives if drive["type"] == "CD"]
        assert len(cds) == 1
        assert cds[0]["mode"] == "RO"
        with self.client.export_vdi(self.client.call("VDI.snapshot", cds[0]["VDI"])) as data:
            content = b"".join(data)
        assert b"config-2" in content[: 64 * 1024]
        assert server["id"].encode() in content
        self._delete_server(server)
        assert self.client.call("VM.get_all_records").get(ref) is None

    def test_a_service_starts_again_with_its_servers(self) -> None:
        server = self.boot("stays", self.image, "compute1")
        ref, _ = self.vm_of(server)
        domid = self.client.call("VM.get_domid", ref)
        self.restart("compute1")
        assert self.client.call("VM.get_domid", ref) == domid
        manager = self.computes["compute1"].manager
        info = manager.driver.get_info(self._instance(server))
        assert info.state == 1
        self._delete_server(server)

    def test_a_periodic_power_sync_makes_no_call(self) -> None:
        self.boot("idle", self.image, "compute1")
        manager = self.computes["compute1"].manager
        before = self._calls()
        manager._sync_power_states(context.get_admin_context())
        manager.update_available_resource(context.get_admin_context())
        assert self._calls() == before

    def _calls(self) -> dict[str, int]:
        """Calls that the server has had, those of event streams apart."""
        return {name: count for name, count in self.xapi.call_counts().items() if name != "event.from"}

    def _instance(self, server: Any) -> Any:
        from nova import objects

        with context.target_cell(context.get_admin_context(), self.cell_mappings["cell1"]) as cell:
            return objects.Instance.get_by_uuid(cell, server["id"])


class RefusalTest(CloudTestCase):
    """What cannot work says so, and leaves nothing."""

    def refused(self, image: str, **extra: Any) -> str:
        before = self.census()
        server = self.boot("refused", image, "compute1", wait=False, **extra)
        server = self._wait_for_state_change(server, "ERROR")
        message: str = server["fault"]["message"] + server["fault"].get("details", "")
        self._delete_server(server)
        assert self.census() == before
        return message

    def test_an_image_that_is_not_what_it_claims_to_be(self) -> None:
        message = self.refused(self.glance.add("liar", b"QFI\xfb\x00\x00\x00\x03" + bytes(MIB), "raw"))
        assert "qcow" in message

    def test_an_image_whose_hash_does_not_fit(self) -> None:
        image = self.glance.add("torn", DISK, "raw")
        self.glance._imagedata[image] = DISK[:-1] + b"x"
        assert "sha512" in self.refused(image).lower()

    def test_an_image_that_glance_cuts(self) -> None:
        image = self.glance.add("cut", DISK, "raw")
        self.glance._imagedata[image] = DISK[: MIB // 2]
        # what Glance cuts may come whole the next time: another host is tried, as for every passing failure
        assert "retries" in self.refused(image)

    def test_an_image_larger_than_the_flavor(self) -> None:
        message = self.refused(self.glance.add("large", virtual_disk(200), "vhd"))
        assert "200" in message or str(200 << 30) in message

    def test_a_format_that_the_driver_cannot_use(self) -> None:
        assert "vmdk" in self.refused(self.glance.add("vmdk", b"KDMV" + bytes(MIB), "vmdk"))


def virtual_disk(gib: int) -> bytes:
    """A VHD of that size without a block."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "disk.vhd"
        vhd.create(path, gib << 30)
        return path.read_bytes()


class TogetherTest(CloudTestCase):
    def test_a_restart_of_the_toolstack_in_the_middle_is_survived(self) -> None:
        image = self.glance.add("disk", DISK, "raw")
        server = self.boot("before", image, "compute1")
        done = threading.Event()
        threading.Thread(target=lambda: (self.xapi.restart(), done.set()), daemon=True).start()
        assert done.wait(60)
        self.client.connect()
        self._stop_server(server)
        self._start_server(server)
        second = self.boot("after", image, "compute1")
        assert self.vm_of(second)[1]["power_state"] == "Running"
