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
"""What a host does only with Open vSwitch below: class ``SDN_controller``, IGMP snooping (wire reference 6.4)."""

from __future__ import annotations

from ipaddress import IPv4Address
from typing import Final

from xapikit.host.classes.pif_addresses import check_literal
from xapikit.host.context import Context
from xapikit.host.errors import ApiError
from xapikit.host.registry import implements
from xapikit.host.store import Transaction, View

BACKEND: Final = "network_backend"
"""Key of ``host.software_version`` that names the back end: ``openvswitch`` or ``bridge``."""
SSL_PORT: Final = 6632
MAX_PORT: Final = 65535


def is_active(view: View) -> bool:
    """Whether every host of the pool has Open vSwitch below its networks."""
    return all(row["software_version"].get(BACKEND) == "openvswitch" for row in view.all("host").values())


def check_no_controller(view: View) -> None:
    """Raise OPERATION_NOT_ALLOWED when a controller decides about the flows."""
    if view.all("SDN_controller"):
        raise ApiError("OPERATION_NOT_ALLOWED", "A vswitch controller is active")


def _check_active(view: View) -> None:
    if not is_active(view):
        raise ApiError("OPERATION_NOT_ALLOWED", "host not configured for vswitch operation")


@implements("SDN_controller.introduce")
def introduce(ctx: Context, protocol: str, address: str, port: int) -> str:
    with ctx.store.transaction() as tx:
        _check_active(tx)
        return _introduce(tx, protocol, address, port)


def _introduce(tx: Transaction, protocol: str, address: str, port: int) -> str:
    if tx.all("SDN_controller"):
        raise ApiError("OPERATION_NOT_ALLOWED", "SDN controller has been configured. Please forget it first.")
    if protocol == "pssl":  # the hosts listen and have no choice of the port
        if address:
            raise ApiError("INVALID_VALUE", "address", address)
        if port:
            raise ApiError("INVALID_VALUE", "port", port)
        return tx.create("SDN_controller", {"protocol": protocol, "address": "", "port": 0})
    if not address:
        raise ApiError("INVALID_VALUE", "address", address)
    check_literal(IPv4Address, address, "address")
    if not 0 <= port <= MAX_PORT:
        raise ApiError("VALUE_NOT_SUPPORTED", "port", port, "Port out of range")
    return tx.create("SDN_controller", {"protocol": protocol, "address": address, "port": port or SSL_PORT})


@implements("SDN_controller.forget")
def forget(ctx: Context, controller: str) -> None:
    with ctx.store.transaction() as tx:
        tx.delete("SDN_controller", controller)


@implements("pool.set_vswitch_controller")
def set_vswitch_controller(ctx: Context, address: str) -> None:
    """The older way: a controller by its address alone, none when it is empty."""
    with ctx.store.transaction() as tx:
        _check_active(tx)
        pool = next(iter(tx.all("pool")))
        if tx.get("pool", pool)["vswitch_controller"] == address:
            return
        if address:
            check_literal(IPv4Address, address, "address")
        for controller in tx.all("SDN_controller"):
            tx.delete("SDN_controller", controller)
        if address:
            _introduce(tx, "ssl", address, SSL_PORT)
        tx.update("pool", pool, vswitch_controller=address)


@implements("pool.set_igmp_snooping_enabled")
def set_igmp_snooping_enabled(ctx: Context, pool: str, value: bool) -> None:
    with ctx.store.transaction() as tx:
        tx.get("pool", pool)
        if not is_active(tx):
            raise ApiError("OPENVSWITCH_NOT_ACTIVE")
        tx.update("pool", pool, igmp_snooping_enabled=value)
        for pif, row in tx.all("PIF").items():
            if row["igmp_snooping_status"] != "unknown":
                tx.update("PIF", pif, igmp_snooping_status="enabled" if value else "disabled")
