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
"""Class ``PIF``: NICs of a host, known and forgotten, up and down (wire reference 6.2; recorded in observed/network).

What lies on a NIC is made by the modules of ``VLAN``, ``Bond`` and ``tunnel``; addresses are in ``pif_addresses``.
"""

from __future__ import annotations

import hashlib
import re
from typing import Any, Final

from xapikit.host.classes.network import DEFAULT_MTU, NICS
from xapikit.host.context import Context
from xapikit.host.errors import ApiError
from xapikit.host.inventory import Fresh, contributes
from xapikit.host.registry import implements
from xapikit.host.store import Row, Transaction, View
from xapikit.model import MODEL, NULL_REF
from xapikit.wire import DateTime

NO_VLAN: Final = -1
DUMMY_MAC: Final = "fe:ff:ff:ff:ff:ff"
"""MAC of a PIF whose bridge takes the address of the NIC below."""
MAC_FORM: Final = re.compile(r"([0-9A-Fa-f]{2}:){5}[0-9A-Fa-f]{2}\Z")
PROPERTIES: Final = {"gro": ("on", "off")}


@contributes(rank=31)
def nics(tx: Transaction, fresh: Fresh) -> None:
    for host in fresh.hosts:
        for number, device in enumerate(NICS):
            pif = create_nic(tx, host.ref, number, network=fresh.scratch[f"network:{device}"], plugged=True)
            if number == 0:
                address = {"ip_configuration_mode": "Static", "IP": host.address, "netmask": "255.255.255.0"}
                tx.update("PIF", pif, management=True, **address)


def create_nic(
    tx: Transaction, host: str, number: int, *, network: str, plugged: bool = False, managed: bool = True
) -> str:
    """The row of a NIC that the host has."""
    metrics = {
        "carrier": True,
        "speed": 10000,
        "duplex": True,
        "vendor_id": "15b3",
        "vendor_name": "Embedded",
        "device_id": "0001",
        "device_name": "Embedded NIC",
        "pci_bus_path": f"0000:0{number}:00.0",
        "last_updated": DateTime.now(),
    }
    return tx.create(
        "PIF",
        {
            "device": NICS[number],
            "network": network,
            "host": host,
            "MAC": nic_address(tx, host, number),
            "MTU": DEFAULT_MTU,
            "VLAN": NO_VLAN,
            "metrics": tx.create("PIF_metrics", metrics),
            "physical": True,
            "currently_attached": plugged,
            "managed": managed,
            "igmp_snooping_status": "disabled",
            "properties": {"gro": "on"},
        },
    )


def create_virtual(tx: Transaction, below: Row, network: str, **fields: Any) -> str:
    """The row of an interface on top of another one: a network of its own; host, MTU and metrics of the one below."""
    values = {
        "device": below["device"],
        "network": network,
        "host": below["host"],
        "MAC": DUMMY_MAC,
        "MTU": below["MTU"],
        "VLAN": NO_VLAN,
        "metrics": below["metrics"],
        "physical": False,
        "currently_attached": False,
        "managed": True,
    }
    return tx.create("PIF", {**values, **fields})


def nic_address(view: View, host: str, number: int) -> str:
    """A MAC address of its own for each NIC of each host: locally administered, the same at every start."""
    digest = hashlib.sha256(f"{view.get('host', host)['uuid']}/{number}".encode()).digest()
    return ":".join(f"{octet:02x}" for octet in (0x02, *digest[:5]))


def check_connectable(tx: Transaction, host: str, network: str, besides: tuple[str, ...] = ()) -> None:
    """A host has one interface on a network at most, and none is made on a network that others manage."""
    if not tx.get("network", network)["managed"]:
        raise ApiError("NETWORK_UNMANAGED", network)
    for pif, row in tx.find("PIF", host=host).items():
        if row["network"] == network and pif not in besides:
            raise ApiError("NETWORK_ALREADY_CONNECTED", host, pif)


def reach_host_of(ctx: Context, pif: str) -> None:
    """Raises HOST_OFFLINE and the like when the host of an interface cannot carry a call out; HANDLE_INVALID."""
    ctx.pool.machines.reach(ctx.store.get("PIF", pif)["host"])


# known and forgotten -------------------------------------------------------------------------------------------------


def _network_of(tx: Transaction, number: int) -> str:
    """The network that a NIC belongs to, made anew when it is gone."""
    bridge = f"xenbr{number}"
    known = next(iter(tx.find("network", bridge=bridge)), None)
    label = f"Pool-wide network associated with {NICS[number]}"
    return known or tx.create(
        "network",
        {"name_label": label, "bridge": bridge, "MTU": DEFAULT_MTU, "default_locking_mode": "unlocked"},
    )


def _missing(tx: Transaction, host: str) -> list[int]:
    """Numbers of the NICs that have no row."""
    known = {row["device"] for row in tx.find("PIF", host=host, physical=True).values()}
    return [number for number, device in enumerate(NICS) if device not in known]


@implements("PIF.scan")
def scan(ctx: Context, host: str) -> None:
    ctx.store.get("host", host)
    ctx.pool.machines.reach(host)
    with ctx.store.transaction() as tx:
        for number in _missing(tx, host):
            create_nic(tx, host, number, network=_network_of(tx, number))


@implements("PIF.introduce")
def introduce(ctx: Context, host: str, mac: str, device: str, managed: bool) -> str:
    ctx.store.get("host", host)
    ctx.pool.machines.reach(host)
    with ctx.store.transaction() as tx:
        addresses = {name: nic_address(tx, host, number) for number, name in enumerate(NICS)}
        mac = mac.lower() or addresses.get(device, "")
        if not MAC_FORM.match(mac):
            raise ApiError("MAC_INVALID", mac)
        if tx.find("PIF", host=host, device=device, physical=True):
            raise ApiError("DUPLICATE_PIF_DEVICE_NAME", device)
        if addresses.get(device) != mac:
            code = "COULD_NOT_FIND_NETWORK_INTERFACE_WITH_SPECIFIED_DEVICE_NAME_AND_MAC_ADDRESS"
            raise ApiError(code, device, mac)
        number = NICS.index(device)
        return create_nic(tx, host, number, network=_network_of(tx, number), managed=managed)


@implements("PIF.pool_introduce", "PIF.db_introduce")
def db_introduce(ctx: Context, *values: Any) -> str:
    """A row as given, without a look at the NICs: how a joining host brings its own."""
    names = [parameter.name for parameter in MODEL.message(ctx.method)[1].params]
    given = dict(zip(names, values, strict=True))
    with ctx.store.transaction() as tx:
        tx.get("network", given["network"])
        tx.get("host", given["host"])
        made = {"bond_slave_of": NULL_REF, "currently_attached": False, "metrics": tx.create("PIF_metrics", {})}
        return tx.create("PIF", {**given, **made})


@implements("PIF.forget")
def forget(ctx: Context, pif: str) -> None:
    reach_host_of(ctx, pif)
    with ctx.store.transaction() as tx:
        row = tx.get("PIF", pif)
        if row["bond_slave_of"] != NULL_REF or row["bond_master_of"]:
            raise ApiError("PIF_ALREADY_BONDED", pif)
        if row["VLAN_slave_of"] or row["VLAN"] != NO_VLAN:
            raise ApiError("PIF_VLAN_STILL_EXISTS", pif)
        if row["tunnel_transport_PIF_of"] or row["tunnel_access_PIF_of"]:
            raise ApiError("PIF_TUNNEL_STILL_EXISTS", pif)
        if row["management"]:
            raise ApiError("PIF_IS_MANAGEMENT_INTERFACE", pif)
        remove(tx, pif)


@implements("PIF.db_forget")
def db_forget(ctx: Context, pif: str) -> None:
    with ctx.store.transaction() as tx:
        remove(tx, pif)


def remove(tx: Transaction, pif: str) -> None:
    """Delete the row, and its metrics unless another interface shows them, too."""
    metrics = tx.get("PIF", pif)["metrics"]
    tx.delete("PIF", pif)
    if tx.peek("PIF_metrics", metrics) is not None and not tx.find("PIF", metrics=metrics):
        tx.delete("PIF_metrics", metrics)


# up and down ---------------------------------------------------------------------------------------------------------


@implements("PIF.plug")
def plug(ctx: Context, pif: str) -> None:
    reach_host_of(ctx, pif)
    with ctx.store.transaction() as tx:
        plug_pif(tx, pif)


def plug_pif(tx: Transaction, pif: str) -> None:
    """Bring an interface up; a tunnel brings the interface up that it runs over, which needs an address."""
    row = tx.get("PIF", pif)
    for tunnel in row["tunnel_access_PIF_of"]:
        transport = tx.get("tunnel", tunnel)["transport_PIF"]
        if tx.get("PIF", transport)["ip_configuration_mode"] == "None":
            raise ApiError("TRANSPORT_PIF_NOT_CONFIGURED", transport)
        plug_pif(tx, transport)
        tx.update("tunnel", tunnel, status={"active": "true"})
    if row["bond_slave_of"] != NULL_REF:
        raise ApiError("CANNOT_PLUG_BOND_SLAVE", pif)
    if not row["managed"]:
        raise ApiError("PIF_UNMANAGED", pif)
    tx.update("PIF", pif, currently_attached=True)


@implements("PIF.unplug")
def unplug(ctx: Context, pif: str) -> None:
    reach_host_of(ctx, pif)
    with ctx.store.transaction() as tx:
        unplug_pif(tx, pif)


def unplug_pif(tx: Transaction, pif: str) -> None:
    """Take an interface down, and the tunnels that run over it. Raises what forbids it."""
    row = tx.get("PIF", pif)
    if row["management"]:
        raise ApiError("PIF_IS_MANAGEMENT_INTERFACE", pif)
    _check_vifs(tx, row["network"], row["host"])
    if row["disallow_unplug"]:
        raise ApiError("PIF_DOES_NOT_ALLOW_UNPLUG", pif)
    if not row["managed"]:
        raise ApiError("PIF_UNMANAGED", pif)
    for tunnel in row["tunnel_transport_PIF_of"]:
        unplug_pif(tx, tx.get("tunnel", tunnel)["access_PIF"])
    for tunnel in row["tunnel_access_PIF_of"]:
        tx.update("tunnel", tunnel, status={"active": "false"})
    tx.update("PIF", pif, currently_attached=False)


def _check_vifs(view: View, network: str, host: str) -> None:
    """Raise VIF_IN_USE when a guest on the host uses the network."""
    where = view.peek("network", network)
    for vif in where["VIFs"] if where is not None else ():
        row = view.get("VIF", vif)
        vm = view.peek("VM", row["VM"])
        if row["currently_attached"] and vm is not None and vm["resident_on"] == host:
            raise ApiError("VIF_IN_USE", network, vif)


@implements("PIF.set_property")
def set_property(ctx: Context, pif: str, name: str, value: str) -> None:
    with ctx.store.transaction() as tx:
        row = tx.get("PIF", pif)
        if value not in PROPERTIES.get(name, ()):
            raise ApiError("INVALID_VALUE", "properties", f"{name} = {value}")
        tx.update("PIF", pif, properties={**row["properties"], name: value})
