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
"""From the rows of a VM to the plain values that a kind of domain needs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from xapikit.host.domains.model import DiskConfig, DiskSource, DomainConfig, NicConfig
from xapikit.host.positions import position_of
from xapikit.host.store import Row, View

DEFAULT_BOOT_ORDER = "cd"
DEFAULT_MTU = 1500


def domain_config(view: View, vm: str, host: str, domid: int, sources: Mapping[str, DiskSource]) -> DomainConfig:
    """The configuration of a VM that starts on ``host``; ``sources`` by VBD reference are what is attached."""
    row = view.get("VM", vm)
    firmware: Literal["bios", "uefi"] = "uefi" if row["HVM_boot_params"].get("firmware") == "uefi" else "bios"
    order = row["HVM_boot_params"].get("order", DEFAULT_BOOT_ORDER)
    cores = row["platform"].get("cores-per-socket", "1")
    return DomainConfig(
        vm=row["uuid"],
        name=row["name_label"],
        domid=domid,
        host=view.get("host", host)["uuid"],
        memory_bytes=row["memory_dynamic_max"],
        vcpus=row["VCPUs_at_startup"],
        vcpus_max=row["VCPUs_max"],
        cores_per_socket=int(cores) if cores.isdecimal() and int(cores) > 0 else 1,
        firmware=firmware,
        boot_order=order,
        platform=row["platform"],
        bios_strings=row["bios_strings"],
        disks=tuple(disk_config(view, vbd, sources.get(vbd)) for vbd in vbds_to_attach(view, row)),
        nics=tuple(nic_config(view, vif) for vif in row["VIFs"]),
    )


def vbds_to_attach(view: View, vm: Row) -> list[str]:
    """VBDs in the order of their positions; floppies are no devices of these guests."""
    rows = {ref: view.get("VBD", ref) for ref in vm["VBDs"]}
    return sorted((ref for ref, row in rows.items() if row["type"] != "Floppy"), key=lambda ref: _position(rows[ref]))


def _position(vbd: Row) -> int:
    return position_of(vbd["userdevice"]) or 0


def disk_config(view: View, vbd: str, source: DiskSource | None) -> DiskConfig:
    """One VBD as a device."""
    row = view.get("VBD", vbd)
    return DiskConfig(
        uuid=row["uuid"],
        position=_position(row),
        source=source,
        read_only=row["mode"] == "RO",
        cdrom=row["type"] == "CD",
        bootable=row["bootable"],
    )


def nic_config(view: View, vif: str) -> NicConfig:
    """One VIF as a device. An MTU of 0 means that of the network (wire reference 3.8)."""
    row = view.get("VIF", vif)
    network = view.peek("network", row["network"])
    mtu = row["MTU"] if row["MTU"] > 0 else network["MTU"] if network is not None else DEFAULT_MTU
    return NicConfig(
        uuid=row["uuid"],
        position=int(row["device"]),
        mac=row["MAC"].lower(),
        mtu=mtu if mtu > 0 else DEFAULT_MTU,
        network=network["uuid"] if network is not None else "",
        bridge=network["bridge"] if network is not None else "",
    )
