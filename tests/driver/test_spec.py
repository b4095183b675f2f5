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
"""Descriptions: whole results from Nova's objects, and each refusal. No host is involved."""

from typing import Any

import pytest
from nova import exception, objects

from driver_rig import flavor, instance, no_image, port
from nova_xapi.errors import UnsupportedDevice
from nova_xapi.spec import cpu, disks, image, names, naming
from nova_xapi.spec.platform import platform
from nova_xapi.spec.server import describe
from nova_xapi.spec.values import DiskSpec, ServerSpec, VifSpec, VmSpec
from nova_xapi.spec.vifs import vifs

GIB = 1 << 30
MIB = 1 << 20
PLATFORM = {
    "acpi": "true", "apic": "true", "pae": "true", "nx": "true", "viridian": "false", "timeoffset": "0", "vga": "std",
    "videoram": "8", "hvm_serial": "pty",
}  # fmt: skip


def meta(disk_format: str = "raw", **properties: Any) -> Any:
    made = objects.ImageMeta.from_dict({"id": "i", "disk_format": disk_format, "properties": {}})
    made.properties = objects.ImageMetaProps(**properties)
    return made


def test_a_plain_server() -> None:
    one = port(active=False, mtu=1450)
    server = instance("i", flavor(root_gb=5, vcpus=2, memory_mb=512), id=7, display_name="web", hostname="web")
    assert describe(server, meta(), [one], None) == ServerSpec(
        VmSpec(
            name="instance-00000007",
            description="web",
            vcpus=2,
            memory=512 * MIB,
            boot_order="cd",
            platform=PLATFORM,
            xenstore_data={"vm-data/allowvssprovider": "false", "vm-data/hostname": "web"},
        ),
        (DiskSpec("root", "image", 0, "instance-00000007 root", 5 * GIB, bootable=True),),
        (VifSpec(0, one["address"], 1450, one["id"], wait=True),),
    )


def test_a_server_with_everything() -> None:
    ports = [port(), port()]
    shape = flavor(root_gb=8, ephemeral_gb=20, swap=512, vcpus=4, extra_specs={"hw:cpu_cores": "2"}, vcpu_weight=5)
    server = instance("i", shape, id=8, display_name="all", hostname="all")
    spec = describe(server, meta(os_type="windows", hw_device_id=2, hw_video_model="cirrus"), ports, {})
    assert spec.vm.platform == {
        **PLATFORM, "viridian": "true", "device_id": "0002", "vga": "cirrus", "cores-per-socket": "2",
    }  # fmt: skip
    assert spec.vm.vcpu_params == {"weight": "5", "cap": "0"}
    assert spec.disks == (
        DiskSpec("root", "image", 0, "instance-00000008 root", 8 * GIB, bootable=True),
        DiskSpec("swap", "blank", 2, "instance-00000008 swap", 512 * MIB),
        DiskSpec("ephemeral0", "blank", 4, "instance-00000008 ephemeral", 20 * GIB),
    )
    assert [(vif.device, vif.mac, vif.wait) for vif in spec.vifs] == [
        (0, ports[0]["address"], False),
        (1, ports[1]["address"], False),
    ]


def test_an_iso_boots_from_its_cd_beside_a_blank_root_disk() -> None:
    server = instance("i", flavor(root_gb=3), id=9)
    spec = describe(server, meta("iso"), [], None)
    assert spec.vm.boot_order == "dc"
    assert spec.disks == (
        DiskSpec("root", "blank", 0, "instance-00000009 root", 3 * GIB, bootable=True),
        DiskSpec("cd", "cd", 1, "instance-00000009 cd", bootable=True),
    )
    without_disk = describe(instance("i", flavor(root_gb=0), id=9), meta("iso"), [], None)
    assert [disk.role for disk in without_disk.disks] == ["cd"]


def test_the_record_for_vm_create_is_complete() -> None:
    from xapikit.model import MODEL

    spec = describe(instance("i", flavor(), id=1), meta(), [], None).vm
    record = spec.record({"nova_uuid": "u"}, "OpaqueRef:host")
    mandatory = """
        user_version is_a_template affinity memory_static_max memory_dynamic_max memory_dynamic_min memory_static_min
        VCPUs_params VCPUs_max VCPUs_at_startup actions_after_shutdown actions_after_reboot actions_after_crash
        PV_bootloader PV_kernel PV_ramdisk PV_args PV_bootloader_args PV_legacy_args HVM_boot_policy HVM_boot_params
        platform PCI_bus other_config recommendations
    """
    assert not set(mandatory.split()) - record.keys()
    assert not record.keys() - MODEL.classes["VM"].fields.keys()
    sizes = {record[name] for name in record if name.startswith("memory_")}
    assert sizes == {256 * MIB}  # a guest that could be squeezed would start with less than its flavor promises
    assert record["HVM_boot_params"] == {"order": "cd", "firmware": "bios"}
    assert record["affinity"] == "OpaqueRef:host"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("quote \" and ' and $x", "quote \" and ' and $x"),
        ("line\nbreak\r\n\ttab", "line break tab"),
        ("имя 名前 🦊", "имя 名前 🦊"),
        ("a" * 255, "a" * 255),
        ("\x00\x1b[31m\x7f", "[31m"),
        ("<b>&amp;</b>", "<b>&amp;</b>"),
        (None, ""),
    ],
)
def test_names_keep_all_but_control_characters(given: str | None, expected: str) -> None:
    assert names.clean(given) == expected


@pytest.mark.parametrize(
    ("properties", "named"),
    [
        ({"hw_vm_mode": "xen"}, "hw_vm_mode=xen"),
        ({"hw_firmware_type": "uefi"}, "hw_firmware_type=uefi"),
        ({"hw_disk_bus": "virtio"}, "hw_disk_bus=virtio"),
        ({"hw_cdrom_bus": "sata"}, "hw_cdrom_bus=sata"),
        ({"hw_vif_model": "virtio"}, "hw_vif_model=virtio"),
        ({"hw_video_model": "qxl"}, "hw_video_model=qxl"),
        ({"hw_architecture": "aarch64"}, "hw_architecture=aarch64"),
        ({"img_hv_type": "kvm"}, "img_hv_type=kvm"),
        ({"os_secure_boot": "required"}, "os_secure_boot=required"),
        ({"hw_cpu_policy": "dedicated"}, "hw_cpu_policy=dedicated"),
        ({"hw_tpm_version": "2.0"}, "hw_tpm_version=2.0"),
        ({"hw_numa_nodes": 2}, "hw_numa_nodes=2"),
        ({"hw_mem_encryption": True}, "hw_mem_encryption=True"),
    ],
)
def test_a_property_that_would_not_be_honoured_is_refused_by_name(properties: dict[str, Any], named: str) -> None:
    with pytest.raises(exception.ImageUnacceptable) as refused:
        describe(instance("i"), meta(**properties), [], None)
    assert named in str(refused.value)
    assert "supported" in str(refused.value)


def test_properties_that_are_honoured_or_harmless_pass() -> None:
    image.check("i", {"hw_vm_mode": "hvm", "hw_disk_bus": "xen", "os_distro": "debian", "hw_qemu_guest_agent": True})


@pytest.mark.parametrize(
    ("vcpus", "extra", "properties", "expected"),
    [
        (4, {}, {}, None),
        (4, {"hw:cpu_cores": "4"}, {}, 4),
        (4, {"hw:cpu_sockets": "2"}, {}, 2),
        (4, {}, {"hw_cpu_cores": 1}, 1),
        (6, {"hw:cpu_sockets": "2", "hw:cpu_cores": "3"}, {}, 3),
        (4, {"hw:cpu_cores": "4"}, {"hw_cpu_cores": 2}, 4),
        (4, {"hw:cpu_threads": "1"}, {}, 4),
    ],
)
def test_cpu_topology(vcpus: int, extra: dict[str, str], properties: dict[str, Any], expected: int | None) -> None:
    assert cpu.cores_per_socket(flavor(vcpus=vcpus, extra_specs=extra), properties) == expected


@pytest.mark.parametrize(
    "extra",
    [
        {"hw:cpu_cores": "3"}, {"hw:cpu_threads": "2"}, {"hw:cpu_sockets": "3"}, {"hw:cpu_cores": "many"},
        {"hw:cpu_cores": "0"}, {"hw:cpu_sockets": "1", "hw:cpu_cores": "2"},
    ],
)  # fmt: skip
def test_a_topology_that_does_not_work_out_is_refused(extra: dict[str, str]) -> None:
    with pytest.raises(exception.InvalidInput):
        cpu.cores_per_socket(flavor(vcpus=4, extra_specs=extra), {})


def test_video_memory_stays_within_what_the_flavor_allows() -> None:
    shape = flavor(extra_specs={"hw_video:ram_max_mb": "16"})
    assert platform(shape, {"hw_video_ram": 16})["videoram"] == "16"
    with pytest.raises(exception.RequestedVRamTooHigh):
        platform(flavor(), {"hw_video_ram": 16})


@pytest.mark.parametrize(
    ("gib", "expected"),
    [(0, []), (1, [1]), (2000, [2000]), (2048, [1024, 1024]), (3000, [2000, 1000]), (4030, [2000, 2000, 30])],
)
def test_ephemeral_space_is_cut_into_what_a_vhd_holds(gib: int, expected: list[int]) -> None:
    assert disks.chunks(gib) == expected


def test_block_device_info_wins_over_the_flavor() -> None:
    info = {"swap": {"swap_size": 64}, "ephemerals": [{"size": 2}, {"size": 3}], "block_device_mapping": []}
    found = disks.disks("n", flavor(swap=1, ephemeral_gb=9), False, info)
    assert [(disk.role, disk.position, disk.size) for disk in found] == [
        ("root", 0, 0), ("swap", 2, 64 * MIB), ("ephemeral0", 4, 2 * GIB), ("ephemeral1", 5, 3 * GIB),
    ]  # fmt: skip
    assert [disk.role for disk in disks.disks("n", flavor(swap=1), False, {"swap": None})] == ["root"]


def test_devices_that_are_not_offered_are_refused() -> None:
    with pytest.raises(UnsupportedDevice, match="volumes"):
        disks.disks("n", flavor(), False, {"block_device_mapping": [{"mount_device": "/dev/vda"}]})
    with pytest.raises(UnsupportedDevice, match="ephemeral disks"):
        disks.disks("n", flavor(), False, {"ephemerals": [{"size": 1}] * 13})
    with pytest.raises(exception.VirtualInterfacePlugException):
        vifs([port(type="binding_failed")])
    with pytest.raises(UnsupportedDevice, match="bridge"):
        vifs([port(type="bridge")])
    with pytest.raises(UnsupportedDevice, match="direct"):
        vifs([port(vnic_type="direct")])
    with pytest.raises(UnsupportedDevice, match="17 ports"):
        vifs([port() for _ in range(17)])


def test_a_server_without_image_describes_no_image_format() -> None:
    spec = describe(instance("", flavor(root_gb=1)), no_image(), None, None)
    assert [disk.source for disk in spec.disks] == ["image"]
    assert spec.vifs == ()


class Device:
    """As much of a BlockDeviceMapping as naming looks at."""

    def __init__(self, device_name: str | None = None, volume_size: int = 1, boot_index: int = -1) -> None:
        self.device_name = device_name
        self.volume_size = volume_size
        self.boot_index = boot_index


def test_device_names_match_the_positions_of_disks() -> None:
    root, swap = Device("/dev/vda", boot_index=0), Device()
    first, large, last = Device(), Device(volume_size=3000), Device()
    volumes = [Device("/dev/vdb"), Device("/dev/xvdk"), Device("/dev/sdk"), Device(None)]
    given = naming.assign([root], [first, large, last], [swap], volumes)
    assert [(device, name) for device, name in given] == [
        (root, "/dev/xvda"), (swap, "/dev/xvdc"), (first, "/dev/xvde"), (large, "/dev/xvdf"), (last, "/dev/xvdh"),
        (volumes[0], "/dev/xvdi"), (volumes[1], "/dev/xvdk"), (volumes[2], "/dev/xvdj"), (volumes[3], "/dev/xvdl"),
    ]  # fmt: skip


def test_positions_and_names_are_each_others_inverse() -> None:
    for position in range(16):
        assert disks.position_of(disks.device_name(position)) == position
    for other in ("/dev/xvdq", "/dev/xvda1", "", "/dev/nbd0", "xvd"):
        assert disks.position_of(other) is None
    with pytest.raises(UnsupportedDevice):
        naming.next_free(range(16))
