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
"""Class ``VLAN`` and the pool-wide ways to make one (wire reference 6.2; recorded in observed/network)."""

from __future__ import annotations

from typing import Final

from xapikit.host.classes.pif import (
    NO_VLAN,
    check_connectable,
    create_virtual,
    plug_pif,
    reach_host_of,
    remove,
    unplug_pif,
)
from xapikit.host.context import Context
from xapikit.host.errors import ApiError
from xapikit.host.registry import implements
from xapikit.host.store import Transaction
from xapikit.model import NULL_REF

MAX_TAG: Final = 4094


def create_vlan(tx: Transaction, tagged: str, tag: int, network: str) -> str:
    """Make a VLAN on a PIF; returns its reference. Raises what a host raises, in its order."""
    below = tx.get("PIF", tagged)
    check_connectable(tx, below["host"], network)
    if not below["managed"]:
        raise ApiError("PIF_UNMANAGED", tagged)
    if below["tunnel_access_PIF_of"]:
        raise ApiError("IS_TUNNEL_ACCESS_PIF", tagged)
    if below["bond_slave_of"] != NULL_REF:
        raise ApiError("CANNOT_ADD_VLAN_TO_BOND_SLAVE", tagged)
    if below["VLAN"] != NO_VLAN:
        raise ApiError("PIF_IS_VLAN", tagged)
    if not 0 <= tag <= MAX_TAG:
        raise ApiError("VLAN_TAG_INVALID", tag)
    if any(tx.get("VLAN", vlan)["tag"] == tag for vlan in below["VLAN_slave_of"]):
        raise ApiError("PIF_VLAN_EXISTS", below["device"])
    untagged = create_virtual(tx, below, network, VLAN=tag)
    vlan = tx.create("VLAN", {"tagged_PIF": tagged, "untagged_PIF": untagged, "tag": tag})
    tx.update("PIF", untagged, VLAN_master_of=vlan)
    if below["currently_attached"]:
        plug_pif(tx, untagged)
    return vlan


@implements("VLAN.create")
def create(ctx: Context, tagged_pif: str, tag: int, network: str) -> str:
    reach_host_of(ctx, tagged_pif)
    with ctx.store.transaction() as tx:
        return create_vlan(tx, tagged_pif, tag, network)


@implements("VLAN.pool_introduce")
def pool_introduce(ctx: Context, tagged_pif: str, untagged_pif: str, tag: int, other_config: dict[str, str]) -> str:
    """A row for PIFs that are there: how a joining host brings its own."""
    with ctx.store.transaction() as tx:
        tx.get("PIF", tagged_pif)
        tx.get("PIF", untagged_pif)
        return tx.create(
            "VLAN",
            {"tagged_PIF": tagged_pif, "untagged_PIF": untagged_pif, "tag": tag, "other_config": other_config},
        )


@implements("VLAN.destroy")
def destroy(ctx: Context, vlan: str) -> None:
    untagged = ctx.store.get("VLAN", vlan)["untagged_PIF"]
    if ctx.store.peek("PIF", untagged) is not None:  # an orphan is only a row
        reach_host_of(ctx, untagged)
    with ctx.store.transaction() as tx:
        destroy_vlan(tx, vlan)


def destroy_vlan(tx: Transaction, vlan: str) -> None:
    """Take the untagged PIF down and delete both rows."""
    untagged = tx.get("VLAN", vlan)["untagged_PIF"]
    if tx.peek("PIF", untagged) is not None:
        unplug_pif(tx, untagged)
        remove(tx, untagged)
    tx.delete("VLAN", vlan)


# older ways ----------------------------------------------------------------------------------------------------------


@implements("PIF.create_VLAN")
def create_pif_vlan(ctx: Context, device: str, network: str, host: str, tag: int) -> str:
    ctx.store.get("host", host)
    ctx.pool.machines.reach(host)
    with ctx.store.transaction() as tx:
        tagged = next(iter(tx.find("PIF", host=host, device=device, VLAN=NO_VLAN)), None)
        if tagged is None:
            raise ApiError("INVALID_VALUE", "device", device)
        untagged: str = tx.get("VLAN", create_vlan(tx, tagged, tag, network))["untagged_PIF"]
        return untagged


@implements("PIF.destroy")
def destroy_pif(ctx: Context, pif: str) -> None:
    reach_host_of(ctx, pif)
    with ctx.store.transaction() as tx:
        row = tx.get("PIF", pif)
        if row["VLAN"] == NO_VLAN:
            raise ApiError("PIF_IS_PHYSICAL", pif)
        destroy_vlan(tx, row["VLAN_master_of"])


def _everywhere(ctx: Context, device: str, network: str, tag: int) -> list[str]:
    with ctx.store.transaction() as tx:
        tx.get("network", network)
        made = []
        # the last host added answers first, as recorded
        for host in reversed(list(tx.all("host"))):
            ctx.pool.machines.reach(host)
            for pif, row in tx.find("PIF", host=host, device=device).items():
                if row["VLAN"] == NO_VLAN:
                    made.append(tx.get("VLAN", create_vlan(tx, pif, tag, network))["untagged_PIF"])
        return made


@implements("pool.create_VLAN_from_PIF")
def create_vlan_from_pif(ctx: Context, pif: str, network: str, tag: int) -> list[str]:
    return _everywhere(ctx, ctx.store.get("PIF", pif)["device"], network, tag)


@implements("pool.create_VLAN")
def create_pool_vlan(ctx: Context, device: str, network: str, tag: int) -> list[str]:
    if not ctx.store.find("PIF", device=device):
        raise ApiError("INVALID_VALUE", "device", device)
    return _everywhere(ctx, device, network, tag)
