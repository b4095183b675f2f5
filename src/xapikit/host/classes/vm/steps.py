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
from pathlib import Path
from typing import TYPE_CHECKING

from xapikit.host.classes.vm import transitions
from xapikit.host.domains.model import DomainFailed
from xapikit.host.domains.service import refused
from xapikit.host.errors import ApiError
from xapikit.host.lifecycle import RUNNING
from xapikit.host.store import Transaction

if TYPE_CHECKING:
    from xapikit.host.pool import Pool

LOG = logging.getLogger(__name__)


def boot(pool: Pool, vm: str, host: str, *, paused: bool, event: str = "started") -> None:
    """Build the domain of a VM on a host and let it run; it ends Halted when that fails.

    ``event`` names the message. The host was chosen and its memory is reserved (``scheduled_to_be_resident_on``).
    """
    with pool.store.transaction() as tx:
        transitions.about_to_start(tx, vm, host)
    try:
        domain = pool.domains.build(vm, host)
        with pool.store.transaction() as tx:
            transitions.started(tx, pool, vm, host, domain.config.domid, paused=True)
        if not paused:
            let_run(pool, vm)
        with pool.store.transaction() as tx:
            announce_on(tx, event, vm, host)
    except BaseException:
        stop(pool, vm)
        raise


def let_run(pool: Pool, vm: str) -> None:
    """Unpause a built domain."""
    try:
        pool.domains.get(vm).unpause()
    except DomainFailed as error:
        raise refused(error) from error
    with pool.store.transaction() as tx:
        tx.update("VM", vm, power_state=RUNNING)


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


def reboot(pool: Pool, vm: str, event: str) -> None:
    """Build a new domain on the same host; the disks stay attached meanwhile."""
    host = pool.store.get("VM", vm)["resident_on"]
    pool.domains.end(vm, keep_disks=True)
    boot(pool, vm, host, paused=False, event=event)


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
