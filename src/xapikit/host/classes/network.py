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
"""Class ``network`` and the networks of a fresh pool (wire reference 6.1; recorded in observed/network)."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any, Final

from xapikit.host.context import Context
from xapikit.host.errors import ApiError
from xapikit.host.inventory import Fresh, contributes
from xapikit.host.registry import implements
from xapikit.host.store import Transaction

DEFAULT_MTU: Final = 1500
MAX_BRIDGE_NAME: Final = 15
RESERVED_BRIDGE: Final = re.compile(r"(xen|xapi|vif|tap|eth)")
"""Names that begin like this belong to the toolstack, also where it does not manage the network."""
SYSTEM_MARK: Final = "is_host_internal_management_network"
NBD_PURPOSES: Final = frozenset({"nbd", "insecure_nbd"})
"""At most one of them per pool."""

NICS: Final = ("eth0", "eth1", "eth2", "eth3")
"""Physical NICs of each host; the first carries the management interface."""


@contributes(rank=30)
def networks(tx: Transaction, fresh: Fresh) -> None:
    for number, device in enumerate(NICS):
        fresh.scratch[f"network:{device}"] = tx.create(
            "network",
            {
                "name_label": f"Pool-wide network associated with {device}",
                "bridge": f"xenbr{number}",
                "default_locking_mode": "unlocked",
            },
        )
    tx.create(
        "network",
        {
            "name_label": "Host internal management network",
            "name_description": "Network on which guests will be assigned a private link-local IP address which can be "
            "used to talk XenAPI",
            "bridge": "xenapi",
            "default_locking_mode": "unlocked",
            "other_config": {
                "is_guest_installer_network": "true",
                SYSTEM_MARK: "true",
                "ip_begin": "169.254.0.1",
                "ip_end": "169.254.255.254",
                "netmask": "255.255.0.0",
            },
        },
    )


def free_name(stem: str, taken: Collection[str]) -> str:
    """``stem0``, or with the first number that nobody has."""
    return next(name for number in range(len(taken) + 1) if (name := f"{stem}{number}") not in taken)


@implements("network.create")
def create(ctx: Context, args: dict[str, Any]) -> str:
    with ctx.store.transaction() as tx:
        taken = {row["bridge"] for row in tx.all("network").values()}
        bridge = args.get("bridge", "")
        if not bridge:
            bridge = free_name("xapi", taken)
        elif RESERVED_BRIDGE.match(bridge) or len(bridge) > MAX_BRIDGE_NAME:
            raise ApiError("INVALID_VALUE", "bridge", bridge)
        elif bridge in taken:
            raise ApiError("BRIDGE_NAME_EXISTS", bridge)
        mtu = args.get("MTU", DEFAULT_MTU)
        return tx.create(
            "network",
            {
                "name_label": args.get("name_label", ""),
                "name_description": args.get("name_description", ""),
                "MTU": mtu if mtu > 0 else DEFAULT_MTU,
                "bridge": bridge,
                "managed": args.get("managed", True),
                "other_config": args["other_config"],
                "tags": args.get("tags", []),
                # both are ignored in a record
                "default_locking_mode": "unlocked",
                "purpose": [],
            },
        )


@implements("network.pool_introduce")
def pool_introduce(
    ctx: Context,
    name_label: str,
    name_description: str,
    mtu: int,
    other_config: dict[str, str],
    bridge: str,
    managed: bool,
    purpose: list[str],
) -> str:
    """A row as given: how a joining host brings its networks."""
    with ctx.store.transaction() as tx:
        return tx.create(
            "network",
            {
                "name_label": name_label,
                "name_description": name_description,
                "MTU": mtu,
                "other_config": other_config,
                "bridge": bridge,
                "managed": managed,
                "purpose": purpose,
                "default_locking_mode": "unlocked",
            },
        )


@implements("network.destroy")
def destroy(ctx: Context, network: str) -> None:
    with ctx.store.transaction() as tx:
        row = tx.get("network", network)
        plugged = [vif for vif in row["VIFs"] if tx.get("VIF", vif)["currently_attached"]]
        if plugged:
            raise ApiError("NETWORK_CONTAINS_VIF", *plugged)
        if row["PIFs"]:
            raise ApiError("NETWORK_CONTAINS_PIF", *row["PIFs"])
        if row["other_config"].get(SYSTEM_MARK) == "true":
            raise ApiError("CANNOT_DESTROY_SYSTEM_NETWORK", network)
        for vif in row["VIFs"]:
            tx.delete("VIF", vif)
        tx.delete("network", network)


@implements("network.add_purpose")
def add_purpose(ctx: Context, network: str, value: str) -> None:
    with ctx.store.transaction() as tx:
        present = tx.get("network", network)["purpose"]
        if value in present:
            return
        # the rule is one of the pool: which way disks are read is the same on all its networks
        for other in (purpose for row in tx.all("network").values() for purpose in row["purpose"]):
            if {value, other} == NBD_PURPOSES:
                raise ApiError("NETWORK_INCOMPATIBLE_PURPOSES", value, other)
        tx.update("network", network, purpose=[value, *present])


@implements("network.remove_purpose")
def remove_purpose(ctx: Context, network: str, value: str) -> None:
    with ctx.store.transaction() as tx:
        present = tx.get("network", network)["purpose"]
        tx.update("network", network, purpose=[purpose for purpose in present if purpose != value])


@implements("network.set_default_locking_mode")
def set_default_locking_mode(ctx: Context, network: str, value: str) -> None:
    with ctx.store.transaction() as tx:
        row = tx.get("network", network)
        for vif in row["VIFs"]:
            if tx.get("VIF", vif)["currently_attached"]:
                raise ApiError("VIF_IN_USE", network, vif)
        tx.update("network", network, default_locking_mode=value)
