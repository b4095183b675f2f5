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
"""What a host can be told by itself, without the rest of its pool (wire reference 1.6, emergency calls)."""

from __future__ import annotations

from xapikit.host.classes.message import tell
from xapikit.host.context import Context
from xapikit.host.errors import ApiError
from xapikit.host.members import Standing
from xapikit.host.registry import implements


@implements("host.local_management_reconfigure")
def local_management_reconfigure(ctx: Context, interface: str) -> None:
    """Only for a host in emergency mode: the database, which knows its NICs otherwise, cannot be written then."""
    if ctx.pool.standing(ctx.host) is not Standing.EMERGENCY:
        raise ApiError("NOT_IN_EMERGENCY_MODE")
    rows = ctx.store.find("PIF", host=ctx.host).values()
    bridges = (ctx.store.peek("network", row["network"]) for row in rows)
    names = {row["device"] for row in rows if row["physical"]} | {row["bridge"] for row in bridges if row is not None}
    if interface not in names:
        raise ApiError("INTERFACE_HAS_NO_IP", interface)


@implements("host.emergency_ha_disable")
def emergency_ha_disable(ctx: Context, soft: bool) -> None:
    raise ApiError("HA_NOT_ENABLED")


@implements("host.emergency_disable_tls_verification")
def emergency_disable_tls_verification(ctx: Context) -> None:
    """The addressed host checks the certificates of others no longer, so that it can be put right."""
    with ctx.store.transaction() as tx:
        row = tx.get("host", ctx.host)
        if row["tls_verification_enabled"]:
            tx.update("host", ctx.host, tls_verification_enabled=False)
            tell(tx, "TLS_VERIFICATION_EMERGENCY_DISABLED", "host", row["uuid"], "")


@implements("host.emergency_reenable_tls_verification")
def emergency_reenable_tls_verification(ctx: Context) -> None:
    if not ctx.pool.row["tls_verification_enabled"]:
        raise ApiError("TLS_VERIFICATION_NOT_ENABLED_IN_POOL")
    with ctx.store.transaction() as tx:
        tx.update("host", ctx.host, tls_verification_enabled=True)


@implements("host.emergency_clear_mandatory_guidance")
def emergency_clear_mandatory_guidance(ctx: Context) -> None:
    with ctx.store.transaction() as tx:
        tx.update("host", ctx.host, pending_guidances=[])
