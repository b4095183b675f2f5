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
"""A bootable disk from a directory tree, without mounting anything: MBR, a FAT partition with syslinux, kernel and
initial RAM disk, and an ext4 partition."""

from __future__ import annotations

import os
import stat
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

from nova_xapi.demo.errors import DemoError
from nova_xapi.demo.packages import find

SECTOR = 512
MIB = 1 << 20
MBR_CODE = Path("/usr/lib/syslinux/mbr/mbr.bin")
ROOT_LABEL = "demo-root"


def tool(*argv: str, env: dict[str, str] | None = None) -> None:
    process = subprocess.run(
        [find(argv[0]), *argv[1:]], env={**os.environ, **(env or {})}, capture_output=True, text=True, check=False
    )
    if process.returncode != 0:
        raise DemoError(f"{' '.join(argv)} failed: {(process.stderr or process.stdout).strip()}")


def cpio(root: Path) -> Iterator[bytes]:
    """The tree as a newc archive, which the kernel unpacks as its initial RAM disk; all files belong to root."""

    def entry(name: str, mode: int, data: bytes, inode: int) -> bytes:
        encoded = name.encode() + b"\0"
        fields = (inode, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(encoded), 0)
        head = b"070701" + b"".join(b"%08X" % field for field in fields) + encoded
        return head + b"\0" * (-len(head) % 4) + data + b"\0" * (-len(data) % 4)

    for inode, path in enumerate(sorted(root.rglob("*")), start=1):
        mode = path.lstat().st_mode
        if stat.S_ISLNK(mode):
            data = str(path.readlink()).encode()
        elif stat.S_ISREG(mode):
            data = path.read_bytes()
        else:
            data = b""
        yield entry(str(path.relative_to(root)), mode, data, inode)
    yield entry("TRAILER!!!", 0, b"", 0)


def partition_entry(active: bool, kind: int, first: int, sectors: int) -> bytes:
    """16 bytes of a partition table, addressed by sector number (cylinders are given as out of range)."""
    return struct.pack("<B3sB3sII", 0x80 if active else 0, b"\xfe\xff\xff", kind, b"\xfe\xff\xff", first, sectors)


def make_disk(
    disk: Path, work: Path, *, size_mib: int, boot_mib: int, kernel: Path, initrd: Path, root: Path, arguments: str
) -> None:
    """Write `disk` (raw, sparse). `arguments` is the kernel's command line."""
    boot_start, root_start = MIB, MIB * (1 + boot_mib)
    root_size = size_mib * MIB - root_start
    boot = work / "boot.img"
    with boot.open("wb") as file:
        file.truncate(boot_mib * MIB)
    tool("mkfs.vfat", "-F", "16", "-n", "DEMOBOOT", "-h", str(boot_start // SECTOR), str(boot))
    config = work / "syslinux.cfg"
    config.write_text(
        f"DEFAULT demo\nPROMPT 0\nTIMEOUT 0\nLABEL demo\n  KERNEL /vmlinuz\n  INITRD /initrd\n  APPEND {arguments}\n"
    )
    quiet = {"MTOOLS_SKIP_CHECK": "1"}
    for source, name in ((kernel, "vmlinuz"), (initrd, "initrd"), (config, "syslinux.cfg")):
        tool("mcopy", "-i", str(boot), str(source), f"::{name}", env=quiet)
    tool("syslinux", "--install", str(boot), env=quiet)
    ext4 = work / "root.img"
    with ext4.open("wb") as file:
        file.truncate(root_size)
    tool(
        *("mke2fs", "-q", "-F", "-t", "ext4", "-m", "0", "-L", ROOT_LABEL, "-E", "root_owner=0:0"),
        # no journal: the guest's disk is small, and its content can be made again
        *("-O", "^has_journal", "-d", str(root), str(ext4)),
    )
    table = partition_entry(True, 0x0E, boot_start // SECTOR, boot_mib * MIB // SECTOR)
    table += partition_entry(False, 0x83, root_start // SECTOR, root_size // SECTOR)
    mbr = MBR_CODE.read_bytes()[:440].ljust(440, b"\0") + b"demo" + b"\0\0" + table + b"\0" * 32 + b"\x55\xaa"
    with disk.open("wb") as file:
        file.truncate(size_mib * MIB)
        file.write(mbr)
        for start, part in ((boot_start, boot), (root_start, ext4)):
            copy_sparse(part, file.fileno(), start)


def copy_sparse(source: Path, target: int, offset: int) -> None:
    """Copy a file to an offset of an open one, leaving zeros out."""
    with source.open("rb") as file:
        while chunk := file.read(64 * 1024):
            if chunk.strip(b"\0"):
                os.pwrite(target, chunk, offset)
            offset += len(chunk)
