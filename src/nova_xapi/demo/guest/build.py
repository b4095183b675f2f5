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
"""Build the guest image, or take the one that was built from the same things before."""

from __future__ import annotations

import hashlib
import json
import platform
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path

from nova_xapi.demo.errors import DemoError, Missing
from nova_xapi.demo.guest import debs, disk, modules
from xapikit.vhd import stream

SIZE_MIB, BOOT_MIB = 96, 24
KERNEL = "linux-image-cloud-amd64"
PACKAGES = ("busybox-static", "dropbear-bin", "libtomcrypt1", "libtommath1", "libgmp10", "zlib1g", "libcrypt1", "libc6")
PROGRAMS = ("usr/sbin/dropbear", "usr/bin/dropbearkey")
# the loader and the part of the C library that dropbear is linked with; of other packages all libraries are taken
LOADER = "ld-linux-x86-64.so.2"
LIBC = ("libc.so.6", LOADER)
DIRECTORIES = (
    *("bin", "sbin", "dev", "proc", "sys", "run", "tmp", "mnt", "lib", "lib64", "root/.ssh", "home/demo/.ssh"),
    *("usr/bin", "usr/sbin", "etc/dropbear", "var/log", "var/lib/demo"),
)
ARGUMENTS = "console=tty0 console=ttyS0,115200 loglevel=4 panic=5 mitigations=off tsc=reliable no_timer_check"
LIBRARIES = "lib/x86_64-linux-gnu"


@dataclass(frozen=True)
class Guest:
    """The image: a dynamic VHD, its SHA-256, and whether it was there already."""

    vhd: Path
    digest: str
    cached: bool


def guest_image(directory: Path, note: Callable[[str], None], logs: Path) -> Guest:
    """The guest's VHD in `directory`, built unless its inputs (our files, versions of packages) are the same."""
    if platform.machine() != "x86_64":
        raise Missing(f"the demo's guest is for x86_64, this machine is {platform.machine()}")
    log = logs / "guest.log"
    with as_file(files("nova_xapi.demo.guest")) as source:
        note("looking at packages")
        debs.ensure_lists([KERNEL], note, log)
        kernel = debs.dependency(KERNEL, "linux-image-")
        names = (kernel, *PACKAGES)
        inputs = inputs_digest(source, debs.candidates(list(names)))
        vhd, facts = directory / f"guest-{inputs[:16]}.vhd", directory / f"guest-{inputs[:16]}.json"
        if vhd.exists() and facts.exists():
            return Guest(vhd, json.loads(facts.read_text())["sha256"], cached=True)
        work = directory / "work"
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        try:
            build(source, work, kernel, note, log)
            note("converting to VHD")
            digest = to_vhd(work / "disk.raw", work / "guest.vhd")
            (work / "guest.vhd").rename(vhd)
            facts.write_text(json.dumps({"sha256": digest, "kernel": kernel}) + "\n")
        finally:
            shutil.rmtree(work, ignore_errors=True)
    for old in directory.glob("guest-*"):
        if old.stem != vhd.stem:
            old.unlink()
    return Guest(vhd, digest, cached=False)


def inputs_digest(source: Path, versions: dict[str, str]) -> str:
    """SHA-256 over everything that decides the image's content."""
    digest = hashlib.sha256(json.dumps(versions, sort_keys=True).encode())
    for path in sorted(source.rglob("*")):
        if path.is_file() and path.suffix != ".pyc":
            digest.update(f"{path.relative_to(source)}\0".encode() + path.read_bytes())
    return digest.hexdigest()


def build(source: Path, work: Path, kernel: str, note: Callable[[str], None], log: Path) -> None:
    """Make work/disk.raw."""
    packages, unpacked, libc = work / "debs", work / "unpacked", work / "libc"
    packages.mkdir()
    debs.download([kernel, *PACKAGES], packages, note, log)
    note("unpacking")
    for deb in sorted(packages.glob("*.deb")):
        # glibc apart: it has dozens of libraries, of which the guest needs two
        debs.unpack(deb, libc if deb.name.startswith("libc6_") else unpacked)
    version = kernel.removeprefix("linux-image-")
    available = modules.Modules(unpacked / "lib/modules" / version)
    note("root file system")
    root, initial = work / "root", work / "initial"
    make_root(root, source / "tree", unpacked, libc, available)
    make_initial(initial, source / "tree", unpacked, available)
    initrd = work / "initrd"
    with initrd.open("wb") as file:
        file.writelines(disk.cpio(initial))
    note("disk")
    disk.make_disk(
        work / "disk.raw",
        work,
        size_mib=SIZE_MIB,
        boot_mib=BOOT_MIB,
        kernel=unpacked / f"boot/vmlinuz-{version}",
        initrd=initrd,
        root=root,
        arguments=ARGUMENTS,
    )


def make_root(root: Path, tree: Path, unpacked: Path, libc: Path, available: modules.Modules) -> None:
    """The root file system: directories, busybox under its names, dropbear with its libraries, modules, our files."""
    for name in DIRECTORIES:
        (root / name).mkdir(parents=True, exist_ok=True)
    add_busybox(root, unpacked)
    for program in PROGRAMS:
        shutil.copy(unpacked / program, root / program)
    for path in libraries(unpacked):
        shutil.copy(path, root / "lib" / path.name)
    for name in LIBC:
        shutil.copy(next(path for path in libraries(libc) if path.name == name), root / "lib" / name)
    shutil.copy(root / "lib" / LOADER, root / "lib64" / LOADER)
    add_modules(root, available.in_order(modules.LATER))
    shutil.copytree(tree, root, dirs_exist_ok=True, ignore=shutil.ignore_patterns("init"))
    for path in (root / "etc/rc.boot", root / "etc/rc.stop", *(root / "usr/bin").iterdir()):
        path.chmod(0o755)
    # ACPI's power button, as busybox' acpid looks for it
    power = root / "etc/acpi/PWRF/00000080"
    power.parent.mkdir(parents=True)
    power.write_text("#!/bin/sh\nexec /sbin/poweroff\n")
    power.chmod(0o755)
    for directory in ("root", "root/.ssh", "home/demo/.ssh"):
        (root / directory).chmod(0o700)
    (root / "etc/shadow").chmod(0o600)


def libraries(unpacked: Path) -> list[Path]:
    """Shared libraries of unpacked packages, wherever this Debian puts them."""
    places = (unpacked / "usr" / LIBRARIES, unpacked / LIBRARIES)
    return [path for place in places if place.is_dir() for path in sorted(place.glob("*.so*"))]


def add_busybox(root: Path, unpacked: Path) -> None:
    """busybox and a link for each of its commands."""
    busybox = next((unpacked / name for name in ("bin/busybox", "usr/bin/busybox") if (unpacked / name).exists()), None)
    if busybox is None:
        raise DemoError("busybox-static has no busybox")
    shutil.copy(busybox, root / "bin/busybox")
    for command in subprocess.run([busybox, "--list"], capture_output=True, text=True, check=True).stdout.split():
        link = root / "bin" / command
        if command != "busybox" and not link.exists():
            link.symlink_to("busybox")
    for command in ("init", "getty", "poweroff", "reboot", "halt"):
        (root / "sbin" / command).symlink_to("../bin/busybox")


def add_modules(root: Path, paths: list[Path]) -> None:
    """The files below lib/modules, and lib/modules/load with their names in loading order."""
    directory = root / "lib/modules"
    directory.mkdir(parents=True, exist_ok=True)
    for path in paths:
        shutil.copy(path, directory / path.name)
    (directory / "load").write_text("".join(f"{path.name}\n" for path in paths))


def make_initial(initial: Path, tree: Path, unpacked: Path, available: modules.Modules) -> None:
    """The initial RAM disk: busybox, disk drivers, and the script that goes to the root disk."""
    for name in ("bin", "sbin", "dev", "proc", "sys", "mnt"):
        (initial / name).mkdir(parents=True)
    add_busybox(initial, unpacked)
    add_modules(initial, available.in_order(modules.BOOT))
    shutil.copy(tree / "init", initial / "init")
    (initial / "init").chmod(0o755)


def to_vhd(raw: Path, target: Path) -> str:
    """Convert to a dynamic VHD; its SHA-256."""
    digest = hashlib.sha256()
    with target.open("wb") as file:
        for part in stream.from_file(raw):
            digest.update(part)
            file.write(part)
    return digest.hexdigest()
