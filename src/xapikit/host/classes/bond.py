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

from xapikit.host.classes.network import DEFAULT_MTU
from xapikit.host.classes.pif import NO_VLAN, check_connectable, reach_host_of, remove
from xapikit.host.context import Context
from xapikit.host.errors import ApiError
from xapikit.host.registry import implements
from xapikit.host.store import Row, Transaction
from xapikit.model import NULL_REF

LACP: Final = "lacp"
HASHING: Final = {"hashing_algorithm": ("src_mac", "tcpudp_ports"), "lacp-time": ("slow", "fast")}
"""Properties of LACP bonds; the other modes have none that can be set."""


@implements("Bond.create")
def create(ctx: Context, network: str, members: list[str], mac: str, mode: str, properties: dict[str, str]) -> str:
    for pif in members:
        reach_host_of(ctx, pif)
    with ctx.store.transaction() as tx:
        rows = _known_members(tx, members)
        check_connectable(tx, rows[0]["host"], network, besides=tuple(members))
        _check_members(members, rows)
        for name, value in properties.items():
            _check_property(mode, name, value)
        return _bond(tx, network, members, rows, mac, mode, properties)


def _known_members(tx: Transaction, members: list[str]) -> list[Row]:
    if not members:
        raise ApiError("PIF_BOND_NEEDS_MORE_MEMBERS")
    rows = [tx.get("PIF", pif) for pif in members]
    if len({row["host"] for row in rows}) > 1:
        raise ApiError("PIF_CANNOT_BOND_CROSS_HOST")
    return rows


def _check_members(members: list[str], rows: list[Row]) -> None:
    for pif, row in zip(members, rows, strict=True):
        if row["VLAN"] != NO_VLAN:
            raise ApiError("PIF_IS_VLAN", pif)
        if row["bond_slave_of"] != NULL_REF:
            raise ApiError("PIF_ALREADY_BONDED", pif)
    if sum(row["ip_configuration_mode"] != "None" for row in rows) > 1:
        raise ApiError("PIF_BOND_MORE_THAN_ONE_IP")


def _bond(
    tx: Transaction, network: str, members: list[str], rows: list[Row], mac: str, mode: str, properties: dict[str, str]
) -> str:
    host = rows[0]["host"]
    taken = {row["device"] for row in tx.find("PIF", host=host).values()}
    device = next(name for number in range(len(taken) + 1) if (name := f"bond{number}") not in taken)
    # the member that has an address gives it, and the management interface, to the bond
    primary = next((n for n, row in enumerate(rows) if row["management"]), None)
    if primary is None:
        primary = next((n for n, row in enumerate(rows) if row["ip_configuration_mode"] != "None"), 0)
    leader = rows[primary]
    moved = {name: leader[name] for name in ("ip_configuration_mode", "IP", "netmask", "gateway", "DNS", "management")}
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
            "primary_address_type": leader["primary_address_type"],
            "metrics": tx.create("PIF_metrics", {"carrier": True}),
            **moved,
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
        tx.update(
            "PIF", pif, bond_slave_of=bond, currently_attached=False, management=False, ip_configuration_mode="None",
            IP="", netmask="", gateway="", DNS="",
        )  # fmt: skip
    return bond


def _move_what_is_on(tx: Transaction, old: str, new: str) -> None:
    """VLANs and tunnels on one interface go over to another one."""
    row = tx.get("PIF", old)
    for vlan in row["VLAN_slave_of"]:
        tx.update("VLAN", vlan, tagged_PIF=new)
        tx.update("PIF", tx.get("VLAN", vlan)["untagged_PIF"], device=tx.get("PIF", new)["device"])
    for tunnel in row["tunnel_transport_PIF_of"]:
        tx.update("tunnel", tunnel, transport_PIF=new)


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
            moved = ("ip_configuration_mode", "IP", "netmask", "gateway", "DNS", "management")
            tx.update("PIF", primary, **{name: master[name] for name in moved})
            _move_what_is_on(tx, row["master"], primary)
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
