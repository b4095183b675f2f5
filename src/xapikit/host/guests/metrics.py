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
"""From what a guest wrote into XenStore to the fields of its ``VM_guest_metrics`` (wire reference 9.2)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from xapikit.host.guests.tree import CONNECTED
from xapikit.host.xenstore import Node
from xapikit.host.xenstore.node import find

SPOKEN: Final = frozenset({"attr", "control", "data", "device", "feature"})
"""Children of a domain's node that matter here."""
UPDATED: Final = "data/updated"
_VERSION: Final = {"major": "MajorVersion", "minor": "MinorVersion", "micro": "MicroVersion", "build": "BuildVersion"}
_SYSTEM: Final = ("name", "uname", "distro", "major", "minor")
_NAMES: Final = {"dns": "host_name_dns", "domain": "domain", "host_name": "host_name"}
_FEATURES: Final = re.compile(r"feature-.*|platform-feature-.*|has-vendor-device")
_OLD_NIC: Final = re.compile(r"eth(\d+)")


def guest_fields(home: Node) -> dict[str, Any]:
    """What the part of a domain says; some of it is there before the guest has said anything."""
    devices = [device for kind in ("vbd", "vif") for device in _children(home, f"device/{kind}").values()]
    connected = any(_text(device, "state") == CONNECTED for device in devices)
    version = {key: text for key, name in _VERSION.items() if (text := _text(home, f"attr/PVAddons/{name}"))}
    control = {name: text for name, text in _texts(home, "control").items() if _FEATURES.fullmatch(name)}
    told = any(name.startswith("feature-") for name in control)
    # without a device there is no driver to be seen at work: then the word of the guest counts
    detected = connected or bool(version) or (told and not devices)
    system = {f"os_{name}" if name not in ("major", "minor") else f"os_{name}ver": name for name in _SYSTEM}
    others = {name: text for name in ("ts", "cant_suspend_reason") if (text := _text(home, f"data/{name}"))}
    return {
        "PV_drivers_version": {"micro": "-1"} | version if version else {},
        "PV_drivers_detected": detected,
        "PV_drivers_up_to_date": detected,
        "os_version": {name: text for key, name in system.items() if (text := _text(home, f"data/{key}"))},
        "netbios_name": {name: text for name, key in _NAMES.items() if (text := _text(home, f"data/{key}"))},
        "networks": _networks(_children(home, "attr")),
        "other": control | {f"data-{name.replace('_', '-')}": text for name, text in others.items()},
        "can_use_hotplug_vbd": _tristate(_text(home, "feature/hotplug/vbd")),
        "can_use_hotplug_vif": _tristate(_text(home, "feature/hotplug/vif")),
        "services": {
            f"{name}/{key}": text
            for name in _children(home, "data/service")
            for key, text in _texts(home, f"data/service/{name}").items()
        },
    }  # fmt: skip


def free_memory_kib(home: Node) -> float | None:
    """Free memory as the agent says; None when it does not."""
    text = _text(home, "data/meminfo_free")
    return float(text) if text.isdecimal() else None


def _networks(attributes: Mapping[str, Node]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, node in attributes.items():
        if match := _OLD_NIC.fullmatch(name):  # how agents told before there were several addresses
            number = match[1]
            if address := _text(node, "ip"):
                found[f"{number}/ip"] = address
            for index in _children(node, "ipv6"):
                found[f"{number}/ipv6/{index}"] = _text(node, f"ipv6/{index}/addr")
    for number, nic in (attributes["vif"].children if "vif" in attributes else {}).items():
        for version in ("ipv4", "ipv6"):
            addresses = {index: text for index, text in _texts(nic, version).items() if text}
            found |= {f"{number}/{version}/{index}": text for index, text in addresses.items()}
            if version == "ipv4" and addresses:
                found[f"{number}/ip"] = addresses.get("0") or next(iter(addresses.values()))
    return found


def _tristate(text: str) -> str:
    return {"0": "no", "1": "yes"}.get(text, "unspecified")


def _children(node: Node, path: str) -> Mapping[str, Node]:
    found = find(node, f"/{path}")
    return found.children if found is not None else {}


def _texts(node: Node, path: str) -> dict[str, str]:
    return {name: child.value.decode("utf-8", "replace") for name, child in _children(node, path).items()}


def _text(node: Node, path: str) -> str:
    found = find(node, f"/{path}")
    return found.value.decode("utf-8", "replace") if found is not None else ""
