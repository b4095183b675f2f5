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
"""Class ``SR``: storage repositories (wire reference 4.2)."""

from __future__ import annotations

import logging
from typing import Any

from xapikit.host.classes.pbd import create_pbd, remove_pbd
from xapikit.host.context import Context
from xapikit.host.errors import ApiError
from xapikit.host.registry import implements
from xapikit.host.storage.blockdevices import check_unused, remember
from xapikit.host.storage.drivers import known_driver
from xapikit.host.storage.names import is_uuid
from xapikit.host.storage.operations import has_plugged_pbd
from xapikit.host.storage.plugging import plug_pbd, wipe
from xapikit.host.storage.repository import VhdRepository
from xapikit.host.storage.rows import remove_row
from xapikit.host.storage.scan import scan as scan_sr
from xapikit.host.store import Transaction

LOG = logging.getLogger(__name__)


@implements("SR.create")
def create(
    ctx: Context, host: str, device_config: dict[str, str], physical_size: int, name_label: str,
    name_description: str, kind: str, content_type: str, shared: bool, sm_config: dict[str, str],
) -> str:  # fmt: skip
    driver = known_driver(kind)
    ctx.pool.machines.reach(host)
    storage = ctx.pool.storage
    with ctx.store.transaction() as tx:
        check_unused(tx, driver, host, device_config)
        sr = tx.create(
            "SR",
            {
                "name_label": name_label,
                "name_description": name_description,
                "type": driver.type,
                "content_type": content_type,
                "shared": shared,
                "sm_config": sm_config,
                "other_config": {"dirty": ""},
            },
        )
        hosts = list(tx.all("host")) if shared else [host]
        pbds = {one: create_pbd(tx, sr, one, device_config) for one in hosts}
    try:
        repository = storage.repository(sr)
        if isinstance(repository, VhdRepository):
            repository.format()
            remember(driver, repository.directory, device_config)
        plug_pbd(storage, pbds.pop(host))
        for other, pbd in pbds.items():
            _plug_elsewhere(ctx, other, pbd)
        if repository is not None:
            scan_sr(storage, sr)
    except BaseException:
        storage.forget_repository(sr)
        with ctx.store.transaction() as tx:
            _remove(tx, sr)
        raise
    return sr


def _plug_elsewhere(ctx: Context, host: str, pbd: str) -> None:
    """Plug a new shared SR on another host; one that cannot has it unplugged."""
    try:
        ctx.pool.machines.reach(host)
        plug_pbd(ctx.pool.storage, pbd)
    except ApiError as error:
        LOG.warning("a new SR is not plugged on host %s: %s", ctx.store.get("host", host)["name_label"], error.code)


@implements("SR.introduce")
def introduce(
    ctx: Context, uuid: str, name_label: str, name_description: str, kind: str, content_type: str, shared: bool,
    sm_config: dict[str, str],
) -> str:  # fmt: skip
    if ctx.store.by_uuid("SR", uuid) is not None:
        raise ApiError("SR_UUID_EXISTS", uuid)
    if uuid and not is_uuid(uuid.lower()):  # it becomes the name of a directory
        raise ApiError("UUID_INVALID", "SR", uuid)
    with ctx.store.transaction() as tx:
        return tx.create(
            "SR",
            {
                "uuid": uuid.lower(),
                "name_label": name_label,
                "name_description": name_description,
                "type": kind.lower(),
                "content_type": content_type,
                "shared": shared,
                "sm_config": sm_config,
                "physical_size": -1,
            },
        )


@implements("SR.make")
def make(ctx: Context, *_: Any) -> str:
    raise ApiError("MESSAGE_DEPRECATED")


@implements("SR.scan")
def scan(ctx: Context, sr: str) -> None:
    if not has_plugged_pbd(ctx.store, ctx.store.get("SR", sr)):
        raise ApiError("SR_HAS_NO_PBDS", sr)
    with ctx.operation("SR", sr, "scan"):
        if ctx.pool.storage.repository(sr) is not None:
            scan_sr(ctx.pool.storage, sr)


@implements("SR.update")
def update(ctx: Context, sr: str) -> None:
    if not has_plugged_pbd(ctx.store, ctx.store.get("SR", sr)):
        raise ApiError("SR_HAS_NO_PBDS", sr)
    with ctx.operation("SR", sr, "update"):
        repository = ctx.pool.storage.plugged(sr)
        numbers = repository.capacity.sizes()
        with ctx.store.transaction() as tx:
            ctx.pool.storage.refresh_sr(tx, sr, numbers)


@implements("SR.forget")
def forget(ctx: Context, sr: str) -> None:
    with ctx.operation("SR", sr, "forget"):
        with ctx.store.transaction() as tx:
            row = tx.get("SR", sr)
            for vdi in list(row["VDIs"]):
                remove_row(tx, vdi, vbds=True)
            _remove(tx, sr)
        ctx.pool.storage.forget_repository(sr)


def _remove(tx: Transaction, sr: str) -> None:
    for pbd in list(tx.get("SR", sr)["PBDs"]):
        remove_pbd(tx, pbd)
    tx.delete("SR", sr)


@implements("SR.destroy")
def destroy(ctx: Context, sr: str) -> None:
    with ctx.operation("SR", sr, "destroy"):
        row = ctx.store.get("SR", sr)
        rows = [ctx.store.get("VDI", ref) for ref in row["VDIs"]]
        if any(vdi["managed"] for vdi in rows):
            raise ApiError("SR_NOT_EMPTY")
        if row["other_config"].get("indestructible") == "true":
            raise ApiError("SR_INDESTRUCTIBLE", sr)
        wipe(ctx.pool.storage, sr)
        with ctx.store.transaction() as tx:
            for vdi in list(tx.get("SR", sr)["VDIs"]):
                remove_row(tx, vdi, vbds=True)
            _remove(tx, sr)
        ctx.pool.storage.forget_repository(sr)


@implements("SR.get_supported_types")
def get_supported_types(ctx: Context) -> list[str]:
    return sorted(row["type"] for row in ctx.store.all("SM").values())


# members -------------------------------------------------------------------------------------------------------------


@implements("SR.set_shared")
def set_shared(ctx: Context, sr: str, value: bool) -> None:
    with ctx.store.transaction() as tx:
        row = tx.get("SR", sr)
        if not value and len(row["PBDs"]) > 1:
            raise ApiError("SR_HAS_MULTIPLE_PBDS", *row["PBDs"])
        tx.update("SR", sr, shared=value)


@implements("SR.get_live_hosts")
def get_live_hosts(ctx: Context, sr: str) -> list[str]:
    hosts = []
    for ref in ctx.store.get("SR", sr)["PBDs"]:
        pbd = ctx.store.get("PBD", ref)
        host = ctx.store.peek("host", pbd["host"])
        metrics = ctx.store.peek("host_metrics", host["metrics"]) if host is not None else None
        live = metrics is not None and metrics["live"]
        if pbd["currently_attached"] and host is not None and host["enabled"] and live:
            hosts.append(pbd["host"])
    return hosts


@implements("SR.assert_can_host_ha_statefile")
def assert_can_host_ha_statefile(ctx: Context, sr: str) -> None:
    if not ctx.store.get("SR", sr)["shared"]:
        raise ApiError("HA_CONSTRAINT_VIOLATION_SR_NOT_SHARED", sr)
    raise ApiError("SR_OPERATION_NOT_SUPPORTED", sr)


@implements("SR.assert_supports_database_replication", "SR.enable_database_replication")
def database_replication(ctx: Context, sr: str) -> None:
    # none of the storage managers has SR_METADATA
    ctx.store.get("SR", sr)
    raise ApiError("SR_OPERATION_NOT_SUPPORTED", sr)


@implements("SR.disable_database_replication")
def disable_database_replication(ctx: Context, sr: str) -> None:
    ctx.store.get("SR", sr)
