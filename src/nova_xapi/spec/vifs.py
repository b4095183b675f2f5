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
"""Network interfaces: one per port, in the order in which Nova lists them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from nova import exception

from nova_xapi.errors import UnsupportedDevice
from nova_xapi.spec.values import VifSpec

DEFAULT_MTU: Final = 1500
MOST: Final = 16


def vif(device: int, port: Mapping[str, Any]) -> VifSpec:
    """One port of ``network_info`` as interface ``device``.

    Raises VirtualInterfacePlugException for a port that Neutron could not bind, UnsupportedDevice for one that is
    bound in a way that XAPI cannot connect.
    """
    kind = port.get("type")
    if kind in ("unbound", "binding_failed"):
        raise exception.VirtualInterfacePlugException(f"Port {port['id']} is not bound to this host ({kind})")
    if kind != "ovs":
        raise UnsupportedDevice(f"port {port['id']} is bound as {kind!r}; the XAPI driver connects ports of type 'ovs'")
    if port.get("vnic_type", "normal") != "normal":
        raise UnsupportedDevice(f"port {port['id']} has vnic_type {port['vnic_type']!r}; only 'normal' is supported")
    mtu = (port["network"].get("meta") or {}).get("mtu") or DEFAULT_MTU
    return VifSpec(device, port["address"], int(mtu), port["id"], wait=port.get("active") is False)


def vifs(network_info: Iterable[Mapping[str, Any]] | None) -> tuple[VifSpec, ...]:
    """All ports. Raises what :func:`vif` raises, and UnsupportedDevice for too many."""
    found = tuple(vif(device, port) for device, port in enumerate(network_info or ()))
    if len(found) > MOST:
        raise UnsupportedDevice(f"{len(found)} ports; a guest has room for {MOST}")
    return found
