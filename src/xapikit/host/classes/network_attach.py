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


def attach_networks(tx: Transaction, vm: str, host: str) -> None:
    """Make the networks of a VM's VIFs ready on a host. Raises what keeps an interface from being plugged."""
    for vif in tx.get("VM", vm)["VIFs"]:
        attach_network(tx, tx.get("VIF", vif)["network"], host)


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
