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
"""What a transition of a VM does to rows: VM, metrics, devices, consoles, messages (wire reference 3.4 and 3.5)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from xapikit.host import lifecycle
from xapikit.host.classes.message import tell
from xapikit.host.classes.vm.overhead import memory_overhead
from xapikit.host.domains.service import attach_rows
from xapikit.host.errors import ApiError
from xapikit.host.store import Row, Transaction
from xapikit.model import NULL_REF
from xapikit.wire import DateTime

if TYPE_CHECKING:
    from xapikit.host.pool import Pool

GENERIC_BIOS_STRINGS: Final = {
    "bios-vendor": "Xen",
    "bios-version": "",
    "system-manufacturer": "Xen",
    "system-product-name": "HVM domU",
    "system-version": "",
    "system-serial-number": "",
    "baseboard-manufacturer": "",
    "baseboard-product-name": "",
    "baseboard-version": "",
    "baseboard-serial-number": "",
    "baseboard-asset-tag": "",
    "baseboard-location-in-chassis": "",
    "enclosure-asset-tag": "",
    "hp-rombios": "",
    "oem-1": "Xen",
    "oem-2": "MS_VM_CERT/SHA1/bdbeb6e0a816d43fa6d3fe8aaef04c2bad9d3e3d",
}
"""Stored at the first start of a VM that has none."""
BOOT_CPU_FLAGS: Final = {"vendor": "GenuineIntel", "features": ""}


def about_to_start(tx: Transaction, vm: str, host: str) -> None:
    """What is settled before a domain is built: place, device model, BIOS strings, overhead."""
    row = tx.get("VM", vm)
    platform = dict(row["platform"])
    if platform.get("device-model", "qemu-trad") == "qemu-trad":
        uefi = row["HVM_boot_params"].get("firmware") == "uefi"
        platform["device-model"] = "qemu-upstream-uefi" if uefi else "qemu-upstream-compat"
    tx.update(
        "VM",
        vm,
        platform=platform,
        bios_strings=row["bios_strings"] or GENERIC_BIOS_STRINGS,
        memory_overhead=memory_overhead(row),
        scheduled_to_be_resident_on=host,
    )


def require_state(tx: Transaction, vm: str, *states: str, domid: int | None = None) -> Row:
    """The row, when the VM is still in one of the states (and in that domain). An operation that takes long may find
    that a hard shutdown came in between. Raises VM_BAD_POWER_STATE."""
    row = tx.get("VM", vm)
    if row["power_state"] not in states or (domid is not None and row["domid"] != domid):
        expected = ", ".join(state.lower() for state in states)
        raise ApiError("VM_BAD_POWER_STATE", vm, expected, row["power_state"].lower())
    return row


def started(tx: Transaction, pool: Pool, vm: str, host: str, domid: int, *, paused: bool) -> None:
    """A domain was built: the VM is Running or Paused, with consoles, metrics and attached devices."""
    row = tx.get("VM", vm)
    _forget_guest(tx, row)
    placed(tx, pool, vm, host, domid, paused=paused)
    tx.update(
        "VM",
        vm,
        memory_target=row["memory_dynamic_max"],
        last_boot_CPU_flags=dict(BOOT_CPU_FLAGS),
        requires_reboot=False,
        guest_metrics=pool.guests.first_metrics(tx, tx.get("host", host)["uuid"], domid),
    )
    now = DateTime.now()
    platform = row["platform"]
    metrics = {
        "memory_actual": row["memory_dynamic_max"],
        "VCPUs_number": row["VCPUs_at_startup"],
        "VCPUs_utilisation": dict.fromkeys(range(row["VCPUs_at_startup"]), 0.0),
        "start_time": now,
        "last_updated": now,
        "hvm": True,
        "nomigrate": platform.get("nomigrate") == "true",
        "nested_virt": "true" in (platform.get("nested-virt"), platform.get("exp-nested-hvm")),
        "current_domain_type": row["domain_type"],
    }
    if tx.peek("VM_metrics", row["metrics"]) is None:
        tx.update("VM", vm, metrics=tx.create("VM_metrics", metrics))
    else:
        tx.update("VM_metrics", row["metrics"], **metrics)


def placed(tx: Transaction, pool: Pool, vm: str, host: str, domid: int, *, paused: bool) -> None:
    """The VM has a domain on a host, new or from elsewhere."""
    row = tx.get("VM", vm)
    tx.update(
        "VM",
        vm,
        power_state=lifecycle.PAUSED if paused else lifecycle.RUNNING,
        domid=domid,
        resident_on=host,
        scheduled_to_be_resident_on=NULL_REF,
    )
    attach_rows(tx, row)
    for console in row["consoles"]:
        tx.delete("console", console)
    domain = pool.domains.peek(vm)
    for protocol in domain.consoles() if domain is not None else ():
        uuid = tx.store.new_uuid()
        where = pool.console_location(host, uuid)
        tx.create("console", {"uuid": uuid, "VM": vm, "protocol": protocol, "location": where})


def halted(tx: Transaction, vm: str) -> None:
    """All that becoming Halted resets, in one go."""
    reset = lifecycle.reset(lifecycle.HALTED)
    row = tx.get("VM", vm)
    tx.update("VM", vm, power_state=lifecycle.HALTED, current_operations={}, suspend_VDI=NULL_REF, **reset.vm)
    for class_name, field in (("VBD", "VBDs"), ("VIF", "VIFs"), ("VGPU", "VGPUs"), ("VUSB", "VUSBs")):
        for ref in row[field]:
            tx.update(class_name, ref, **reset.devices)
    if tx.peek("VM_metrics", row["metrics"]) is not None:
        tx.update("VM_metrics", row["metrics"], last_updated=DateTime.now(), **reset.metrics)
    for console in row["consoles"]:
        tx.delete("console", console)


def suspended(tx: Transaction, vm: str, image: str) -> None:
    """The state of the guest is in a VDI; devices stay attached as far as the records say."""
    reset = lifecycle.reset(lifecycle.SUSPENDED)
    row = tx.get("VM", vm)
    tx.update("VM", vm, power_state=lifecycle.SUSPENDED, suspend_VDI=image, **reset.vm)
    tx.update("VM", vm, last_booted_record=_boot_record(row))
    for console in row["consoles"]:
        tx.delete("console", console)


def announce(tx: Transaction, event: str, vm: str, **texts: str) -> None:
    """Leave the life-cycle message of an event."""
    row = tx.get("VM", vm)
    told = lifecycle.message(event, row, **texts)
    tell(tx, told.name, "VM", row["uuid"], told.body, told.priority)


def host_text(tx: Transaction, host: str) -> str:
    """How messages name a host."""
    row = tx.get("host", host)
    return f"{row['name_label']} (uuid: {row['uuid']})"


def _boot_record(vm: Row) -> str:
    """``last_booted_record``: opaque to clients; it only has to be there for a suspended VM."""
    return f"('struct' ('uuid' '{vm['uuid']}') ('domid' '{vm['domid']}'))"


def _forget_guest(tx: Transaction, vm: Row) -> None:
    if tx.peek("VM_guest_metrics", vm["guest_metrics"]) is not None:
        tx.delete("VM_guest_metrics", vm["guest_metrics"])
