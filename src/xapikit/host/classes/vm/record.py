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
"""Making and removing VMs, templates among them (wire reference 3.3; recorded in observed/vm_lifecycle)."""

from __future__ import annotations

from typing import Any, Final

from xapikit.host.classes.vbd import taken_positions
from xapikit.host.classes.vm.facts import check
from xapikit.host.classes.vm.overhead import memory_overhead
from xapikit.host.context import Context
from xapikit.host.errors import ApiError
from xapikit.host.positions import free_positions
from xapikit.host.registry import implements
from xapikit.host.store import Row, Transaction
from xapikit.model import MODEL, NULL_REF, Qualifier
from xapikit.wire import DateTime

IGNORED: Final = frozenset({
    "uuid", "power_state", "blocked_operations", "bios_strings", "blobs", "protection_policy", "snapshot_schedule",
    "appliance", "is_control_domain", "is_default_template", "domid", "domarch", "resident_on", "current_operations",
    "allowed_operations", "suspend_VDI", "metrics", "guest_metrics",
})  # fmt: skip
"""Members of a record that VM.create does not take over."""
_FIELDS: Final = MODEL.classes["VM"].wire_fields
VIF_DEVICES: Final = 16


@implements("VM.create")
def create(ctx: Context, args: dict[str, Any]) -> str:
    with ctx.store.transaction() as tx:
        return create_vm(tx, args)


def create_vm(tx: Transaction, args: dict[str, Any]) -> str:
    """Make a VM from a constructor's record. Nothing is checked but the power state: starting does that."""
    fields = {
        name: value
        for name, value in args.items()
        if name in _FIELDS and name not in IGNORED and _FIELDS[name].qualifier is not Qualifier.DYNAMIC_RO
    }
    if fields.get("domain_type", "unspecified") == "unspecified":
        fields["domain_type"] = "hvm" if args["HVM_boot_policy"] else "pv"
    fields.setdefault("hardware_platform_version", 2)
    fields.setdefault("has_vendor_device", True)
    fields.setdefault("generation_id", "0:0")
    fields.setdefault("actions_after_softreboot", "soft_reboot")
    fields["other_config"] = {"mac_seed": tx.store.new_uuid(), **args["other_config"]}
    ref = tx.create(
        "VM",
        {
            **fields,
            "power_state": "Halted",
            "metrics": tx.create("VM_metrics", {"VCPUs_utilisation": {0: 0.0}}),
            "domid": -1,
        },
    )
    tx.update("VM", ref, memory_overhead=memory_overhead(tx.get("VM", ref)))
    if args.get("power_state") == "Suspended":
        _suspended(tx, ref, args)
    return ref


def _suspended(tx: Transaction, ref: str, args: dict[str, Any]) -> None:
    """An imported suspended VM: only with all that resuming needs."""
    if not args.get("last_booted_record") or "last_boot_CPU_flags" not in args:
        raise ApiError("VM_BAD_POWER_STATE", ref, "halted", "suspended")
    vdi = args.get("suspend_VDI", NULL_REF)
    tx.get("VDI", vdi)
    tx.update("VM", ref, power_state="Suspended", suspend_VDI=vdi)


@implements("VM.destroy")
def destroy(ctx: Context, vm: str) -> None:
    with ctx.operation("VM", vm, "destroy", check=check):
        suspend = ctx.store.get("VM", vm)["suspend_VDI"]
        if suspend != NULL_REF and ctx.store.peek("VDI", suspend) is not None:
            ctx.pool.domains.discard_suspend_image(suspend)
        with ctx.store.transaction() as tx:
            remove_vm(tx, vm)


def remove_vm(tx: Transaction, vm: str) -> None:
    """Delete a VM with what belongs to it; disks stay, snapshots stay with their parent re-based."""
    row = tx.get("VM", vm)
    for class_name, field in (
        ("VBD", "VBDs"),
        ("VIF", "VIFs"),
        ("VGPU", "VGPUs"),
        ("VTPM", "VTPMs"),
        ("VUSB", "VUSBs"),
    ):
        for ref in row[field]:
            tx.delete(class_name, ref)
    for ref in row["consoles"]:
        tx.delete("console", ref)
    for ref in row["blobs"].values():
        if tx.peek("blob", ref) is not None:
            tx.delete("blob", ref)
    for class_name, field in (("VM_metrics", "metrics"), ("VM_guest_metrics", "guest_metrics")):
        if tx.peek(class_name, row[field]) is not None:
            tx.delete(class_name, row[field])
    for child in row["children"]:
        tx.update("VM", child, parent=row["parent"])
    tx.delete("VM", vm)


@implements("VM.set_is_a_template")
def set_is_a_template(ctx: Context, vm: str, value: bool) -> None:
    with ctx.store.transaction() as tx:
        row = tx.get("VM", vm)
        if value:
            check(tx, vm, "make_into_template")
            tx.delete("VM_metrics", tx_metrics(tx, row))
            tx.update("VM", vm, is_a_template=True, metrics=NULL_REF)
            return
        if tx.peek("VM_metrics", row["metrics"]) is not None:
            tx.update("VM_metrics", row["metrics"], install_time=DateTime.now())
        tx.update("VM", vm, is_a_template=False)
        # recorded: the operations of a template stay listed until something else happens to the VM
        tx.derived = True


def tx_metrics(tx: Transaction, row: Row) -> str:
    """The VM's metrics. Raises HANDLE_INVALID for a VM that lost them by being a template before."""
    metrics: str = row["metrics"]
    tx.get("VM_metrics", metrics)
    return metrics


@implements("VM.get_allowed_VBD_devices")
def get_allowed_vbd_devices(ctx: Context, vm: str) -> list[str]:
    row = ctx.store.get("VM", vm)
    return [str(number) for number in free_positions(taken_positions(ctx.store, row))]


@implements("VM.get_allowed_VIF_devices")
def get_allowed_vif_devices(ctx: Context, vm: str) -> list[str]:
    row = ctx.store.get("VM", vm)
    taken = {ctx.store.get("VIF", vif)["device"] for vif in row["VIFs"]}
    return [str(number) for number in range(VIF_DEVICES) if str(number) not in taken]


@implements("VM.assert_operation_valid")
def assert_operation_valid(ctx: Context, vm: str, operation: str) -> None:
    with ctx.store.transaction() as tx:
        check(tx, vm, operation)


@implements("VM.update_allowed_operations")
def update_allowed_operations(ctx: Context, vm: str) -> None:
    # they are derived at every change
    ctx.store.get("VM", vm)
