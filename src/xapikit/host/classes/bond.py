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
"""Class ``Bond``: several NICs as one (wire reference 6.2; recorded in observed/network)."""

from __future__ import annotations

from typing import Final

from xapikit.host.classes.network import DEFAULT_MTU, free_name
from xapikit.host.classes.pif import MAC_FORM, NO_VLAN, check_connectable, reach_host_of, remove
from xapikit.host.classes.vm.placement import possible_hosts
from xapikit.host.context import Context
from xapikit.host.errors import ApiError
from xapikit.host.registry import implements
from xapikit.host.store import Row, Transaction
from xapikit.model import MODEL, NULL_REF

LACP: Final = "lacp"
HASHING: Final = {"hashing_algorithm": ("src_mac", "tcpudp_ports"), "lacp-time": ("slow", "fast")}
"""Properties of LACP bonds; the other modes have none that can be set."""
CONFIGURED: Final = (
    "management", "primary_address_type", "ip_configuration_mode", "IP", "netmask", "gateway", "DNS",
    "ipv6_configuration_mode", "IPv6", "ipv6_gateway",
)  # fmt: skip
"""What goes from a member to the bond, and back to it."""


@implements("Bond.create")
def create(ctx: Context, network: str, members: list[str], mac: str, mode: str, properties: dict[str, str]) -> str:
    members = list(dict.fromkeys(members))
    for pif in members:
        reach_host_of(ctx, pif)
    with ctx.store.transaction() as tx:
        rows = _known_members(tx, members)
        check_connectable(tx, rows[0]["host"], network, besides=tuple(members))
        for name, value in properties.items():
            _check_property(mode, name, value)
        if mac and not MAC_FORM.match(mac):
            raise ApiError("MAC_INVALID", mac)
        for pif, row in zip(members, rows, strict=True):
            _check_member(pif, row)
        if sum(row["ip_configuration_mode"] != "None" for row in rows) > 1:
            raise ApiError("PIF_BOND_MORE_THAN_ONE_IP")
        bond = _bond(tx, network, members, rows, mac, mode, properties)
        move_vifs(tx, rows[0]["host"], {row["network"] for row in rows}, network)
        return bond


def _known_members(tx: Transaction, members: list[str]) -> list[Row]:
    if not members:
        raise ApiError("PIF_BOND_NEEDS_MORE_MEMBERS")
    rows = [tx.get("PIF", pif) for pif in members]
    if len({row["host"] for row in rows}) > 1:
        raise ApiError("PIF_CANNOT_BOND_CROSS_HOST")
    return rows


def _check_member(pif: str, row: Row) -> None:
    """Raise what keeps an interface from being a member."""
    if not row["managed"]:
        raise ApiError("PIF_UNMANAGED", pif)
    if row["tunnel_access_PIF_of"]:
        raise ApiError("IS_TUNNEL_ACCESS_PIF", pif)
    if row["bond_slave_of"] != NULL_REF:
        raise ApiError("PIF_ALREADY_BONDED", pif)
    if row["VLAN"] != NO_VLAN:
        raise ApiError("PIF_VLAN_EXISTS", row["device"])


def _bond(
    tx: Transaction, network: str, members: list[str], rows: list[Row], mac: str, mode: str, properties: dict[str, str]
) -> str:
    host = rows[0]["host"]
    taken = {row["device"] for row in tx.find("PIF", host=host).values()}
    device = free_name("bond", taken)
    # the member that has an address gives it, and the management interface, to the bond
    primary = next((n for n, row in enumerate(rows) if row["management"]), None)
    if primary is None:
        primary = next((n for n, row in enumerate(rows) if row["ip_configuration_mode"] != "None"), 0)
    leader = rows[primary]
    master = tx.create(
        "PIF",
        {
            "device": device,
            "network": network,
            "host": host,
            "MAC": mac or leader["MAC"],
            "MTU": leader["MTU"] or DEFAULT_MTU,
            "VLAN": NO_VLAN,
            "physical": False,
            "managed": True,
            "currently_attached": True,
            "disallow_unplug": any(row["disallow_unplug"] for row in rows),
            "metrics": tx.create("PIF_metrics", {"carrier": True}),
            **{name: leader[name] for name in CONFIGURED},
        },
    )
    bond = tx.create(
        "Bond",
        {
            "master": master,
            "primary_slave": members[primary],
            "mode": mode,
            "properties": properties,
            "links_up": len(members),
            "auto_update_mac": not mac,
        },
    )
    for pif in members:
        _move_what_is_on(tx, pif, master)
        reset = {name: MODEL.classes["PIF"].fields[name].default for name in CONFIGURED}
        tx.update("PIF", pif, bond_slave_of=bond, currently_attached=False, disallow_unplug=False, **reset)
    return bond


def _move_what_is_on(tx: Transaction, old: str, new: str) -> None:
    """VLANs and tunnels on one interface go over to another one; of two VLANs with one tag the first stays."""
    row, target = tx.get("PIF", old), tx.get("PIF", new)
    there = {tx.get("VLAN", vlan)["tag"]: vlan for vlan in target["VLAN_slave_of"]}
    for vlan in row["VLAN_slave_of"]:
        untagged = tx.get("VLAN", vlan)["untagged_PIF"]
        same = there.get(tx.get("VLAN", vlan)["tag"])
        if same is None:
            tx.update("VLAN", vlan, tagged_PIF=new)
            tx.update("PIF", untagged, device=target["device"])
        else:
            kept = tx.get("PIF", tx.get("VLAN", same)["untagged_PIF"])
            move_vifs(tx, row["host"], {tx.get("PIF", untagged)["network"]}, kept["network"])
            remove(tx, untagged)
            tx.delete("VLAN", vlan)
    for tunnel in row["tunnel_transport_PIF_of"]:
        tx.update("tunnel", tunnel, transport_PIF=new)


def move_vifs(tx: Transaction, host: str, old: set[str], new: str) -> None:
    """VIFs of guests that are bound to the host go from networks that lose its NICs to the one that has them."""
    for network in old - {new}:
        row = tx.peek("network", network)
        for vif in row["VIFs"] if row is not None else ():
            vm = tx.get("VIF", vif)["VM"]
            if tx.get("VM", vm)["resident_on"] == host or possible_hosts(tx, vm) == [host]:
                tx.update("VIF", vif, network=new)


@implements("Bond.destroy")
def destroy(ctx: Context, bond: str) -> None:
    reach_host_of(ctx, ctx.store.get("Bond", bond)["master"])
    with ctx.store.transaction() as tx:
        row = tx.get("Bond", bond)
        master = tx.get("PIF", row["master"])
        primary = row["primary_slave"]
        for pif in row["slaves"]:
            tx.update("PIF", pif, bond_slave_of=NULL_REF, currently_attached=pif == primary)
        if tx.peek("PIF", primary) is not None:
            tx.update("PIF", primary, **{name: master[name] for name in CONFIGURED})
            _move_what_is_on(tx, row["master"], primary)
            move_vifs(tx, master["host"], {master["network"]}, tx.get("PIF", primary)["network"])
        elif master["management"]:
            raise ApiError("PIF_IS_MANAGEMENT_INTERFACE", row["master"])
        remove(tx, row["master"])
        tx.delete("Bond", bond)


@implements("Bond.set_mode")
def set_mode(ctx: Context, bond: str, value: str) -> None:
    with ctx.store.transaction() as tx:
        row = tx.get("Bond", bond)
        # properties of another mode mean nothing in the new one
        tx.update("Bond", bond, mode=value, properties=row["properties"] if value == row["mode"] else {})


@implements("Bond.set_property")
def set_property(ctx: Context, bond: str, name: str, value: str) -> None:
    with ctx.store.transaction() as tx:
        row = tx.get("Bond", bond)
        _check_property(row["mode"], name, value)
        tx.update("Bond", bond, properties={**row["properties"], name: value})


def _check_property(mode: str, name: str, value: str) -> None:
    if mode != LACP or value not in HASHING.get(name, ()):
        raise ApiError("INVALID_VALUE", "properties", f"{name} = {value}")
