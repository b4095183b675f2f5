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
"""The command line of a guest: pure functions from a configuration to arguments. Nothing is opened here.

Devices that Debian's cloud kernel and most others know: virtio disks and NICs, IDE CDs on machine ``pc``. Disks come
over NBD, never from a VHD file: QEMU's ``vpc`` driver reads zeros where a differencing disk has none of its own.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xapikit.host.domains.model import DiskConfig, DiskSource, DomainConfig, NicConfig

MAX_IDE_CDS = 4
SMALLEST_HOST_MTU, LARGEST_HOST_MTU = 68, 65535
NETBOOT_ROM = "efi-virtio.rom"
VGA_MODELS = {"std": "VGA", "cirrus": "cirrus-vga"}


@dataclass(frozen=True)
class Files:
    """Paths of one domain."""

    qmp: Path
    vnc: Path
    serial: Path
    serial_log: Path
    pid: Path
    code: Path | None = None
    """UEFI firmware and the file of its variables, for a UEFI guest."""
    variables: Path | None = None


def node_name(uuid: str) -> str:
    """Name of the block node of a VBD (at most 31 characters)."""
    return "n" + uuid.replace("-", "")[:30]


def disk_id(uuid: str) -> str:
    return f"vbd-{uuid}"


def nic_id(uuid: str) -> str:
    return f"vif-{uuid}"


def netdev_id(uuid: str) -> str:
    return f"net-{uuid}"


def blockdev(uuid: str, source: DiskSource, *, read_only: bool) -> dict[str, Any]:
    """The block node of a disk or medium, for ``-blockdev`` and ``blockdev-add``."""
    node: dict[str, Any] = {"node-name": node_name(uuid), "read-only": read_only}
    if source.kind == "file":
        return {**node, "driver": "file", "filename": source.path}
    server = {"type": "unix", "path": source.path}
    # a data path that is replaced (snapshot, coalesce) is found again within this time; the guest waits
    return {**node, "driver": "nbd", "server": server, "export": source.export, "reconnect-delay": 60}


def disk_device(disk: DiskConfig, boot_index: int | None, place: str | None = None) -> dict[str, Any]:
    """A virtio disk, for ``-device`` and ``device_add``."""
    device: dict[str, Any] = {"driver": "virtio-blk-pci", "id": disk_id(disk.uuid), "drive": node_name(disk.uuid)}
    # the serial of a disk is at most 20 characters; guests find it under /dev/disk/by-id
    device["serial"] = disk.uuid.replace("-", "")[:20]
    if boot_index is not None:
        device["bootindex"] = boot_index
    if place is not None:
        device["addr"] = place
    return device


def nic_device(nic: NicConfig, boot_index: int | None, place: str | None = None) -> dict[str, Any]:
    """A virtio NIC, for ``-device`` and ``device_add``."""
    device: dict[str, Any] = {
        "driver": "virtio-net-pci",
        "id": nic_id(nic.uuid),
        "netdev": netdev_id(nic.uuid),
        "mac": nic.mac,
        "romfile": NETBOOT_ROM if boot_index is not None else "",
    }
    if SMALLEST_HOST_MTU <= nic.mtu <= LARGEST_HOST_MTU:
        device["host_mtu"] = nic.mtu
    if boot_index is not None:
        device["bootindex"] = boot_index
    if place is not None:
        device["addr"] = place
    return device


def netdev(nic: NicConfig) -> dict[str, Any]:
    """A backend that connects to nothing: the link is up, frames go nowhere."""
    return {"type": "hubport", "id": netdev_id(nic.uuid), "hubid": nic.position}


def boot_indexes(config: DomainConfig) -> dict[str, int]:
    """Boot order by uuid of VBD and VIF. What no letter of the order names is not booted from."""
    disks = sorted((d for d in config.disks if not d.cdrom), key=lambda d: (not d.bootable, d.position))
    drives = sorted((d for d in config.disks if d.cdrom), key=lambda d: d.position)
    nics = sorted(config.nics, key=lambda n: n.position)
    by_letter = {"c": [d.uuid for d in disks], "d": [d.uuid for d in drives], "n": [n.uuid for n in nics]}
    order: dict[str, int] = {}
    for letter in config.boot_order:
        for uuid in by_letter.get(letter, ()):
            order.setdefault(uuid, len(order) + 1)
    return order


def arguments(config: DomainConfig, files: Files, *, accel: str, qmp_fd: int, incoming: bool = False) -> list[str]:
    """All arguments after the program's name. The guest stands still until ``cont``.

    ``qmp_fd`` is a socket that listens already: who connects waits for QEMU instead of trying again and again.
    Raises ValueError for more CD drives than IDE has places.
    """
    return [*_machine(config, files, accel), *_control(files, qmp_fd, incoming), *_devices(config)]


def _machine(config: DomainConfig, files: Files, accel: str) -> Iterator[str]:
    yield from ("-no-user-config", "-nodefaults", "-S")
    yield from ("-name", f"guest={config.vm}", "-uuid", config.vm, "-pidfile", str(files.pid))
    yield from ("-machine", "pc,usb=off", "-accel", accel)
    yield from ("-cpu", "host" if accel.startswith("kvm") else "max")
    yield from ("-m", f"{max(1, config.memory_bytes >> 20)}M")
    cores = config.cores_per_socket if config.vcpus_max % config.cores_per_socket == 0 else 1
    sockets = config.vcpus_max // cores
    yield from ("-smp", f"cpus={config.vcpus},maxcpus={config.vcpus_max},sockets={sockets},cores={cores},threads=1")
    # the toolstack decides what follows a shutdown or a reboot: the process waits, or ends with an event
    yield from ("-action", "shutdown=pause,reboot=shutdown,panic=pause")
    yield from ("-boot", "strict=on", "-rtc", "base=utc,driftfix=slew")
    yield from ("-smbios", _smbios(config))
    if files.code is not None and files.variables is not None:
        yield from ("-drive", f"if=pflash,unit=0,format=raw,readonly=on,file={option(str(files.code))}")
        yield from ("-drive", f"if=pflash,unit=1,format=raw,file={option(str(files.variables))}")


def _smbios(config: DomainConfig) -> str:
    strings = config.bios_strings
    maker = strings.get("system-manufacturer") or "Xen"
    product = strings.get("system-product-name") or "HVM domU"
    parts = [f"manufacturer={option(maker)}", f"product={option(product)}", f"uuid={config.vm}", f"serial={config.vm}"]
    if strings.get("system-version"):
        parts.append(f"version={option(strings['system-version'])}")
    return ",".join(["type=1", *parts])


def _control(files: Files, qmp_fd: int, incoming: bool) -> Iterator[str]:
    yield from ("-display", "none", "-vnc", f"unix:{option(str(files.vnc))}")
    yield from ("-chardev", f"socket,id=qmp,fd={qmp_fd},server=on,wait=off")
    yield from ("-mon", "chardev=qmp,mode=control")
    log = option(str(files.serial_log))
    serial = f"socket,id=serial0,path={option(str(files.serial))},server=on,wait=off,logfile={log},logappend=on"
    yield from ("-chardev", serial, "-serial", "chardev:serial0")
    if incoming:
        yield from ("-incoming", "defer")


def _devices(config: DomainConfig) -> Iterator[str]:
    order = boot_indexes(config)
    yield from ("-device", VGA_MODELS.get(config.platform.get("vga", "std"), "VGA"))
    yield from ("-device", "pvpanic", "-device", "virtio-balloon-pci,id=balloon0", "-device", "virtio-rng-pci")
    drives = sorted((d for d in config.disks if d.cdrom), key=lambda d: d.position)
    if len(drives) > MAX_IDE_CDS:
        raise ValueError(f"{len(drives)} CD drives, IDE has places for {MAX_IDE_CDS}")
    for disk in sorted(config.disks, key=lambda d: d.position):
        if disk.source is not None:
            yield from ("-blockdev", json.dumps(blockdev(disk.uuid, disk.source, read_only=disk.read_only)))
        if not disk.cdrom:
            yield from (
                "-device",
                json.dumps(disk_device(disk, order.get(disk.uuid), config.places.get(disk_id(disk.uuid)))),
            )
    for place, disk in enumerate(drives):
        # secondary channel first, as hosts have their CD (hdc)
        bus, unit = (1, 0, 1, 0)[place], (0, 0, 1, 1)[place]
        device: dict[str, Any] = {"driver": "ide-cd", "id": disk_id(disk.uuid), "bus": f"ide.{bus}", "unit": unit}
        if disk.source is not None:
            device["drive"] = node_name(disk.uuid)
        if disk.uuid in order:
            device["bootindex"] = order[disk.uuid]
        yield from ("-device", json.dumps(device))
    for nic in sorted(config.nics, key=lambda n: n.position):
        device = nic_device(nic, order.get(nic.uuid), config.places.get(nic_id(nic.uuid)))
        yield from ("-netdev", json.dumps(netdev(nic)), "-device", json.dumps(device))


def option(text: str) -> str:
    """A value inside a comma-separated option."""
    return text.replace(",", ",,")
