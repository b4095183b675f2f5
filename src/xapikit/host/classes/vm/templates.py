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
"""The templates of a fresh pool, which clients look up by name (wire reference 3.6), and where guests suspend to."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any, Final

from xapikit.host.classes.vm.overhead import MIB, memory_overhead
from xapikit.host.inventory import Fresh, contributes
from xapikit.host.store import Transaction

_PLATFORM: Final = {
    "viridian": "false",
    "secureboot": "false",
    "nx": "true",
    "acpi": "1",
    "apic": "true",
    "pae": "true",
    "hpet": "true",
}


@contributes(rank=45)
def suspend_srs(tx: Transaction, fresh: Fresh) -> None:
    """Guests are suspended to the local SR of their host, unless the pool or the VM says otherwise."""
    for host in fresh.hosts:
        if host.local_sr:
            tx.update("host", host.ref, suspend_image_sr=host.local_sr)


@contributes(rank=50)
def templates(tx: Transaction, fresh: Fresh) -> None:
    for entry in json.loads(files(__package__).joinpath("templates.json").read_text(encoding="utf-8")):
        _template(tx, entry)


def _template(tx: Transaction, entry: dict[str, Any]) -> None:
    memory = entry["memory_mib"] * MIB
    other = {
        "default_template": "true",
        "import_task": tx.store.new_ref(),  # hosts import their templates when they start for the first time
        "mac_seed": tx.store.new_uuid(),
        "install-methods": entry["install_methods"],
    }
    if entry.get("disk_gib"):
        size = entry["disk_gib"] << 30
        disk = f'<disk device="0" size="{size}" sr="" bootable="true" type="system"/>'
        other["disks"] = f"<provision>{disk}</provision>"
    ref = tx.create(
        "VM",
        {
            "name_label": entry["name"],
            "name_description": entry.get("description", f"Template for {entry['name']}"),
            "user_version": 1,
            "version": 1,
            "is_a_template": True,
            "is_default_template": True,
            "memory_static_max": memory,
            "memory_dynamic_max": memory,
            "memory_dynamic_min": memory,
            "memory_static_min": entry.get("memory_min_mib", entry["memory_mib"] // 2) * MIB,
            "VCPUs_max": entry.get("vcpus", 1),
            "VCPUs_at_startup": entry.get("vcpus", 1),
            "actions_after_shutdown": "destroy",
            "actions_after_reboot": "restart",
            "actions_after_crash": "restart",
            "actions_after_softreboot": "soft_reboot",
            "HVM_boot_policy": "BIOS order",
            "HVM_boot_params": {"firmware": entry.get("firmware", "bios"), "order": entry.get("order", "cd")},
            "domain_type": "hvm",
            "platform": {**_PLATFORM, **entry.get("platform", {})},
            "other_config": {**other, **entry.get("other_config", {})},
            "recommendations": _recommendations(entry),
            "has_vendor_device": False,
            "generation_id": "",
            "hardware_platform_version": 0,
            "domid": -1,
            "metrics": tx.create("VM_metrics", {"VCPUs_utilisation": {0: 0.0}}),
        },
    )
    tx.update("VM", ref, memory_overhead=memory_overhead(tx.get("VM", ref)))


def _recommendations(entry: dict[str, Any]) -> str:
    fields = {
        "memory-static-max": ("max", str(entry.get("memory_max_gib", 128) << 30)),
        "vcpus-max": ("max", "64"),
        "has-vendor-device": ("value", "true" if entry.get("vendor_device") else "false"),
        "supports-bios": ("value", "yes"),
        "supports-uefi": ("value", "yes"),
        "supports-secure-boot": ("value", "yes"),
    }
    restrictions = [f'<restriction field="{name}" {kind}="{value}"/>' for name, (kind, value) in fields.items()]
    restrictions.append('<restriction property="number-of-vbds" max="255"/>')
    restrictions.append('<restriction property="number-of-vifs" max="7"/>')
    return f"<restrictions>{''.join(restrictions)}</restrictions>"
