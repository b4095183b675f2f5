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
"""Settings of VMs that are more than a stored value (wire reference 3.10; recorded in observed/vm_lifecycle)."""

from __future__ import annotations

from typing import Any, Final

from xapikit.host.classes.vm.copies import copy_vm
from xapikit.host.classes.vm.facts import check
from xapikit.host.classes.vm.transitions import GENERIC_BIOS_STRINGS
from xapikit.host.context import Context
from xapikit.host.errors import ApiError
from xapikit.host.lifecycle import HALTED, RUNNING, SUSPENDED
from xapikit.host.registry import implements
from xapikit.host.server.records import RowRecord

BIOS_KEYS: Final = (
    "bios-vendor", "bios-version", "system-manufacturer", "system-product-name", "system-version",
    "system-serial-number", "baseboard-manufacturer", "baseboard-product-name", "baseboard-version",
    "baseboard-serial-number", "baseboard-asset-tag", "baseboard-location-in-chassis", "enclosure-asset-tag",
)  # fmt: skip
"""What a client may set; the others are the host's."""
LONGEST_BIOS_STRING: Final = 512
BIOS_ORDER: Final = "BIOS order"


# kind of guest -------------------------------------------------------------------------------------------------------


@implements("VM.set_domain_type")
def set_domain_type(ctx: Context, vm: str, value: str) -> None:
    with ctx.store.transaction() as tx:
        tx.update("VM", vm, domain_type=value, HVM_boot_policy=BIOS_ORDER if value == "hvm" else "")


@implements("VM.set_HVM_boot_policy")
def set_hvm_boot_policy(ctx: Context, vm: str, value: str) -> None:
    with ctx.store.transaction() as tx:
        tx.update("VM", vm, HVM_boot_policy=value, domain_type="hvm" if value else "pv")


@implements("VM.set_has_vendor_device")
def set_has_vendor_device(ctx: Context, vm: str, value: bool) -> None:
    with ctx.store.transaction() as tx:
        row = tx.get("VM", vm)
        _require_state(vm, row["power_state"], HALTED)
        version = max(row["hardware_platform_version"], 2) if value else row["hardware_platform_version"]
        tx.update("VM", vm, has_vendor_device=value, hardware_platform_version=version)


@implements("VM.set_is_default_template")
def set_is_default_template(ctx: Context, vm: str, value: bool) -> None:
    with ctx.store.transaction() as tx:
        row = tx.get("VM", vm)
        other = {key: text for key, text in row["other_config"].items() if key != "default_template"}
        if value:
            other["default_template"] = "true"
        tx.update("VM", vm, is_default_template=value, other_config=other)


def _require_state(vm: str, state: str, wanted: str) -> None:
    if state != wanted:
        raise ApiError("VM_BAD_POWER_STATE", vm, wanted.lower(), state.lower())


# firmware ------------------------------------------------------------------------------------------------------------


@implements("VM.set_NVRAM")
def set_nvram(ctx: Context, vm: str, value: dict[str, str]) -> None:
    with ctx.store.transaction() as tx:
        check(tx, vm, "changing_NVRAM")
        tx.update("VM", vm, NVRAM=value)


@implements("VM.set_NVRAM_EFI_variables")
def set_nvram_efi_variables(ctx: Context, vm: str, value: str, update: str) -> None:
    with ctx.store.transaction() as tx:
        nvram = tx.get("VM", vm)["NVRAM"]
        tx.update("VM", vm, NVRAM={**nvram, "EFI-variables": value})


@implements("VM.set_bios_strings")
def set_bios_strings(ctx: Context, vm: str, value: dict[str, str]) -> None:
    with ctx.store.transaction() as tx:
        _require_no_bios_strings(tx.get("VM", vm)["bios_strings"])
        for key, text in value.items():
            if key not in BIOS_KEYS:
                raise ApiError("INVALID_VALUE", key, "Unknown key")
            if not text:
                raise ApiError("INVALID_VALUE", key, "Value provided is empty")
            if len(text) > LONGEST_BIOS_STRING:
                raise ApiError("INVALID_VALUE", key, f"{text} has length more than {LONGEST_BIOS_STRING} characters")
            if not text.isascii() or not text.isprintable():
                raise ApiError("INVALID_VALUE", key, f"{text} has non-printable ASCII characters")
        tx.update("VM", vm, bios_strings={**GENERIC_BIOS_STRINGS, **value})


@implements("VM.copy_bios_strings")
def copy_bios_strings(ctx: Context, vm: str, host: str) -> None:
    with ctx.store.transaction() as tx:
        strings = tx.get("host", host)["bios_strings"]
        _require_no_bios_strings(tx.get("VM", vm)["bios_strings"])
        tx.update("VM", vm, bios_strings={**GENERIC_BIOS_STRINGS, **strings})


def _require_no_bios_strings(strings: dict[str, str]) -> None:
    if strings:
        raise ApiError("VM_BIOS_STRINGS_ALREADY_SET")


# what guests read ----------------------------------------------------------------------------------------------------


@implements("VM.set_xenstore_data")
def set_xenstore_data(ctx: Context, vm: str, value: dict[str, str]) -> None:
    """The one call that also changes what a running guest sees."""
    with ctx.store.transaction() as tx:
        tx.update("VM", vm, xenstore_data=value)
    domain = ctx.pool.domains.peek(vm)
    if domain is not None:
        ctx.pool.guests.set_data(domain, value)


# suspend images ------------------------------------------------------------------------------------------------------


@implements("VM.set_suspend_VDI")
def set_suspend_vdi(ctx: Context, vm: str, value: str) -> None:
    with ctx.store.transaction() as tx:
        _require_state(vm, tx.get("VM", vm)["power_state"], SUSPENDED)
        tx.get("VDI", value)
        tx.update("VM", vm, suspend_VDI=value)


@implements("VM.csvm")
def csvm(ctx: Context, vm: str) -> str:
    """A clone of a suspended VM, its memory included."""
    row = ctx.store.get("VM", vm)
    ctx.store.get("VDI", row["suspend_VDI"])
    with ctx.operation("VM", vm, "csvm", check=check):
        return copy_vm(ctx, vm, row["name_label"], None)


@implements("VM.get_boot_record")
def get_boot_record(ctx: Context, vm: str) -> RowRecord:
    with ctx.store.transaction() as tx:
        tx.get("VM", vm)
        check(tx, vm, "get_boot_record")
    entry = ctx.store.entry("VM", vm)
    if entry is None:
        raise ApiError("HANDLE_INVALID", "VM", vm)
    return RowRecord("VM", entry)


# what only a guest could do ------------------------------------------------------------------------------------------


@implements("VM.send_sysrq", "VM.send_trigger")
def send(ctx: Context, vm: str, text: str) -> None:
    name = ctx.method.partition(".")[2]
    with ctx.operation("VM", vm, name, check=check):
        raise ApiError("NOT_IMPLEMENTED", name)


@implements("VM.sysprep")
def sysprep(ctx: Context, vm: str, unattend: Any, timeout: float) -> None:
    with ctx.operation("VM", vm, "sysprep", check=check):
        raise ApiError("VM_LACKS_FEATURE", vm)


@implements("VM.s3_suspend", "VM.s3_resume")
def s3(ctx: Context, vm: str) -> None:
    _require_state(vm, ctx.store.get("VM", vm)["power_state"], RUNNING)
    raise ApiError("VM_LACKS_FEATURE", vm)
