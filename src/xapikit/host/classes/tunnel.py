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
"""Class ``tunnel``: networks between hosts over GRE or VXLAN (wire reference 6.2). They need Open vSwitch."""

from __future__ import annotations

from xapikit.host.classes.network import free_name
from xapikit.host.classes.pif import check_connectable, create_virtual, plug_pif, reach_host_of, remove, unplug_pif
from xapikit.host.classes.vswitch import is_active
from xapikit.host.context import Context
from xapikit.host.errors import ApiError
from xapikit.host.macs import generated_mac
from xapikit.host.registry import implements
from xapikit.host.store import Row
from xapikit.model import NULL_REF

BRIDGE_MTU = -1
"""The MTU of an access PIF is what the bridge leaves after its own headers."""


@implements("tunnel.create")
def create(ctx: Context, transport_pif: str, network: str, protocol: str) -> str:
    reach_host_of(ctx, transport_pif)
    with ctx.store.transaction() as tx:
        transport = tx.get("PIF", transport_pif)
        check_connectable(tx, transport["host"], network)
        _check_transport(transport_pif, transport)
        if not is_active(tx):
            raise ApiError("OPENVSWITCH_NOT_ACTIVE")
        taken = {row["device"] for row in tx.find("PIF", host=transport["host"]).values()}
        mac = generated_mac(tx.store.new_uuid(), 0)
        access = create_virtual(tx, transport, network, device=free_name("tunnel", taken), MAC=mac, MTU=BRIDGE_MTU)
        row = {
            "access_PIF": access,
            "transport_PIF": transport_pif,
            "protocol": protocol,
            "status": {"active": "false"},
        }
        tunnel = tx.create("tunnel", row)
        plug_pif(tx, access)
        return tunnel


def _check_transport(pif: str, row: Row) -> None:
    if not row["managed"]:
        raise ApiError("PIF_UNMANAGED", pif)
    if row["bond_slave_of"] != NULL_REF:
        raise ApiError("CANNOT_ADD_TUNNEL_TO_BOND_SLAVE", pif)
    if row["tunnel_access_PIF_of"]:
        raise ApiError("IS_TUNNEL_ACCESS_PIF", pif)


@implements("tunnel.destroy")
def destroy(ctx: Context, tunnel: str) -> None:
    access = ctx.store.get("tunnel", tunnel)["access_PIF"]
    if ctx.store.peek("PIF", access) is not None:  # an orphan is only a row
        reach_host_of(ctx, access)
    with ctx.store.transaction() as tx:
        access = tx.get("tunnel", tunnel)["access_PIF"]
        if tx.peek("PIF", access) is not None:
            unplug_pif(tx, access)
            remove(tx, access)
        tx.delete("tunnel", tunnel)
