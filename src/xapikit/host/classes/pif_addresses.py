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
"""Addresses of a PIF (wire reference 6.2). The server goes on listening where it was told to, whatever is set here."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv6Interface, ip_address

from xapikit.host.classes.pif import reach_host_of
from xapikit.host.context import Context
from xapikit.host.errors import ApiError
from xapikit.host.registry import implements
from xapikit.host.store import Transaction


def check_literal(
    read: Callable[[str], object], text: str, what: str, code: str = "INVALID_IP_ADDRESS_SPECIFIED"
) -> None:
    """Raise ``code`` with the name of the argument unless ``read`` takes the text (by not raising ValueError)."""
    try:
        read(text)
    except ValueError:
        raise ApiError(code, what) from None


@implements("PIF.reconfigure_ip")
def reconfigure_ip(ctx: Context, pif: str, mode: str, address: str, netmask: str, gateway: str, dns: str) -> None:
    reach_host_of(ctx, pif)
    with ctx.store.transaction() as tx:
        row = tx.get("PIF", pif)
        for what, text in (("IP", address), ("netmask", netmask), ("gateway", gateway)):
            if text or (mode == "Static" and what != "gateway"):
                check_literal(ip_address, text, what)
        if mode == "None" and row["primary_address_type"] == "IPv4":
            _check_not_management(tx, pif)
        # DNS is any list of names or addresses; an empty one leaves what was set
        changed = {"ip_configuration_mode": mode, "IP": address, "netmask": netmask, "gateway": gateway}
        tx.update("PIF", pif, **changed, DNS=dns or row["DNS"])


@implements("PIF.reconfigure_ipv6")
def reconfigure_ipv6(ctx: Context, pif: str, mode: str, address: str, gateway: str, dns: str) -> None:
    reach_host_of(ctx, pif)
    with ctx.store.transaction() as tx:
        row = tx.get("PIF", pif)
        if address or mode == "Static":
            cidr = address if "/" in address else ""
            check_literal(IPv6Interface, cidr, "IPv6", "INVALID_CIDR_ADDRESS_SPECIFIED")
        if gateway:
            check_literal(ip_address, gateway, "gateway")
        if mode == "None" and row["primary_address_type"] == "IPv6":
            _check_not_management(tx, pif)
        changed = {"ipv6_configuration_mode": mode, "IPv6": [address], "ipv6_gateway": gateway}
        tx.update("PIF", pif, **changed, DNS=dns or row["DNS"])


@implements("PIF.set_primary_address_type")
def set_primary_address_type(ctx: Context, pif: str, value: str) -> None:
    reach_host_of(ctx, pif)
    with ctx.store.transaction() as tx:
        _check_not_management(tx, pif)
        tx.update("PIF", pif, primary_address_type=value)


def _check_not_management(tx: Transaction, pif: str) -> None:
    if tx.get("PIF", pif)["management"]:
        raise ApiError("PIF_IS_MANAGEMENT_INTERFACE", pif)
