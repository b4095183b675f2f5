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
"""Who is coordinator: handing over, and taking over when it is lost (wire reference 7.5)."""

from __future__ import annotations

from xapikit.host.classes.message import tell
from xapikit.host.classes.pool import check
from xapikit.host.context import Context
from xapikit.host.errors import ApiError
from xapikit.host.members import Standing
from xapikit.host.registry import implements
from xapikit.host.store import Transaction


@implements("pool.designate_new_master")
def designate_new_master(ctx: Context, host: str) -> None:
    """Hand over; all sessions end. Naming the current coordinator changes nothing."""
    ctx.store.get("host", host)
    if host == ctx.pool.coordinator:
        return
    ctx.pool.machines.reach(host)
    with ctx.operation("pool", ctx.pool.ref, "designate_new_master", check=check):
        with ctx.store.transaction() as tx:
            _become(ctx, tx, host)
        ctx.pool.machines.rally(host)
    ctx.pool.restart_toolstack()


def _become(ctx: Context, tx: Transaction, host: str) -> None:
    tx.update("pool", ctx.pool.ref, master=host)
    tell(tx, "POOL_MASTER_TRANSITION", "host", tx.get("host", host)["uuid"], "")


@implements("pool.emergency_transition_to_master")
def emergency_transition_to_master(ctx: Context) -> None:
    """Called on a member that lost its coordinator: it is the coordinator from now on, and restarts as such. The other
    members follow the lost one until ``pool.recover_slaves`` tells them."""
    pool = ctx.pool
    if pool.standing(ctx.host) is not Standing.EMERGENCY:
        raise ApiError("NOT_IN_EMERGENCY_MODE")
    if pool.away:
        raise ApiError(
            "OPERATION_NOT_ALLOWED", f"the database of the pool is in {pool.away}, whose server does not run"
        )
    old = pool.coordinator
    # first what is on the machines: if this is as far as it gets, they follow who is coordinator still
    pool.machines.strand(ctx.host, old)
    with ctx.store.transaction() as tx:
        _become(ctx, tx, ctx.host)
    pool.machines.change(ctx.host, follows="")
    pool.restart_toolstack()


@implements("pool.emergency_reset_master")
def emergency_reset_master(ctx: Context, master_address: str) -> None:
    """Called on a member: it follows the host at that address from now on, and stays in emergency mode as long as that
    is not the coordinator."""
    pool = ctx.pool
    if ctx.host == pool.coordinator or pool.away:
        raise ApiError("NOT_IN_EMERGENCY_MODE")
    names = {pool.hosts[pool.coordinator].address, *(pool.coordinator_address(https=tls) for tls in (False, True))}
    pool.machines.change(ctx.host, follows="" if master_address in names else master_address)
    if pool.hardware is not None:
        hardware, host = pool.hardware, ctx.host
        pool.after_answer(lambda: hardware.restart_toolstack_of(host))


@implements("pool.recover_slaves")
def recover_slaves(ctx: Context) -> list[str]:
    """Tell every host that answers whom to follow; returns them."""
    return ctx.pool.machines.rally(ctx.pool.coordinator)


@implements("pool.hello")
def hello(ctx: Context, host_uuid: str, host_address: str) -> str:
    """A member introduces itself; what it is answered is whether the pool knows it and can reach it."""
    host = ctx.store.by_uuid("host", host_uuid)
    if host is None:
        return "unknown_host"
    return "ok" if ctx.pool.machines.answers(host) else "cannot_talk_back"


@implements("pool.is_slave")
def is_slave(ctx: Context, host: str) -> bool:
    """Whether the host that serves the call is a member: the argument is ignored, as on a host."""
    return ctx.host != ctx.pool.coordinator


@implements("host.is_in_emergency_mode")
def is_in_emergency_mode(ctx: Context) -> bool:
    return ctx.pool.standing(ctx.host) is Standing.EMERGENCY
