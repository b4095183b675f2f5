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
"""Classes of devices that a guest gets from the host: VTPM rows, and GPUs and USB devices, of which there are none."""

from __future__ import annotations

from xapikit.host.context import Context
from xapikit.host.errors import ApiError
from xapikit.host.lifecycle import PlaceFacts, allowed_place_operations
from xapikit.host.registry import implements
from xapikit.host.store import Row, Store, View

MAX_VTPMS = 1


def derive(store: Store) -> None:
    """Register what follows from other rows."""
    store.derive("VTPM", "allowed_operations", _vtpm_operations, via={"VM": "VTPMs"})


def _vtpm_operations(view: View, ref: str, row: Row) -> list[str]:
    vm = view.peek("VM", row["VM"])
    return allowed_place_operations(
        PlaceFacts("VTPM", ref, {"power_state": vm["power_state"] if vm is not None else ""})
    )


@implements("VTPM.create")
def create_vtpm(ctx: Context, vm: str, is_unique: bool) -> str:
    with ctx.store.transaction() as tx:
        row = tx.get("VM", vm)
        if row["power_state"] != "Halted":
            raise ApiError("VM_BAD_POWER_STATE", vm, "halted", str(row["power_state"]).lower())
        if len(row["VTPMs"]) >= MAX_VTPMS:
            raise ApiError("VTPM_MAX_AMOUNT_REACHED", MAX_VTPMS)
        return tx.create("VTPM", {"VM": vm, "is_unique": is_unique})


@implements("VTPM.destroy")
def destroy_vtpm(ctx: Context, vtpm: str) -> None:
    with ctx.store.transaction() as tx:
        row = tx.get("VTPM", vtpm)
        vm = tx.peek("VM", row["VM"])
        if vm is not None and vm["power_state"] != "Halted":
            raise ApiError("VM_BAD_POWER_STATE", row["VM"], "halted", str(vm["power_state"]).lower())
        tx.delete("VTPM", vtpm)


@implements("GPU_group.create")
def create_gpu_group(ctx: Context, name_label: str, name_description: str, other_config: dict[str, str]) -> str:
    with ctx.store.transaction() as tx:
        return tx.create(
            "GPU_group",
            {"name_label": name_label, "name_description": name_description, "other_config": other_config},
        )


@implements("GPU_group.destroy")
def destroy_gpu_group(ctx: Context, group: str) -> None:
    with ctx.store.transaction() as tx:
        row = tx.get("GPU_group", group)
        if row["PGPUs"]:
            raise ApiError("GPU_GROUP_CONTAINS_PGPU", *row["PGPUs"])
        if row["VGPUs"]:
            raise ApiError("GPU_GROUP_CONTAINS_VGPU", *row["VGPUs"])
        tx.delete("GPU_group", group)


@implements("VGPU.create")
def create_vgpu(
    ctx: Context, vm: str, gpu_group: str, device: str, other_config: dict[str, str], vgpu_type: str
) -> str:
    ctx.store.get("VM", vm)
    if ctx.store.peek("VGPU_type", vgpu_type) is None:
        raise ApiError("INVALID_VALUE", "type", vgpu_type)
    ctx.store.get("GPU_group", gpu_group)
    raise ApiError("VM_REQUIRES_GPU", vm, gpu_group)


@implements("VUSB.create")
def create_vusb(ctx: Context, vm: str, usb_group: str, other_config: dict[str, str]) -> str:
    ctx.store.get("VM", vm)
    ctx.store.get("USB_group", usb_group)
    raise ApiError("USB_GROUP_CONTAINS_NO_PUSBS", usb_group)


@implements("PUSB.scan")
def scan_pusbs(ctx: Context, host: str) -> None:
    ctx.store.get("host", host)
