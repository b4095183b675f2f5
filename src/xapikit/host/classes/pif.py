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
"""Class ``PIF`` and the NICs of a fresh host (wire reference 6.2; recorded in observed/network)."""

from __future__ import annotations

import hashlib
import ipaddress
import re
from typing import Final

from xapikit.host.classes.network import DEFAULT_MTU, NICS
from xapikit.host.context import Context
from xapikit.host.errors import ApiError
from xapikit.host.inventory import Fresh, contributes
from xapikit.host.registry import implements
from xapikit.host.store import Row, Transaction, View
from xapikit.model import NULL_REF
from xapikit.wire import DateTime

NO_VLAN: Final = -1
MAC_FORM: Final = re.compile(r"([0-9A-Fa-f]{2}:){5}[0-9A-Fa-f]{2}\Z")
PROPERTIES: Final = {"gro": ("on", "off")}


@contributes(rank=31)
def nics(tx: Transaction, fresh: Fresh) -> None:
    for host in fresh.hosts:
        for number, device in enumerate(NICS):
            metrics = tx.create(
                "PIF_metrics",
                {
                    "carrier": True,
                    "speed": 10000,
                    "duplex": True,
                    "vendor_id": "15b3",
                    "vendor_name": "Embedded",
                    "device_id": "0001",
                    "device_name": "Embedded NIC",
                    "pci_bus_path": f"0000:0{number}:00.0",
                    "last_updated": DateTime.now(),
                },
            )
            management = number == 0
            tx.create(
                "PIF",
                {
                    "device": device,
                    "network": fresh.scratch[f"network:{device}"],
                    "host": host.ref,
                    "MAC": nic_address(host.name, number),
                    "MTU": DEFAULT_MTU,
                    "VLAN": NO_VLAN,
                    "metrics": metrics,
                    "physical": True,
                    "currently_attached": True,
                    "managed": True,
                    "management": management,
                    "ip_configuration_mode": "Static" if management else "None",
                    "IP": host.address if management else "",
                    "netmask": "255.255.255.0" if management else "",
                    "primary_address_type": "IPv4",
                    "igmp_snooping_status": "disabled",
                    "properties": {"gro": "on"},
                },
            )


def nic_address(host: str, number: int) -> str:
    """A MAC address of its own for each NIC of each host: locally administered, the same at every start."""
    digest = hashlib.sha256(f"{host}/{number}".encode()).digest()
    return ":".join(f"{octet:02x}" for octet in (0x02, *digest[:5]))


def device_taken(view: View, host: str, device: str) -> bool:
    return any(row["host"] == host and row["physical"] for row in view.find("PIF", device=device).values())


@implements("PIF.scan")
def scan(ctx: Context, host: str) -> None:
    # the NICs of an embedded host are all known from its first start
    ctx.store.get("host", host)


@implements("PIF.introduce")
def introduce(ctx: Context, host: str, mac: str, device: str, managed: bool) -> str:
    ctx.store.get("host", host)
    if not MAC_FORM.match(mac):
        raise ApiError("MAC_INVALID", mac)
    if device_taken(ctx.store, host, device):
        raise ApiError("DUPLICATE_PIF_DEVICE_NAME", device)
    # a NIC that was forgotten can come back; there are no others
    name = ctx.store.get("host", host)["name_label"]
    if device in NICS and nic_address(name, NICS.index(device)) == mac.lower():
        network = next(iter(ctx.store.find("network", bridge=f"xenbr{NICS.index(device)}")), NULL_REF)
        with ctx.store.transaction() as tx:
            return tx.create(
                "PIF",
                {
                    "device": device, "network": network, "host": host, "MAC": mac.lower(), "MTU": DEFAULT_MTU,
                    "VLAN": NO_VLAN, "physical": True, "managed": managed, "ip_configuration_mode": "None",
                    "properties": {"gro": "on"},
                },
            )  # fmt: skip
    raise ApiError("COULD_NOT_FIND_NETWORK_INTERFACE_WITH_SPECIFIED_DEVICE_NAME_AND_MAC_ADDRESS", device, mac)


@implements("PIF.forget")
def forget(ctx: Context, pif: str) -> None:
    with ctx.store.transaction() as tx:
        row = tx.get("PIF", pif)
        if row["VLAN"] != NO_VLAN:
            raise ApiError("PIF_VLAN_STILL_EXISTS", pif)
        if row["management"]:
            raise ApiError("PIF_IS_MANAGEMENT_INTERFACE", pif)
        if row["VLAN_slave_of"]:
            raise ApiError("PIF_VLAN_STILL_EXISTS", pif)
        if row["tunnel_transport_PIF_of"]:
            raise ApiError("PIF_TUNNEL_STILL_EXISTS", pif)
        remove(tx, pif)


@implements("PIF.db_forget")
def db_forget(ctx: Context, pif: str) -> None:
    with ctx.store.transaction() as tx:
        remove(tx, pif)


def remove(tx: Transaction, pif: str) -> None:
    """Delete the row and its metrics."""
    metrics = tx.get("PIF", pif)["metrics"]
    tx.delete("PIF", pif)
    if tx.peek("PIF_metrics", metrics) is not None:
        tx.delete("PIF_metrics", metrics)


@implements("PIF.plug")
def plug(ctx: Context, pif: str) -> None:
    with ctx.store.transaction() as tx:
        row = tx.get("PIF", pif)
        if row["bond_slave_of"] != NULL_REF:
            raise ApiError("CANNOT_PLUG_BOND_SLAVE", pif)
        if not row["managed"]:
            raise ApiError("PIF_UNMANAGED", pif)
        tx.update("PIF", pif, currently_attached=True)


@implements("PIF.unplug")
def unplug(ctx: Context, pif: str) -> None:
    with ctx.store.transaction() as tx:
        row = tx.get("PIF", pif)
        check_unplug(pif, row)
        tx.update("PIF", pif, currently_attached=False)


def check_unplug(pif: str, row: Row) -> None:
    """Raise what forbids taking the interface down."""
    if row["management"]:
        raise ApiError("PIF_IS_MANAGEMENT_INTERFACE", pif)
    if not row["managed"]:
        raise ApiError("PIF_UNMANAGED", pif)
    if row["disallow_unplug"]:
        raise ApiError("PIF_DOES_NOT_ALLOW_UNPLUG", pif)


@implements("PIF.reconfigure_ip")
def reconfigure_ip(ctx: Context, pif: str, mode: str, address: str, netmask: str, gateway: str, dns: str) -> None:
    ctx.store.get("PIF", pif)
    if mode == "Static":
        _check_address("IP", address)
        _check_address("netmask", netmask)
        if gateway:
            _check_address("gateway", gateway)
        for server in filter(None, dns.split(",")):
            _check_address("DNS", server.strip())
    static = mode == "Static"
    with ctx.store.transaction() as tx:
        tx.update(
            "PIF",
            pif,
            ip_configuration_mode=mode,
            IP=address if static else "",
            netmask=netmask if static else "",
            gateway=gateway if static else "",
            DNS=dns if static else "",
            currently_attached=True,
        )


def _check_address(what: str, text: str) -> None:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        raise ApiError("INVALID_IP_ADDRESS_SPECIFIED", what) from None


@implements("PIF.set_property")
def set_property(ctx: Context, pif: str, name: str, value: str) -> None:
    with ctx.store.transaction() as tx:
        row = tx.get("PIF", pif)
        if value not in PROPERTIES.get(name, ()):
            raise ApiError("INVALID_VALUE", "properties", f"{name} = {value}")
        tx.update("PIF", pif, properties={**row["properties"], name: value})
