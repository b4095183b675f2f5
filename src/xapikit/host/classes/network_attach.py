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
"""Networks made ready on a host: the interfaces that they need there are brought up (wire reference 6.1)."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv4Address

from xapikit.host.classes.network import SYSTEM_MARK
from xapikit.host.classes.pif import plug_pif
from xapikit.host.context import Context
from xapikit.host.registry import implements
from xapikit.host.store import Transaction


def attach_network(tx: Transaction, network: str, host: str) -> None:
    """Plug the managed interface of the host on the network. A network without any gets its bridge by itself."""
    for pif in tx.get("network", network)["PIFs"]:
        row = tx.get("PIF", pif)
        if row["host"] == host and row["managed"] and not row["currently_attached"]:
            plug_pif(tx, pif)


def attach_vif(tx: Transaction, vif: str, network: str, host: str) -> None:
    """Make a network ready for a VIF on a host. Raises what keeps an interface from being plugged."""
    attach_network(tx, network, host)
    row = tx.get("network", network)
    if row["other_config"].get(SYSTEM_MARK) == "true" and vif not in row["assigned_ips"]:
        # addresses of VIFs that are gone are free again
        leases = {ref: text for ref, text in row["assigned_ips"].items() if tx.peek("VIF", ref) is not None}
        address = _free_address(row["other_config"], set(leases.values()))
        if address is not None:
            tx.update("network", network, assigned_ips={**leases, vif: address})


def _free_address(other_config: Mapping[str, str], taken: set[str]) -> str | None:
    """The lowest address that dom0 can give to a guest; the first of the range is its own. None when there is none,
    or no range: clients may write anything there, and guests start all the same."""
    try:
        first, last = (IPv4Address(other_config.get(name, "")) for name in ("ip_begin", "ip_end"))
    except ValueError:
        return None
    candidates = (str(IPv4Address(number)) for number in range(int(first) + 1, int(last) + 1))
    return next((text for text in candidates if text not in taken), None)


def attach_networks(tx: Transaction, vm: str, host: str) -> None:
    """Make the networks of a VM's VIFs ready on a host. Raises what keeps an interface from being plugged."""
    for vif in tx.get("VM", vm)["VIFs"]:
        attach_vif(tx, vif, tx.get("VIF", vif)["network"], host)


@implements("network.attach")
def attach(ctx: Context, network: str, host: str) -> None:
    ctx.store.get("network", network)
    ctx.store.get("host", host)
    ctx.pool.machines.reach(host)
    with ctx.store.transaction() as tx:
        attach_network(tx, network, host)


@implements("network.attach_for_vm")
def attach_for_vm(ctx: Context, host: str, vm: str) -> None:
    with ctx.store.transaction() as tx:
        tx.get("host", host)
        attach_networks(tx, vm, host)


@implements("network.detach_for_vm")
def detach_for_vm(ctx: Context, host: str, vm: str) -> None:
    # bridges of networks without NICs go with their last user by themselves; interfaces stay up
    ctx.store.get("host", host)
    ctx.store.get("VM", vm)
