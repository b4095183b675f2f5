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
"""Class ``VDI``: disks (wire reference 4.3). The work is done by :mod:`xapikit.host.storage`."""

from __future__ import annotations

import hashlib
import xmlrpc.client
from typing import Any

from xapikit.host.context import Context
from xapikit.host.errors import ApiError
from xapikit.host.migration.motion import move
from xapikit.host.registry import implements
from xapikit.host.storage import resetting, vdis
from xapikit.host.storage.copying import copy_into, copy_new
from xapikit.host.storage.operations import attachments, has_feature, has_plugged_pbd, type_text
from xapikit.host.storage.service import Storage
from xapikit.host.storage.transfer.exporting import export_raw

_GIVEN = ("name_label", "name_description", "type", "sharable", "read_only", "other_config", "xenstore_data", "tags")
"""Members of the record that VDI.create takes over; it ignores the others (observed: create_variants)."""


def _storage(ctx: Context) -> Storage:
    storage: Storage = ctx.pool.storage
    return storage


@implements("VDI.create")
def create(ctx: Context, args: dict[str, Any]) -> str:
    ctx.store.get("SR", args["SR"])
    if args["type"] == "cbt_metadata":
        raise ApiError("VDI_INCOMPATIBLE_TYPE", "", type_text(args["type"]))
    fields = {name: args[name] for name in _GIVEN if name in args}
    return vdis.create(_storage(ctx), args["SR"], args["virtual_size"], {**fields, "sm_config": _sm_config(args)})


def _sm_config(args: dict[str, Any]) -> dict[str, str]:
    return {key: value for key, value in args.get("sm_config", {}).items() if not key.startswith("host_")}


@implements("VDI.destroy")
def destroy(ctx: Context, vdi: str) -> None:
    with ctx.operation("VDI", vdi, "destroy"):
        vdis.destroy(_storage(ctx), vdi)


@implements("VDI.forget")
def forget(ctx: Context, vdi: str) -> None:
    with ctx.operation("VDI", vdi, "forget"):
        vdis.forget(_storage(ctx), vdi)


@implements("VDI.snapshot")
def snapshot(ctx: Context, vdi: str, driver_params: dict[str, str]) -> str:
    with ctx.operation("VDI", vdi, "snapshot"):
        return vdis.branch(_storage(ctx), vdi, snapshot=True)


@implements("VDI.clone")
def clone(ctx: Context, vdi: str, driver_params: dict[str, str]) -> str:
    with ctx.operation("VDI", vdi, "clone"):
        return vdis.branch(_storage(ctx), vdi, snapshot=False)


@implements("VDI.copy")
def copy(ctx: Context, vdi: str, sr: str, base_vdi: str, into_vdi: str) -> str:
    ctx.store.get("VDI", vdi)
    into = into_vdi if ctx.store.peek("VDI", into_vdi) is not None else None
    if into is None:
        ctx.store.get("SR", sr)
    base = base_vdi if ctx.store.peek("VDI", base_vdi) is not None else None
    if into is not None and ctx.store.get("VDI", into)["read_only"]:
        raise ApiError("VDI_READONLY", into)
    with ctx.operation("VDI", vdi, "copy"):
        if into is None:
            made = copy_new(_storage(ctx), vdi, sr, ctx.task, base=base)
            _same_boot(ctx, vdi, made)
            return made
        copy_into(_storage(ctx), vdi, into, ctx.task, base=base)
        return into


def _same_boot(ctx: Context, vdi: str, made: str) -> None:
    """A copy is reset at boot, and cached, as its origin is; where its SR cannot, it is a plain disk."""
    row = ctx.store.get("VDI", vdi)
    target = ctx.store.get("SR", ctx.store.get("VDI", made)["SR"])
    if row["on_boot"] == "reset" and has_feature(ctx.store, target, "VDI_RESET_ON_BOOT"):
        resetting.set_on_boot(_storage(ctx), made, "reset")
    if row["allow_caching"]:
        with ctx.store.transaction() as tx:
            tx.update("VDI", made, allow_caching=True)


@implements("VDI.resize")
def resize(ctx: Context, vdi: str, size: int) -> None:
    with ctx.operation("VDI", vdi, "resize"):
        vdis.resize(_storage(ctx), vdi, size)


@implements("VDI.resize_online")
def resize_online(ctx: Context, vdi: str, size: int) -> None:
    with ctx.operation("VDI", vdi, "resize_online"):
        vdis.resize(_storage(ctx), vdi, size)


@implements("VDI.update")
def update(ctx: Context, vdi: str) -> None:
    with ctx.operation("VDI", vdi, "update"):
        _storage(ctx).refresh_vdi(vdi)


@implements("VDI.db_forget")
def db_forget(ctx: Context, vdi: str) -> None:
    """As a storage manager does for a disk that is gone: whatever is going on with it."""
    ctx.store.get("VDI", vdi)
    vdis.forget(_storage(ctx), vdi)


@implements("VDI.introduce", "VDI.pool_introduce", "VDI.db_introduce")
def introduce(
    ctx: Context, uuid: str, name_label: str, name_description: str, sr: str, vdi_type: str, sharable: bool,
    read_only: bool, other_config: dict[str, str], location: str, xenstore_data: dict[str, str],
    sm_config: dict[str, str], *_: Any,
) -> str:  # fmt: skip
    # sizes, managed and snapshot members are taken from the disk and ignored here (wire reference 4.3)
    ctx.store.get("SR", sr)
    fields = {
        "name_label": name_label,
        "name_description": name_description,
        "type": vdi_type,
        "sharable": sharable,
        "read_only": read_only,
        "other_config": other_config,
        "xenstore_data": xenstore_data,
        "sm_config": sm_config,
    }
    return vdis.introduce(_storage(ctx), sr, uuid, location, fields)


# members -------------------------------------------------------------------------------------------------------------


@implements("VDI.set_on_boot")
def set_on_boot(ctx: Context, vdi: str, value: str) -> None:
    row = ctx.store.get("VDI", vdi)
    for ref in row["VBDs"]:
        vbd = ctx.store.get("VBD", ref)
        vm = ctx.store.peek("VM", vbd["VM"])
        if vbd["currently_attached"] and vm is not None and vm["power_state"] != "Halted":
            raise ApiError("VM_BAD_POWER_STATE", vbd["VM"], "halted", vm["power_state"].lower())
    with ctx.operation("VDI", vdi, "set_on_boot"):
        resetting.set_on_boot(_storage(ctx), vdi, value)


@implements("VDI.set_sharable", "VDI.set_read_only")
def set_refused(ctx: Context, vdi: str, value: bool) -> None:
    ctx.store.get("VDI", vdi)
    raise ApiError("PERMISSION_DENIED", "")


# further reading -----------------------------------------------------------------------------------------------------


@implements("VDI.generate_config")
def generate_config(ctx: Context, host: str, vdi: str) -> str:
    """How a host attaches the disk without its toolstack, as its storage manager is told on the command line."""
    with ctx.operation("VDI", vdi, "generate_config"):
        row = ctx.store.get("VDI", vdi)
        sr = ctx.store.get("SR", row["SR"])
        pbds = (ctx.store.get("PBD", ref) for ref in sr["PBDs"])
        config: dict[str, str] = next((pbd["device_config"] for pbd in pbds if pbd["host"] == host), {})
        request = {
            "device_config": config,
            "sr_uuid": sr["uuid"],
            "vdi_uuid": row["uuid"],
            "command": "vdi_attach_from_config",
        }
        return xmlrpc.client.dumps((request,), "vdi_attach_from_config")


@implements("VDI.revert")
def revert(ctx: Context, vdi: str) -> None:
    raise ApiError("SR_OPERATION_NOT_SUPPORTED", ctx.store.get("VDI", vdi)["SR"])


@implements("VDI.open_database")
def open_database(ctx: Context, vdi: str) -> str:
    raise ApiError("VDI_INCOMPATIBLE_TYPE", vdi, type_text(ctx.store.get("VDI", vdi)["type"]))


@implements("VDI.read_database_pool_uuid")
def read_database_pool_uuid(ctx: Context, vdi: str) -> str:
    ctx.store.get("VDI", vdi)
    return ""


@implements("VDI.pool_migrate")
def pool_migrate(ctx: Context, vdi: str, sr: str, options: dict[str, str]) -> str:
    row = ctx.store.get("VDI", vdi)
    target = ctx.store.get("SR", sr)
    if row["SR"] == sr:
        return vdi
    if not has_plugged_pbd(ctx.store, target):
        raise ApiError("SR_HAS_NO_PBDS", sr)
    if not attachments(ctx.store, row) or not any(_running(ctx, ref) for ref in row["VBDs"]):
        raise ApiError("VDI_NEEDS_VM_FOR_MIGRATE", vdi)
    with ctx.operation("VDI", vdi, "mirror"):
        return move(_storage(ctx), vdi, sr, ctx.task)


def _running(ctx: Context, vbd: str) -> bool:
    vm = ctx.store.peek("VM", ctx.store.get("VBD", vbd)["VM"])
    return vm is not None and vm["power_state"] != "Halted"


@implements("VDI.checksum")
def checksum(ctx: Context, vdi: str) -> str:
    """MD5 of the contents, as hexadecimal digits."""
    storage = _storage(ctx)
    digest = hashlib.md5(usedforsecurity=False)
    with ctx.operation("VDI", vdi, "copy"):
        host = next(iter(storage.hosts_with(ctx.store.get("VDI", vdi)["SR"])))
        with storage.opened(vdi, read_only=True, holder=f"checksum:{ctx.task.ref}", host=host) as disk:
            for piece in export_raw(disk):
                ctx.task.raise_if_cancelled()
                digest.update(piece)
    return digest.hexdigest()


@implements("VDI.force_unlock")
def force_unlock(ctx: Context, vdi: str) -> None:
    ctx.store.get("VDI", vdi)
    raise ApiError("MESSAGE_DEPRECATED")
