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
"""The power calls of VMs (wire reference 3.4 and 3.5; recorded in observed/vm_lifecycle and vm_errors)."""

from __future__ import annotations

from xapikit.host.classes.vm import steps, transitions
from xapikit.host.classes.vm.facts import check
from xapikit.host.classes.vm.placement import check_configuration, placed
from xapikit.host.classes.vm.suspending import resume_from_image, suspend_to_image
from xapikit.host.context import Context
from xapikit.host.domains.model import Ended
from xapikit.host.errors import ApiError
from xapikit.host.lifecycle import HALTED, PAUSED, RUNNING
from xapikit.host.registry import implements
from xapikit.model import NULL_REF

# start ---------------------------------------------------------------------------------------------------------------


@implements("VM.start")
def start(ctx: Context, vm: str, start_paused: bool, force: bool) -> None:
    with ctx.operation("VM", vm, "start", check=check):
        _boot(ctx, vm, None, paused=start_paused)


@implements("VM.start_on")
def start_on(ctx: Context, vm: str, host: str, start_paused: bool, force: bool) -> None:
    _existing(ctx, vm, host)
    with ctx.operation("VM", vm, "start_on", check=check):
        _boot(ctx, vm, host, paused=start_paused)


@implements("VM.resume")
def resume(ctx: Context, vm: str, start_paused: bool, force: bool) -> None:
    with ctx.operation("VM", vm, "resume", check=check):
        _resume(ctx, vm, None, paused=start_paused)


@implements("VM.resume_on")
def resume_on(ctx: Context, vm: str, host: str, start_paused: bool, force: bool) -> None:
    _existing(ctx, vm, host)
    with ctx.operation("VM", vm, "resume_on", check=check):
        _resume(ctx, vm, host, paused=start_paused)


def _existing(ctx: Context, vm: str, host: str) -> None:
    ctx.store.get("VM", vm)
    ctx.store.get("host", host)


def _boot(ctx: Context, vm: str, host: str | None, *, paused: bool) -> None:
    check_configuration(vm, ctx.store.get("VM", vm))
    with placed(ctx, vm, host, "vm_start") as where:
        steps.boot(ctx.pool, vm, where, paused=paused)


def _resume(ctx: Context, vm: str, host: str | None, *, paused: bool) -> None:
    check_configuration(vm, ctx.store.get("VM", vm))
    with placed(ctx, vm, host, "vm_resume") as where:
        resume_from_image(ctx, vm, where, paused=paused)


# pause ---------------------------------------------------------------------------------------------------------------


@implements("VM.pause")
def pause(ctx: Context, vm: str) -> None:
    with ctx.operation("VM", vm, "pause", check=check):
        with steps.alive(ctx.pool, vm):
            ctx.pool.domains.get(vm).pause()
        _changed(ctx, vm, RUNNING, PAUSED, "paused")


@implements("VM.unpause")
def unpause(ctx: Context, vm: str) -> None:
    with ctx.operation("VM", vm, "unpause", check=check):
        with steps.alive(ctx.pool, vm):
            ctx.pool.domains.let_run(ctx.pool.domains.get(vm))
        _changed(ctx, vm, PAUSED, RUNNING, "unpaused")


def _changed(ctx: Context, vm: str, before: str, state: str, event: str) -> None:
    with ctx.store.transaction() as tx:
        transitions.require_state(tx, vm, before)
        tx.update("VM", vm, power_state=state)
        transitions.announce(tx, event, vm)


# stop and reboot -----------------------------------------------------------------------------------------------------


@implements("VM.clean_shutdown")
def clean_shutdown(ctx: Context, vm: str) -> None:
    with ctx.operation("VM", vm, "clean_shutdown", check=check):
        _await_end(ctx, vm, "poweroff", ctx.pool.guests.shutdown_seconds)
        steps.stop(ctx.pool, vm, "shutdown")


@implements("VM.clean_reboot")
def clean_reboot(ctx: Context, vm: str) -> None:
    with ctx.operation("VM", vm, "clean_reboot", check=check):
        _await_end(ctx, vm, "reboot", ctx.pool.guests.shutdown_seconds)
        steps.reboot(ctx.pool, vm, "rebooted cleanly")


@implements("VM.hard_shutdown")
def hard_shutdown(ctx: Context, vm: str) -> None:
    with ctx.operation("VM", vm, "hard_shutdown", check=check):
        _hard_shutdown(ctx, vm)


@implements("VM.hard_reboot")
def hard_reboot(ctx: Context, vm: str) -> None:
    with ctx.operation("VM", vm, "hard_reboot", check=check):
        steps.reboot(ctx.pool, vm, "rebooted forcibly")


@implements("VM.shutdown")
def shutdown(ctx: Context, vm: str) -> None:
    """Ask the guest, within its ``shutdown_delay``; end it when it does not obey or cannot be asked."""
    with ctx.operation("VM", vm, "shutdown", check=check):
        row = ctx.store.get("VM", vm)
        if row["power_state"] == RUNNING:
            try:
                _await_end(ctx, vm, "poweroff", float(row["shutdown_delay"]) or ctx.pool.guests.shutdown_seconds)
            except ApiError as error:
                if error.code not in ("VM_SHUTDOWN_TIMEOUT", "VM_FAILED_SHUTDOWN_ACKNOWLEDGMENT", "VM_LACKS_FEATURE"):
                    raise
            else:
                steps.stop(ctx.pool, vm, "shutdown")
                return
        _hard_shutdown(ctx, vm)


def _hard_shutdown(ctx: Context, vm: str) -> None:
    image = ctx.store.get("VM", vm)["suspend_VDI"]
    steps.stop(ctx.pool, vm, "shutdown forcibly")
    if image != NULL_REF:
        ctx.pool.domains.discard_suspend_image(image)


def _await_end(ctx: Context, vm: str, reason: str, seconds: float) -> Ended:
    """Ask the guest to power off or to reboot and wait for its end. Raises VM_SHUTDOWN_TIMEOUT, TASK_CANCELLED (also
    when a hard shutdown came first), VM_FAILED_SHUTDOWN_ACKNOWLEDGMENT."""
    with steps.asked(ctx, vm, reason, min(seconds, ctx.pool.guests.acknowledgement_seconds)) as waiter:
        try:
            ended: Ended | None = waiter.wait(seconds)
        except TimeoutError:
            text = f"{seconds:g}"
            # a whole number is told with a point and nothing behind it
            raise ApiError("VM_SHUTDOWN_TIMEOUT", vm, text if "." in text else f"{text}.") from None
    if ended is None:
        raise ApiError("TASK_CANCELLED", ctx.task.ref)
    return ended


# suspend -------------------------------------------------------------------------------------------------------------


@implements("VM.suspend")
def suspend(ctx: Context, vm: str) -> None:
    with ctx.operation("VM", vm, "suspend", check=check):
        suspend_to_image(ctx, vm)


# repair --------------------------------------------------------------------------------------------------------------


@implements("VM.power_state_reset")
def power_state_reset(ctx: Context, vm: str) -> None:
    """Make the record say Halted; refused where that would be a lie."""
    row = ctx.store.get("VM", vm)
    if row["is_control_domain"]:
        raise ApiError("CANNOT_RESET_CONTROL_DOMAIN", vm)
    if row["power_state"] in (RUNNING, PAUSED) and ctx.pool.domains.peek(vm) is not None:
        host = ctx.store.peek("host", row["resident_on"])
        metrics = ctx.store.peek("host_metrics", host["metrics"]) if host is not None else None
        if metrics is not None and metrics["live"]:
            raise ApiError("HOST_IS_LIVE", row["resident_on"])
        raise ApiError("DOMAIN_EXISTS", vm)
    if row["power_state"] != HALTED:
        steps.stop(ctx.pool, vm)
