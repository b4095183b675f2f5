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
"""Class ``VBD``: disks of VMs (wire reference 3.7; recorded in observed/vbd)."""

from __future__ import annotations

from typing import Any, Final

from xapikit.host.classes.devices import checker
from xapikit.host.context import Context
from xapikit.host.domains.sharing import check_sharing
from xapikit.host.errors import ApiError
from xapikit.host.positions import AUTODETECT, free_positions, is_device, position_of
from xapikit.host.registry import implements
from xapikit.host.store import Row, Transaction, View
from xapikit.model import NULL_REF

_GIVEN: Final = (
    "bootable", "mode", "type", "unpluggable", "empty", "other_config", "qos_algorithm_type", "qos_algorithm_params",
)  # fmt: skip
MIGRATIONS: Final = ("migrate_send", "pool_migrate")
"""Operations of a VM that have counted its disks and take no further ones."""
INCOMPATIBLE: Final = {"ha_statefile": "HA statefile", "redo_log": "Redo log", "cbt_metadata": "CBT metadata"}


@implements("VBD.create")
def create(ctx: Context, args: dict[str, Any]) -> str:
    with ctx.store.transaction() as tx:
        return create_vbd(tx, args)


def create_vbd(tx: Transaction, args: dict[str, Any]) -> str:
    """Make a VBD from a constructor's record. Raises what a host raises, in its order."""
    vm = tx.get("VM", args["VM"])
    kind, empty, vdi = args["type"], args["empty"], args["VDI"]
    if kind == "CD" and args["mode"] == "RW":
        raise ApiError("VBD_CDS_MUST_BE_READONLY")
    if kind == "Disk" and empty:
        raise ApiError("VBD_NOT_REMOVABLE_MEDIA", "in constructor")
    if not empty:
        row = tx.get("VDI", vdi)
        if row["type"] in INCOMPATIBLE:
            raise ApiError("VDI_INCOMPATIBLE_TYPE", vdi, INCOMPATIBLE[row["type"]])
        if not row["managed"]:
            raise ApiError("VDI_NOT_MANAGED", vdi)
        check_writable(tx, vdi, read_only=args["mode"] == "RO")
    for key, operation in vm["current_operations"].items():
        if operation in MIGRATIONS:
            raise ApiError("OTHER_OPERATION_IN_PROGRESS", "VM", args["VM"], operation, key)
    return tx.create(
        "VBD",
        {
            "VM": args["VM"],
            "VDI": vdi,
            "userdevice": _userdevice(tx, vm, args["userdevice"]),
            # a record of a suspended VM says how it was attached (wire reference 3.7)
            "currently_attached": vm["power_state"] == "Suspended" and args.get("currently_attached", False),
            **{name: args[name] for name in _GIVEN if name in args},
        },
    )


def check_writable(view: View, vdi: str, *, read_only: bool) -> None:
    """Raise VDI_READONLY when a disk is to be written that cannot be."""
    if not read_only and is_read_only(view, view.get("VDI", vdi)):
        raise ApiError("VDI_READONLY", vdi)


def is_read_only(view: View, vdi: Row) -> bool:
    """Whether the content cannot be written: the disk says so, or it lies on an ISO repository."""
    repository = view.peek("SR", vdi["SR"])
    return bool(vdi["read_only"]) or (repository is not None and repository["content_type"] == "iso")


def taken_positions(view: View, vm: Row) -> set[int]:
    """Numbers of the positions that the VM's disks occupy."""
    rows = (view.peek("VBD", vbd) for vbd in vm["VBDs"])
    return {number for row in rows if row is not None and (number := position_of(row["userdevice"])) is not None}


def _userdevice(tx: Transaction, vm: Row, given: str) -> str:
    taken = taken_positions(tx, vm)
    if given == AUTODETECT:
        return str(free_positions(taken)[0])
    if not is_device(given):
        raise ApiError("INVALID_DEVICE", given)
    same = any(tx.get("VBD", vbd)["userdevice"] == given for vbd in vm["VBDs"])
    if same or position_of(given) in taken:
        raise ApiError("DEVICE_ALREADY_EXISTS", given)
    return given


@implements("VBD.destroy")
def destroy(ctx: Context, vbd: str) -> None:
    with ctx.store.transaction() as tx:
        row = tx.get("VBD", vbd)
        vm = tx.peek("VM", row["VM"])
        if row["currently_attached"] and vm is not None:
            raise ApiError("OPERATION_NOT_ALLOWED", f"VBD '{row['uuid']}' still attached to '{vm['uuid']}'")
        tx.delete("VBD", vbd)


@implements("VBD.set_mode")
def set_mode(ctx: Context, vbd: str, value: str) -> None:
    with ctx.store.transaction() as tx:
        row = tx.get("VBD", vbd)
        vm = tx.get("VM", row["VM"])
        if vm["power_state"] != "Halted":
            raise ApiError("VM_BAD_POWER_STATE", row["VM"], "halted", vm["power_state"].lower())
        tx.update("VBD", vbd, mode=value)


# plugging ------------------------------------------------------------------------------------------------------------


check: Final = checker("VBD")


@implements("VBD.plug")
def plug(ctx: Context, vbd: str) -> None:
    with ctx.operation("VBD", vbd, "plug", check=check):
        row = ctx.store.get("VBD", vbd)
        vm = ctx.store.get("VM", row["VM"])
        hvm = vm["domain_type"] in ("hvm", "unspecified") and not vm["is_control_domain"]
        if hvm and row["type"] != "CD" and row["mode"] == "RO":
            raise ApiError("DISK_VBD_MUST_BE_READWRITE_FOR_HVM", vbd)
        ctx.pool.domains.plug_vbd(vbd)


@implements("VBD.unplug")
def unplug(ctx: Context, vbd: str) -> None:
    with ctx.operation("VBD", vbd, "unplug", check=check):
        ctx.pool.domains.unplug_vbd(vbd, force=False)


@implements("VBD.unplug_force", "VBD.unplug_force_no_safety_check")
def unplug_force(ctx: Context, vbd: str) -> None:
    with ctx.operation("VBD", vbd, "unplug_force", check=check):
        ctx.pool.domains.unplug_vbd(vbd, force=True)


@implements("VBD.insert")
def insert(ctx: Context, vbd: str, vdi: str) -> None:
    with ctx.operation("VBD", vbd, "insert", check=check):
        ctx.store.get("VDI", vdi)
        row = ctx.store.get("VBD", vbd)
        if row["currently_attached"]:
            ctx.pool.domains.insert_medium(vbd, vdi)
        with ctx.store.transaction() as tx:
            tx.update("VBD", vbd, VDI=vdi, empty=False)


@implements("VBD.eject")
def eject(ctx: Context, vbd: str) -> None:
    with ctx.operation("VBD", vbd, "eject", check=check):
        row = ctx.store.get("VBD", vbd)
        if row["currently_attached"]:
            ctx.pool.domains.eject_medium(vbd)
        with ctx.store.transaction() as tx:
            tx.update("VBD", vbd, VDI=NULL_REF, empty=True)


@implements("VBD.assert_attachable")
def assert_attachable(ctx: Context, vbd: str) -> None:
    with ctx.store.transaction() as tx:
        check(tx, vbd, "attach")
        row = tx.get("VBD", vbd)
        read_only = row["mode"] == "RO"
        if not row["empty"] and not row["currently_attached"]:
            check_sharing(tx, vbd, row["VDI"], read_only=read_only)
            check_writable(tx, row["VDI"], read_only=read_only)


@implements("VBD.pause", "VBD.unpause")
def pause(ctx: Context, vbd: str, token: str = "") -> None:
    """Between storage managers and the server alone: nothing for clients."""
    with ctx.operation("VBD", vbd, ctx.method.removeprefix("VBD."), check=check):
        vdi = ctx.store.get("VBD", vbd)["VDI"]
        raise ApiError("SR_OPERATION_NOT_SUPPORTED", ctx.store.get("VDI", vdi)["SR"])
