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
"""Starting, stopping, rebooting VMs: steps that calls and ends of guests share."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from xapikit.host.classes.vm import transitions
from xapikit.host.context import Context
from xapikit.host.domains.model import Domain, DomainFailed
from xapikit.host.domains.service import refused
from xapikit.host.domains.waiting import Waiter
from xapikit.host.errors import ApiError
from xapikit.host.lifecycle import HALTED, PAUSED, RUNNING
from xapikit.host.store import Transaction

if TYPE_CHECKING:
    from xapikit.host.pool import Pool

LOG = logging.getLogger(__name__)


def boot(
    pool: Pool, vm: str, host: str, *, paused: bool, event: str = "started", before: tuple[str, ...] = (HALTED,)
) -> None:
    """Build the domain of a VM on a host and let it run; it ends Halted when that fails.

    ``event`` names the message. The host was chosen and its memory is reserved (``scheduled_to_be_resident_on``).
    ``before`` are the states in which the VM must still be when its domain is there.
    """
    domain: Domain | None = None
    try:
        with pool.store.transaction() as tx:
            transitions.about_to_start(tx, vm, host)
        domain = pool.domains.build(vm, host)
        with pool.store.transaction() as tx:
            transitions.require_state(tx, vm, *before)
            transitions.started(tx, pool, vm, host, domain.config.domid, paused=True)
        if not paused:
            let_run(pool, vm, domain)
        with pool.store.transaction() as tx:
            announce_on(tx, event, vm, host)
    except BaseException:
        undo(pool, vm, domain)
        raise


def undo(pool: Pool, vm: str, domain: Domain | None) -> None:
    """Make a VM Halted whose start failed, unless somebody else went on with it."""
    now = pool.domains.peek(vm)
    if now is domain:
        stop(pool, vm)
    elif domain is not None:
        pool.domains.end(vm, only=domain)


def let_run(pool: Pool, vm: str, domain: Domain) -> None:
    """Unpause a built domain."""
    with alive(pool, vm):
        pool.domains.let_run(domain)
    with pool.store.transaction() as tx:
        transitions.require_state(tx, vm, PAUSED, domid=domain.config.domid)
        tx.update("VM", vm, power_state=RUNNING)


@contextmanager
def alive(pool: Pool, vm: str) -> Iterator[None]:
    """Turns a failed order to the domain of a VM into what a client is told: it is not running any more, or why it
    does not obey."""
    before = pool.domains.peek(vm)
    try:
        yield
    except DomainFailed as error:
        row = pool.store.get("VM", vm)
        state = row["power_state"] if row["power_state"] not in (RUNNING, PAUSED) else HALTED
        now = pool.domains.peek(vm)
        # a hard shutdown or reboot is ending it, or has
        if state != HALTED or now is None or now is not before or not now.is_alive():
            raise ApiError("VM_BAD_POWER_STATE", vm, "running", state.lower()) from error
        raise refused(error) from error


@contextmanager
def asked(ctx: Context, vm: str, reason: str, seconds: float) -> Iterator[Waiter]:
    """Ask the guest of a VM for ``poweroff``, ``reboot`` or ``suspend``. The block begins when the guest has
    acknowledged it, or has ended. Raises VM_FAILED_SHUTDOWN_ACKNOWLEDGMENT, or that of a suspend, after ``seconds``."""
    with alive(ctx.pool, vm), ctx.pool.domains.waiting(vm) as waiter:
        ctx.task.on_cancel(lambda: waiter.tell(None))
        with ctx.pool.guests.asked(ctx.pool.domains.get(vm), reason, waiter.acknowledge):
            if not waiter.wait_acknowledged(seconds):
                kind = "SUSPEND" if reason == "suspend" else "SHUTDOWN"
                raise ApiError(f"VM_FAILED_{kind}_ACKNOWLEDGMENT", vm)
            yield waiter


def announce_on(tx: Transaction, event: str, vm: str, host: str) -> None:
    transitions.announce(tx, event, vm, host=transitions.host_text(tx, host))


def stop(pool: Pool, vm: str, event: str | None = None) -> None:
    """End the domain of a VM, whatever it does, give its disks back and make it Halted."""
    pool.domains.end(vm)
    with pool.store.transaction() as tx:
        if tx.peek("VM", vm) is None:
            return
        transitions.halted(tx, vm)
        if event is not None:
            transitions.announce(tx, event, vm)
    if pool.domains.peek(vm) is not None:  # one that was being built meanwhile: its builder finds the VM Halted
        pool.domains.end(vm)


def reboot(pool: Pool, vm: str, event: str) -> None:
    """Build a new domain on the same host; the disks stay attached meanwhile."""
    host = pool.store.get("VM", vm)["resident_on"]
    pool.domains.end(vm, keep_disks=True)
    boot(pool, vm, host, paused=False, event=event, before=(RUNNING, PAUSED))


def image_file(pool: Pool, vm: str) -> Path:
    """Where the state of a guest lies for the moment between its domain and its suspend VDI."""
    directory = pool.state / "run"
    directory.mkdir(parents=True, exist_ok=True)
    return directory / f"suspend-{pool.store.get('VM', vm)['uuid']}"


def suspend_sr(pool: Pool, vm: str) -> str:
    """The SR for a suspend image. Raises VM_NO_SUSPEND_SR."""
    row = pool.store.get("VM", vm)
    host = pool.store.peek("host", row["resident_on"])
    for sr in (row["suspend_SR"], pool.row["suspend_image_SR"], host["suspend_image_sr"] if host is not None else ""):
        if pool.store.peek("SR", sr) is not None:
            return str(sr)
    raise ApiError("VM_NO_SUSPEND_SR", vm)
