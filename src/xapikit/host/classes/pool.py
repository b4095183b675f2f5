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
"""Class ``pool``: the one row, its checks and small calls. Joining, ejecting and coordinator change are elsewhere."""

from __future__ import annotations

from xapikit.host.context import Context
from xapikit.host.errors import ApiError
from xapikit.host.facts import license_params, pool_cpu_info
from xapikit.host.inventory import Fresh, contributes
from xapikit.host.lifecycle import PlaceFacts, allowed_place_operations, place_error
from xapikit.host.registry import implements
from xapikit.host.store import Row, Store, Transaction


@contributes(rank=11)
def pool(tx: Transaction, fresh: Fresh) -> None:
    restrictions = {key: value for key, value in license_params().items() if key.startswith("restrict_")}
    fresh.pool = tx.create(
        "pool",
        {
            "master": fresh.hosts[0].ref,
            "restrictions": restrictions,
            "cpu_info": pool_cpu_info(fresh.settings.cpus, len(fresh.hosts)),
            "tls_verification_enabled": True,
            "igmp_snooping_enabled": False,
        },
    )


def derive(store: Store) -> None:
    """Register what follows from other rows."""
    store.derive("pool", "allowed_operations", lambda view, ref, row: allowed_place_operations(_facts(ref, row)))


def _facts(ref: str, row: Row) -> PlaceFacts:
    return PlaceFacts("pool", ref, {"ha_enabled": row["ha_enabled"]}, row["current_operations"])


def check(tx: Transaction, ref: str, operation: str) -> None:
    """The check of operations on pools."""
    error = place_error(_facts(ref, tx.get("pool", ref)), operation)
    if error is not None:
        raise ApiError(*error)


# calls ---------------------------------------------------------------------------------------------------------------


@implements("pool.sync_database")
def sync_database(ctx: Context) -> None:
    return None  # every commit is in the journal already


@implements("pool.disable_ha")
def disable_ha(ctx: Context) -> None:
    raise ApiError("HA_NOT_ENABLED")


@implements("pool.enable_ha")
def enable_ha(ctx: Context, heartbeat_srs: list[str], configuration: dict[str, str]) -> None:
    for sr in heartbeat_srs:
        ctx.store.get("SR", sr)
    raise ApiError("CANNOT_CREATE_STATE_FILE")


@implements("pool.ha_compute_max_host_failures_to_tolerate")
def ha_compute_max_host_failures_to_tolerate(ctx: Context) -> int:
    return ctx.store.count("host")


@implements("pool.set_ha_host_failures_to_tolerate")
def set_ha_host_failures_to_tolerate(ctx: Context, pool: str, value: int) -> None:
    with ctx.store.transaction() as tx:
        tx.update("pool", pool, ha_host_failures_to_tolerate=value)


@implements("pool.ha_prevent_restarts_for")
def ha_prevent_restarts_for(ctx: Context, seconds: int) -> None:
    return None


@implements("pool.ha_failover_plan_exists")
def ha_failover_plan_exists(ctx: Context, n: int) -> bool:
    return True


@implements("pool.detect_nonhomogeneous_external_auth")
def detect_nonhomogeneous_external_auth(ctx: Context, pool: str) -> None:
    ctx.store.get("pool", pool)


@implements("pool.certificate_list", "pool.crl_list")
def certificate_list(ctx: Context) -> list[str]:
    return []


@implements("pool.install_ca_certificate", "pool.certificate_install")
def install_ca_certificate(ctx: Context, name: str, cert: str) -> None:
    raise ApiError("CA_CERTIFICATE_INVALID")


@implements("pool.uninstall_ca_certificate")
def uninstall_ca_certificate(ctx: Context, name: str, force: bool) -> None:
    raise ApiError("CERTIFICATE_NAME_INVALID", name)


@implements("pool.apply_edition")
def apply_edition(ctx: Context, pool: str, edition: str) -> None:
    ctx.store.get("pool", pool)
    if edition != "xcp-ng":
        raise ApiError("INVALID_EDITION", edition)


@implements("pool.disable_ssl_legacy")
def disable_ssl_legacy(ctx: Context, pool: str) -> None:
    ctx.store.get("pool", pool)
