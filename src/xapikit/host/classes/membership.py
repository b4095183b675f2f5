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
"""Hosts that join a pool and leave it (wire reference 7.5)."""

from __future__ import annotations

from xapikit.host.classes.evacuation import guests
from xapikit.host.classes.pool import check
from xapikit.host.context import Context
from xapikit.host.errors import ApiError
from xapikit.host.members import joining, leaving
from xapikit.host.registry import implements


@implements("pool.join", "pool.join_force")
def join(ctx: Context, master_address: str, master_username: str, master_password: str) -> None:
    """Called on the host that joins; it restarts as a member when this has answered."""
    force = ctx.method == "pool.join_force"
    joining.join(ctx.pool, master_address, master_username, master_password, force=force)


@implements("pool.eject")
def eject(ctx: Context, host: str) -> None:
    """The host loses its disks, and is a pool of its own soon after this has answered."""
    pool = ctx.pool
    if ctx.store.peek("host", host) is None:
        raise ApiError("HOST_OFFLINE", host)
    if host == pool.coordinator:
        raise ApiError("INTERNAL_ERROR", "Xapi_pool.Cannot_eject_master")
    if guests(ctx, host):
        raise ApiError("HOST_HAS_RESIDENT_VMS", host)
    pool.machines.reach(host)
    with ctx.operation("pool", pool.ref, "eject", check=check):
        uuid = leaving.put_out(pool, host)
    if pool.hardware is not None:
        hardware = pool.hardware
        pool.after_answer(lambda: hardware.put_out(uuid))
