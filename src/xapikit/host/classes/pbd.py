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
"""Class ``PBD``: an SR on a host (wire reference 4.2)."""

from __future__ import annotations

from typing import Any

from xapikit.host.context import Context
from xapikit.host.errors import ApiError
from xapikit.host.registry import implements
from xapikit.host.storage.plugging import plug_pbd, unplug_pbd


@implements("PBD.create")
def create(ctx: Context, args: dict[str, Any]) -> str:
    sr, host = args["SR"], args["host"]
    row = ctx.store.get("SR", sr)
    ctx.store.get("host", host)
    with ctx.store.transaction() as tx:
        for ref in row["PBDs"]:
            if tx.get("PBD", ref)["host"] == host:
                raise ApiError("PBD_EXISTS", sr, host, ref)
        return tx.create(
            "PBD",
            {
                "SR": sr,
                "host": host,
                "device_config": args["device_config"],
                "other_config": args.get("other_config", {}),
            },
        )


@implements("PBD.destroy")
def destroy(ctx: Context, pbd: str) -> None:
    with ctx.store.transaction() as tx:
        row = tx.get("PBD", pbd)
        if row["currently_attached"]:
            raise ApiError("OPERATION_NOT_ALLOWED", "PBD is currently attached")
        tx.delete("PBD", pbd)
    ctx.pool.storage.forget_repository(row["SR"])


@implements("PBD.plug")
def plug(ctx: Context, pbd: str) -> None:
    row = ctx.store.get("PBD", pbd)
    if not row["currently_attached"]:
        ctx.pool.machines.reach(row["host"])
        with ctx.operation("SR", row["SR"], "plug"):
            plug_pbd(ctx.pool.storage, pbd)


@implements("PBD.unplug")
def unplug(ctx: Context, pbd: str) -> None:
    row = ctx.store.get("PBD", pbd)
    if row["currently_attached"]:
        ctx.pool.machines.reach(row["host"])
        with ctx.operation("SR", row["SR"], "unplug"):
            unplug_pbd(ctx.pool.storage, pbd)


@implements("PBD.set_device_config")
def set_device_config(ctx: Context, pbd: str, value: dict[str, str]) -> None:
    # refused by a host, plugged or not (observed: introduce_and_pbd_create): destroy the PBD and create another
    ctx.store.get("PBD", pbd)
    raise ApiError("PERMISSION_DENIED", "")
