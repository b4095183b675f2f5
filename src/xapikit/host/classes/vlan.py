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

from xapikit.host.classes.pif import NO_VLAN, remove
from xapikit.host.context import Context
from xapikit.host.errors import ApiError
from xapikit.host.registry import implements
from xapikit.host.store import Transaction

MAX_TAG: Final = 4094
VLAN_ADDRESS: Final = "fe:ff:ff:ff:ff:ff"
"""MAC of every untagged PIF: the bridge takes the address of the NIC below."""


def create_vlan(tx: Transaction, tagged: str, tag: int, network: str) -> str:
    """Make a VLAN on a PIF; returns its reference. Raises what a host raises, in its order."""
    below = tx.get("PIF", tagged)
    tx.get("network", network)
    if not 0 <= tag <= MAX_TAG:
        raise ApiError("VLAN_TAG_INVALID", tag)
    if below["VLAN"] != NO_VLAN:
        raise ApiError("PIF_IS_VLAN", tagged)
    for pif, row in tx.find("PIF", host=below["host"]).items():
        if row["network"] == network:
            raise ApiError("NETWORK_ALREADY_CONNECTED", below["host"], pif)
        if row["device"] == below["device"] and row["VLAN"] == tag:
            raise ApiError("PIF_VLAN_EXISTS", below["device"])
    untagged = tx.create(
        "PIF",
        {
            "device": below["device"],
            "network": network,
            "host": below["host"],
            "MAC": VLAN_ADDRESS,
            "MTU": below["MTU"],
            "VLAN": tag,
            "physical": False,
            "managed": True,
            "currently_attached": below["currently_attached"],
            "ip_configuration_mode": "None",
            "metrics": tx.create("PIF_metrics", {"carrier": True}),
        },
    )
    return tx.create("VLAN", {"tagged_PIF": tagged, "untagged_PIF": untagged, "tag": tag})


@implements("VLAN.create")
def create(ctx: Context, tagged_pif: str, tag: int, network: str) -> str:
    with ctx.store.transaction() as tx:
        return create_vlan(tx, tagged_pif, tag, network)


@implements("VLAN.destroy")
def destroy(ctx: Context, vlan: str) -> None:
    with ctx.store.transaction() as tx:
        untagged = tx.get("VLAN", vlan)["untagged_PIF"]
        row = tx.peek("PIF", untagged)
        if row is not None:
            for vif in tx.get("network", row["network"])["VIFs"]:
                if tx.get("VIF", vif)["currently_attached"]:
                    raise ApiError("VIF_IN_USE", row["network"], vif)
            remove(tx, untagged)
        tx.delete("VLAN", vlan)


def _everywhere(ctx: Context, device: str, network: str, tag: int) -> list[str]:
    with ctx.store.transaction() as tx:
        tx.get("network", network)
        made = []
        # the last host added answers first, as recorded
        for host in reversed(list(tx.all("host"))):
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
