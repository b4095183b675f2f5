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
"""The guest's pieces: archives and disks that others can read, modules in order, a config drive that is understood."""

import json
import os
import shutil
import subprocess
from importlib.resources import as_file, files
from pathlib import Path

import pytest

from nova_xapi.demo.errors import DemoError
from nova_xapi.demo.guest import build, disk, modules


@pytest.fixture
def tree() -> Path:
    with as_file(files("nova_xapi.demo.guest") / "tree") as path:
        return path


def module(path: Path, depends: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"\x7fELF\0license=GPL\0depends=" + depends.encode() + b"\0name=x\0")


def test_modules_come_after_what_they_depend_on_and_builtin_ones_not_at_all(tmp_path: Path) -> None:
    module(tmp_path / "kernel/net/virtio_net.ko", "net_failover,virtio,virtio_ring")
    module(tmp_path / "kernel/net/net_failover.ko", "failover")
    module(tmp_path / "kernel/net/failover.ko", "")
    module(tmp_path / "kernel/virtio/virtio.ko", "")
    module(tmp_path / "kernel/block/xen-blkfront.ko", "")
    (tmp_path / "modules.builtin").write_text("kernel/virtio/virtio_ring.ko\nkernel/fs/ext4/ext4.ko\n")
    order = [path.stem for path in modules.Modules(tmp_path).in_order(["virtio_net", "xen_blkfront", "ext4"])]
    assert order == ["failover", "net_failover", "virtio", "virtio_net", "xen-blkfront"]


def test_a_module_the_kernel_lacks_is_named(tmp_path: Path) -> None:
    (tmp_path / "modules.builtin").write_text("")
    with pytest.raises(DemoError, match="no module virtio_blk"):
        modules.Modules(tmp_path).in_order(["virtio_blk"])


@pytest.mark.skipif(shutil.which("cpio") is None, reason="cpio is not installed")
def test_the_archive_is_what_cpio_reads(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    (source / "bin").mkdir(parents=True)
    target.mkdir()
    (source / "bin/busybox").write_bytes(b"odd")
    (source / "bin/busybox").chmod(0o755)
    (source / "bin/sh").symlink_to("busybox")
    (source / "empty").write_bytes(b"")
    archive = b"".join(disk.cpio(source))
    subprocess.run(["cpio", "-id", "--quiet"], input=archive, cwd=target, check=True, timeout=20)
    assert (target / "bin/busybox").read_bytes() == b"odd"
    assert os.access(target / "bin/busybox", os.X_OK)
    assert str((target / "bin/sh").readlink()) == "busybox"
    assert (target / "empty").stat().st_size == 0


def test_the_archive_ends_as_the_kernel_wants_it(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"12345")
    archive = b"".join(disk.cpio(tmp_path))
    assert archive.startswith(b"070701")
    assert b"TRAILER!!!\0" in archive
    assert len(archive) % 4 == 0


def test_partitions_are_found_where_the_table_says(tmp_path: Path) -> None:
    entry = disk.partition_entry(True, 0x83, 2048, 4096)
    assert len(entry) == 16
    assert entry[0] == 0x80
    assert entry[4] == 0x83
    assert int.from_bytes(entry[8:12], "little") == 2048
    assert int.from_bytes(entry[12:16], "little") == 4096


def test_a_changed_input_makes_another_image(tmp_path: Path) -> None:
    (tmp_path / "init").write_text("one")
    before = build.inputs_digest(tmp_path, {"linux": "1"})
    assert build.inputs_digest(tmp_path, {"linux": "1"}) == before
    assert build.inputs_digest(tmp_path, {"linux": "2"}) != before
    (tmp_path / "init").write_text("two")
    assert build.inputs_digest(tmp_path, {"linux": "1"}) != before


def json_lines(tree: Path, value: object) -> dict[str, str]:
    text = json.dumps(value)
    argv = ["awk", "-f", str(tree / "usr/bin/json-lines")]
    output = subprocess.run(argv, input=text, capture_output=True, text=True, check=True, timeout=20).stdout
    return dict(line.split("\t", 1) for line in output.splitlines())


@pytest.mark.skipif(shutil.which("awk") is None, reason="awk is not installed")
def test_the_guest_reads_json_as_openstack_writes_it(tree: Path) -> None:
    network = {
        "links": [{"id": "tap1", "mtu": 1450, "ethernet_mac_address": "fa:16:3e:00:00:01"}],
        "networks": [{"type": "ipv4", "link": "tap1", "routes": [], "ip_address": "10.0.0.5"}],
        "services": [],
    }
    lines = json_lines(tree, network)
    assert lines == {
        "links.0.id": "tap1",
        "links.0.mtu": "1450",
        "links.0.ethernet_mac_address": "fa:16:3e:00:00:01",
        "networks.0.type": "ipv4",
        "networks.0.link": "tap1",
        "networks.0.ip_address": "10.0.0.5",
    }


@pytest.mark.skipif(shutil.which("awk") is None, reason="awk is not installed")
def test_the_guest_reads_awkward_strings(tree: Path) -> None:
    lines = json_lines(tree, {"public_keys": {"k": 'ssh-ed25519 AAAA "quoted" \\ name\n'}, "meta": {}, "no": None})
    assert lines["public_keys.k"] == 'ssh-ed25519 AAAA "quoted" \\ name\\n'
    assert lines["no"] == "null"


@pytest.mark.parametrize("name", ["init", "etc/rc.boot", "etc/rc.stop", "usr/bin/config-drive"])
def test_the_guests_scripts_are_well_formed(tree: Path, name: str) -> None:
    subprocess.run(["sh", "-n", str(tree / name)], check=True, timeout=20)


@pytest.mark.skipif(
    not all(map(shutil.which, ("mcopy", "mkfs.vfat", "syslinux", "mke2fs"))) or not disk.MBR_CODE.exists(),
    reason="syslinux, mtools, dosfstools or e2fsprogs is not installed",
)
def test_a_disk_is_made_without_mounting_anything(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / "hello").write_text("from the root disk")
    for name in ("kernel", "initrd"):
        (tmp_path / name).write_bytes(os.urandom(3000))
    image = tmp_path / "disk.raw"
    disk.make_disk(
        image,
        tmp_path,
        size_mib=24,
        boot_mib=16,
        kernel=tmp_path / "kernel",
        initrd=tmp_path / "initrd",
        root=root,
        arguments="quiet",
    )
    assert image.stat().st_size == 24 << 20
    assert image.read_bytes()[510:512] == b"\x55\xaa"
    boot = ["mtype", "-i", f"{image}@@1M", "::syslinux.cfg"]
    assert "APPEND quiet" in subprocess.run(boot, capture_output=True, text=True, check=True, timeout=20).stdout
    ext4 = tmp_path / "ext4"
    ext4.write_bytes(image.read_bytes()[17 << 20 :])
    dump = ["debugfs", "-R", "cat /hello", str(ext4)]
    assert subprocess.run(dump, capture_output=True, text=True, check=True, timeout=20).stdout == "from the root disk"
