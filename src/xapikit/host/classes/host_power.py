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
"""Class ``host``: enabling, power, and hosts that are gone (wire reference 7.4)."""

from __future__ import annotations

from collections.abc import Callable

from xapikit.host.classes.evacuation import guests
from xapikit.host.classes.host import check
from xapikit.host.context import Context
from xapikit.host.errors import ApiError
from xapikit.host.facts import pool_cpu_info
from xapikit.host.members import power
from xapikit.host.members.rows import remove_host
from xapikit.host.registry import implements


@implements("host.enable")
def enable(ctx: Context, host: str) -> None:
    row = ctx.store.get("host", host)
    ctx.pool.machines.reach(host)
    if row["pending_guidances"]:
        raise ApiError("HOST_PENDING_MANDATORY_GUIDANCE_NOT_EMPTY", host)
    if ctx.pool.machines.of(host).stays_disabled:
        ctx.pool.machines.change(host, stays_disabled=False)
    with ctx.store.transaction() as tx:
        tx.update("host", host, enabled=True)


@implements("host.disable")
def disable(ctx: Context, host: str, auto_enable: bool) -> None:
    """With ``auto_enable`` (the default) the next boot enables it again."""
    ctx.store.get("host", host)
    ctx.pool.machines.reach(host)
    if ctx.pool.machines.of(host).stays_disabled is auto_enable:
        ctx.pool.machines.change(host, stays_disabled=not auto_enable)
    with ctx.store.transaction() as tx:
        tx.update("host", host, enabled=False)


@implements("host.reboot", "host.shutdown")
def reboot(ctx: Context, host: str) -> None:
    """The answer comes before the host goes. One that goes in order is dead to the pool at once."""
    operation = ctx.method.partition(".")[2]
    with ctx.operation("host", host, operation, check=check):
        if guests(ctx, host):
            raise ApiError("HOST_HAS_RESIDENT_VMS", host)
        pool = ctx.pool
        pool.machines.reach(host)
        hardware = pool.hardware
        if hardware is None:
            raise ApiError("NOT_IMPLEMENTED", operation)
        act: Callable[[str], None] = hardware.power_cycle if operation == "reboot" else hardware.power_off
        power.dead(pool, host)
        pool.after_answer(lambda: act(host))


@implements("host.power_on")
def power_on(ctx: Context, host: str) -> None:
    row = ctx.store.get("host", host)
    if ctx.pool.machines.is_on(host):
        raise ApiError("HOST_IS_LIVE", host)
    if not row["power_on_mode"] or ctx.pool.hardware is None:
        raise ApiError("HOST_POWER_ON_NOT_CONFIGURED", host)
    ctx.pool.hardware.power_on(host)


@implements("host.set_power_on_mode")
def set_power_on_mode(ctx: Context, host: str, mode: str, config: dict[str, str]) -> None:
    with ctx.store.transaction() as tx:
        tx.update("host", host, power_on_mode=mode, power_on_config=config)


@implements("host.declare_dead")
def declare_dead(ctx: Context, host: str) -> None:
    """The administrator vouches for it: its VMs are Halted and can be started elsewhere."""
    _refuse_living(ctx, host)
    power.dead(ctx.pool, host)


@implements("host.destroy")
def destroy(ctx: Context, host: str) -> None:
    """Forget a host that is gone. Its local SRs stay, without a PBD."""
    _refuse_living(ctx, host)
    power.dead(ctx.pool, host)
    with ctx.store.transaction() as tx:
        remove_host(tx, host)
        tx.update("pool", ctx.pool.ref, cpu_info=pool_cpu_info(ctx.pool.settings.cpus, len(tx.all("host"))))
    ctx.pool.hosts.pop(host, None)


def _refuse_living(ctx: Context, host: str) -> None:
    ctx.store.get("host", host)
    if ctx.pool.machines.is_on(host):
        # it was asked, and answered: whether it is marked as live does not matter
        raise ApiError("HOST_IS_LIVE", host)
    if host == ctx.pool.coordinator:
        raise ApiError("HOST_CANNOT_DESTROY_SELF", host)
