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
"""Class ``network_sriov``: virtual functions of a NIC as a network. No NIC of an embedded host has any."""

from __future__ import annotations

from xapikit.host.context import Context
from xapikit.host.errors import ApiError
from xapikit.host.registry import implements


@implements("network_sriov.create")
def create(ctx: Context, pif: str, network: str) -> str:
    if not ctx.store.get("network", network)["managed"]:
        raise ApiError("NETWORK_UNMANAGED", network)
    row = ctx.store.get("PIF", pif)
    if not row["managed"]:
        raise ApiError("PIF_UNMANAGED", pif)
    if not row["physical"]:
        raise ApiError("PIF_IS_NOT_PHYSICAL", pif)
    raise ApiError("PIF_IS_NOT_SRIOV_CAPABLE", pif)


@implements("network_sriov.destroy", "network_sriov.get_remaining_capacity")
def existing(ctx: Context, sriov: str) -> int:
    """Calls on what cannot have been made: the look-up answers."""
    ctx.store.get("network_sriov", sriov)
    return 0
