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
"""Which interface of a host carries its management (wire reference 6.2).

The records change as on a host; the server itself goes on listening where it was started.
"""

from __future__ import annotations

from xapikit.host.classes.pif import plug_pif
from xapikit.host.context import Context
from xapikit.host.errors import ApiError
from xapikit.host.registry import implements
from xapikit.host.store import Transaction


@implements("host.management_reconfigure")
def management_reconfigure(ctx: Context, pif: str) -> None:
    ctx.pool.machines.reach(ctx.store.get("PIF", pif)["host"])
    with ctx.store.transaction() as tx:
        _check_no_ha(tx)
        _check(tx, pif)
        _move(tx, pif)


@implements("pool.management_reconfigure")
def pool_management_reconfigure(ctx: Context, network: str) -> None:
    with ctx.store.transaction() as tx:
        pifs = {tx.get("PIF", pif)["host"]: pif for pif in tx.get("network", network)["PIFs"]}
        _check_no_ha(tx)
        for host in tx.all("host"):
            ctx.pool.machines.reach(host)
            if host not in pifs:
                raise ApiError("PIF_NOT_PRESENT", host, network)
        for pif in pifs.values():
            _check(tx, pif)
        for pif in pifs.values():
            _move(tx, pif)


def _check_no_ha(tx: Transaction) -> None:
    if any(pool["ha_enabled"] for pool in tx.all("pool").values()):
        raise ApiError("HA_IS_ENABLED")


def _check(tx: Transaction, pif: str) -> None:
    """Raise what keeps an interface from being the management interface of its host."""
    row = tx.get("PIF", pif)
    kind = row["primary_address_type"]
    if row["managed"] and kind == "IPv4" and row["ip_configuration_mode"] == "None":
        raise ApiError("PIF_HAS_NO_NETWORK_CONFIGURATION", pif)
    if row["managed"] and kind == "IPv6" and row["ipv6_configuration_mode"] == "None":
        raise ApiError("PIF_HAS_NO_V6_NETWORK_CONFIGURATION", pif)
    present = tx.find("PIF", host=row["host"], management=True).values()
    if any(other["primary_address_type"] != kind for other in present):
        raise ApiError("PIF_INCOMPATIBLE_PRIMARY_ADDRESS_TYPE", pif)


def _move(tx: Transaction, pif: str) -> None:
    plug_pif(tx, pif)
    for other in tx.find("PIF", host=tx.get("PIF", pif)["host"], management=True):
        tx.update("PIF", other, management=False)
    tx.update("PIF", pif, management=True)
