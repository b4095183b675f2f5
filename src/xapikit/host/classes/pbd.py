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

from typing import Any, Final

from xapikit.host.context import Context
from xapikit.host.errors import ApiError
from xapikit.host.registry import implements
from xapikit.host.storage.plugging import plug_pbd, unplug_pbd
from xapikit.host.store import Transaction

COPIED_SUFFIX: Final = "password_secret"
"""Keys of device_config that end like this hold the uuid of a secret, and each PBD has a copy of its own."""
INTERNAL_KEY: Final = "SRmaster"


@implements("PBD.create")
def create(ctx: Context, args: dict[str, Any]) -> str:
    ctx.store.get("SR", args["SR"])
    ctx.store.get("host", args["host"])
    with ctx.store.transaction() as tx:
        return create_pbd(tx, args["SR"], args["host"], args["device_config"], args.get("other_config", {}))


def create_pbd(
    tx: Transaction, sr: str, host: str, device_config: dict[str, str], other_config: dict[str, str] | None = None
) -> str:
    """Make the unplugged PBD of an SR on a host. Raises PBD_EXISTS, VALUE_NOT_SUPPORTED."""
    for ref in tx.get("SR", sr)["PBDs"]:
        if tx.get("PBD", ref)["host"] == host:
            raise ApiError("PBD_EXISTS", sr, host, ref)
    if INTERNAL_KEY in device_config:
        text = "This key is for internal use only"
        raise ApiError("VALUE_NOT_SUPPORTED", INTERNAL_KEY, device_config[INTERNAL_KEY], text)
    config = {key: _copied_secret(tx, key, value) for key, value in device_config.items()}
    row = {"SR": sr, "host": host, "device_config": config, "other_config": other_config or {}}
    return tx.create("PBD", row)


def _copied_secret(tx: Transaction, key: str, value: str) -> str:
    """The value for a new PBD: the uuid of a copy where it names a secret."""
    found = next(iter(tx.find("secret", uuid=value).values()), None) if key.endswith(COPIED_SUFFIX) else None
    if found is None:
        return value
    copy = tx.create("secret", {"value": found["value"], "other_config": found["other_config"]})
    return str(tx.get("secret", copy)["uuid"])


def remove_pbd(tx: Transaction, pbd: str) -> None:
    """Delete a PBD with its secrets."""
    config = tx.get("PBD", pbd)["device_config"]
    tx.delete("PBD", pbd)
    for key, value in config.items():
        for secret in tx.find("secret", uuid=value) if key.endswith(COPIED_SUFFIX) else ():
            tx.delete("secret", secret)


@implements("PBD.destroy")
def destroy(ctx: Context, pbd: str) -> None:
    with ctx.store.transaction() as tx:
        row = tx.get("PBD", pbd)
        if row["currently_attached"]:
            raise ApiError("OPERATION_NOT_ALLOWED", "PBD is currently attached")
        remove_pbd(tx, pbd)
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
