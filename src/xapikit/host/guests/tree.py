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
"""What the toolstack writes into XenStore for a domain (wire reference 9.1)."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from typing import Any, Final

from xapikit.host.domains.model import DiskConfig, DomainConfig, NicConfig
from xapikit.host.positions import device_name
from xapikit.host.store import Row, View
from xapikit.host.xenstore import Edit, Node, Perms, tree
from xapikit.host.xenstore.node import DOM0_ONLY
from xapikit.host.xenstore.store import LARGEST_VALUE, home_of

LOG = logging.getLogger(__name__)

KIB: Final = 1024
INITIALISING, INIT_WAIT, CONNECTED = "1", "2", "4"
"""States of the two ends of a device."""
DISKS, NICS = "vbd3", "vif"
"""Names of the back ends in dom0."""
DATA_PREFIXES: Final = ("vm-data", "FIST")
"""What of ``VM.xenstore_data`` reaches the guest."""
_GUEST_WRITES: Final = ("attr", "control", "data", "drivers", "error", "feature", "FIST", "messages", "rrd", "vm-data",
                        "xenserver")  # fmt: skip
_FIRST_VNC_PORT: Final = 5900
_KEY = re.compile(r"[A-Za-z0-9_@-]+(/[A-Za-z0-9_@-]+)*", re.ASCII)


def guest_reads(domid: int) -> Perms:
    return (("n", 0), ("r", domid))


def guest_owns(domid: int) -> Perms:
    return (("n", domid),)


def device_number(position: int) -> int:
    """Number of ``xvda`` and its like, as guests know it."""
    return 202 << 8 | position << 4 if position < 16 else 1 << 28 | position << 8


def backend_path(kind: str, domid: int, device: int | str) -> str:
    return f"{home_of(0)}/backend/{kind}/{domid}/{device}"


def write_domain(edit: Edit, view: View, config: DomainConfig, vm: Row, unique: str) -> None:
    """Write all of a new domain. ``unique`` is its ``unique-domain-id``."""
    domid, uuid = config.domid, config.vm
    reads, owns = guest_reads(domid), guest_owns(domid)
    content: dict[str, Any] = {
        "vm": f"/vm/{uuid}",
        "vss": f"/vss/{uuid}",
        "name": config.name,
        "domid": domid,
        "unique-domain-id": unique,
        "memory": memory(config, vm),
        "cpu": {
            f"{number}/availability": "online" if number < config.vcpus else "offline"
            for number in range(max(config.vcpus, config.vcpus_max))
        },
        "console": {"port": 2, "limit": 65536, "type": "xenconsoled", "vnc-port": _FIRST_VNC_PORT + domid % 60000},
        "serial/0": {"limit": 65536, "type": "ioemu"},
        "store/port": 1,
        "hvmloader": {"allow-memory-relocate": 0, "bios": "ovmf" if config.firmware == "uefi" else "seabios"},
        "platform": sane(uuid, config.platform),
        "bios-strings": sane(uuid, config.bios_strings),
        "device": {"vbd": "", "vif": ""},
        "control": {
            "platform-feature-multiprocessor-suspend": 1,
            "platform-feature-xs_reset_watches": 1,
            "has-vendor-device": int(vm["has_vendor_device"]),
        },
        **{name: "" for name in _GUEST_WRITES if name not in ("control", "FIST")},
    }
    for key, value in guest_data(uuid, vm["xenstore_data"]).items():
        content[key] = value if key not in DATA_PREFIXES else {"": value}
    special = dict.fromkeys(_GUEST_WRITES, owns)
    edit.graft(home_of(domid), tree(content, reads, special))
    edit.graft(f"/vm/{uuid}", tree({"uuid": uuid, "name": config.name, f"domains/{domid}": home_of(domid),
                                    "rtc/timeoffset": config.platform.get("timeoffset", "0")}, reads))  # fmt: skip
    edit.graft(f"/vss/{uuid}", tree("", owns))
    write_devices(edit, view, config)


def remove_domain(edit: Edit, domid: int, uuid: str) -> None:
    """Remove all of a domain; what belongs to its VM goes with the last domain of it in this store."""
    for kind in (DISKS, NICS):
        if edit.exists(path := f"{home_of(0)}/backend/{kind}/{domid}"):
            edit.rm(path)
    for path in (f"/vm/{uuid}/domains/{domid}", f"/xapi/{uuid}/hotplug/{domid}", home_of(domid)):
        if edit.exists(path):
            edit.rm(path)
    if not edit.exists(f"/vm/{uuid}/domains") or not edit.directory(f"/vm/{uuid}/domains"):
        for path in (f"/vm/{uuid}", f"/vss/{uuid}", f"/xapi/{uuid}"):
            if edit.exists(path):
                edit.rm(path)


def memory_limits(vm: Row) -> dict[str, int]:
    """Limits of a VM's memory in KiB."""
    return {
        "static-max": vm["memory_static_max"] // KIB,
        "dynamic-min": vm["memory_dynamic_min"] // KIB,
        "dynamic-max": vm["memory_dynamic_max"] // KIB,
    }


def memory(config: DomainConfig, vm: Row) -> dict[str, int]:
    return {
        **memory_limits(vm),
        "target": config.memory_bytes // KIB,
        "initial-reservation": config.memory_bytes // KIB,
        "memory-offset": 0,
    }


def write_dom0(edit: Edit, uuid: str, memory_bytes: int) -> None:
    """The control domain's own part; what is there of others stays."""
    home = home_of(0)
    for path, value in {
        f"{home}/vm": f"/vm/{uuid}", f"{home}/name": "Domain-0", f"{home}/domid": "0",
        f"{home}/memory/target": str(memory_bytes // KIB), f"{home}/memory/static-max": str(memory_bytes // KIB),
        f"/vm/{uuid}/uuid": uuid, f"/vm/{uuid}/name": "Domain-0", f"/vm/{uuid}/domains/0": home,
    }.items():  # fmt: skip
        edit.write(path, value)


# devices -------------------------------------------------------------------------------------------------------------


def write_devices(edit: Edit, view: View, config: DomainConfig, media: Mapping[str, str] | None = None) -> None:
    """Make the devices in the store those of the configuration: add what is missing, remove what is gone, tell of
    changed media, networks and locks. ``media`` names VDIs by VBD where the records do not yet."""
    domid = config.domid
    disks = {str(device_number(disk.position)): disk for disk in config.disks}
    nics = {str(nic.position): nic for nic in config.nics}
    for front, kind, wanted in (("vbd", DISKS, disks.keys()), ("vif", NICS, nics.keys())):
        path = f"{home_of(domid)}/device/{front}"
        for device in edit.directory(path) if edit.exists(path) else ():
            if device not in wanted:
                hotplug = f"/xapi/{config.vm}/hotplug/{domid}/{front}/{device}"
                private_data = _private(front, config, device)
                for gone in (f"{path}/{device}", backend_path(kind, domid, device), hotplug, private_data):
                    if edit.exists(gone):
                        edit.rm(gone)
    for device, disk in disks.items():
        content = _disk(view, disk, media or {})
        back = backend_path(DISKS, domid, device)
        if edit.exists(back):
            for key in ("params", "sectors"):
                if edit.read(f"{back}/{key}").decode() != str(content[key]):
                    edit.write(f"{back}/{key}", str(content[key]))
            continue
        kinds = {"virtual-device": device, "device-type": content["device-type"]}
        _write_device(edit, config, "vbd", DISKS, device, kinds, content, {"vbd-uuid": disk.uuid})
    for device, nic in nics.items():
        back, private = backend_path(NICS, domid, device), _private_nic(view, nic)
        if not edit.exists(back):
            front_end = {"handle": device, "mac": nic.mac, "mtu": nic.mtu, "disconnect": 0}
            _write_device(edit, config, "vif", NICS, device, front_end, _nic(nic, str(private["bridge"])), private)
            continue
        for path, content in ((back, {"bridge": private["bridge"]}), (_private("vif", config, device), private)):
            for key, value in content.items():
                if not edit.exists(f"{path}/{key}") or edit.read(f"{path}/{key}").decode() != str(value):
                    edit.write(f"{path}/{key}", str(value))


def _write_device(
    edit: Edit, config: DomainConfig, front: str, kind: str, device: str, front_end: Mapping[str, object],
    back_end: Mapping[str, object], private: Mapping[str, object],
) -> None:  # fmt: skip
    domid = config.domid
    path, back = f"{home_of(domid)}/device/{front}/{device}", backend_path(kind, domid, device)
    ends = {"backend": back, "backend-id": 0, "state": INITIALISING, **front_end}
    edit.graft(path, tree(ends, (("n", domid), ("r", 0))))
    others = {"frontend": path, "frontend-id": domid, "online": 1, "state": INIT_WAIT, "hotplug-status": "connected"}
    edit.graft(back, tree({**others, **back_end}, guest_reads(domid)))
    edit.graft(f"/xapi/{config.vm}/hotplug/{domid}/{front}/{device}", tree({"hotplug": "online"}, DOM0_ONLY))
    edit.graft(_private(front, config, device), tree(private, DOM0_ONLY))


def _private(front: str, config: DomainConfig, device: str) -> str:
    return f"/xapi/{config.vm}/private/{front}/{device}"


def _disk(view: View, disk: DiskConfig, media: Mapping[str, str]) -> dict[str, object]:
    ref, row = next(iter(view.find("VBD", uuid=disk.uuid).items()), ("", None))
    content = media.get(ref) or (row["VDI"] if row is not None else "")
    vdi = view.peek("VDI", content) if disk.source is not None else None
    sr = view.peek("SR", vdi["SR"]) if vdi is not None else None
    return {
        "removable": int(disk.cdrom),
        "bootable": int(disk.bootable),
        "dev": device_name(disk.position),
        "type": "phy",
        "mode": "r" if disk.read_only else "w",
        "device-type": "cdrom" if disk.cdrom else "disk",
        "params": f"/dev/sm/backend/{sr['uuid']}/{vdi['uuid']}" if vdi is not None and sr is not None else "",
        "sector-size": 512,
        "sectors": vdi["virtual_size"] // 512 if vdi is not None else 0,
        "feature-flush-cache": 1,
    }


def _nic(nic: NicConfig, bridge: str) -> dict[str, object]:
    return {
        "handle": nic.position,
        "mac": nic.mac,
        "mtu": nic.mtu,
        "bridge": bridge,
        "script": "/etc/xensource/scripts/vif",
        "feature-rx-copy": 1,
        "feature-sg": 1,
    }


def _private_nic(view: View, nic: NicConfig) -> dict[str, object]:
    """What only dom0 sees of a NIC: its network, and what the guest may send on it."""
    row = next(iter(view.find("VIF", uuid=nic.uuid).values()), None)
    found: dict[str, object] = {
        "vif-uuid": nic.uuid, "network-uuid": nic.network, "mac": nic.mac, "bridge": nic.bridge,
    }  # fmt: skip
    if row is None:
        return found
    network = view.peek("network", row["network"])
    if network is not None:
        found |= {"network-uuid": network["uuid"], "bridge": network["bridge"]}
    return found | {
        "locking-mode": row["locking_mode"],
        "ipv4-allowed": ",".join(row["ipv4_allowed"]),
        "ipv6-allowed": ",".join(row["ipv6_allowed"]),
    }


# xenstore_data -------------------------------------------------------------------------------------------------------


def guest_data(uuid: str, data: Mapping[str, str]) -> dict[str, str]:
    """The keys of ``VM.xenstore_data`` that reach the guest, where XenStore can hold them."""
    return sane(uuid, {key: value for key, value in data.items() if key.partition("/")[0] in DATA_PREFIXES})


def data_trees(domid: int, uuid: str, data: Mapping[str, str]) -> dict[str, Node]:
    """What is at the data prefixes of a domain, by prefix: a subtree for each that has something."""
    known = guest_data(uuid, data)
    found: dict[str, Node] = {}
    for prefix in DATA_PREFIXES:
        below = {key.removeprefix(f"{prefix}/") if key != prefix else "": value
                 for key, value in known.items() if key.partition("/")[0] == prefix}  # fmt: skip
        if below or prefix == "vm-data":
            found[prefix] = tree(below, guest_owns(domid))
    return found


def sane(uuid: str, texts: Mapping[str, str]) -> dict[str, str]:
    """Keys that are paths and values that fit into a node."""
    kept: dict[str, str] = {}
    for key, value in texts.items():
        if _KEY.fullmatch(key) and len(value.encode("utf-8", "replace")) <= LARGEST_VALUE:
            kept[key] = value
        else:
            LOG.warning("VM %s: %r cannot be put into XenStore", uuid, key)
    return kept
