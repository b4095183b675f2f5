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
"""What follows when a guest ends by itself: its ``actions_after_*``, messages, no endless crash loops."""

from __future__ import annotations

import logging
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from xapikit.host.classes.vm import steps, transitions
from xapikit.host.context import Context, TaskHandle
from xapikit.host.domains.model import End, Ended
from xapikit.host.errors import ApiError
from xapikit.host.lifecycle import HALTED, PAUSED, RUNNING
from xapikit.host.store import Transaction
from xapikit.model import NULL_REF

if TYPE_CHECKING:
    from xapikit.host.domains.service import Domains
    from xapikit.host.pool import Pool

LOG = logging.getLogger(__name__)

CRASH_LOOP_SECONDS = 120
"""A VM that crashes within this time of its start is not started again."""
_RESTARTS = ("restart", "coredump_and_restart", "rename_restart")


def install(domains: Domains) -> None:
    """Have ends of guests on a pool followed."""
    pool = domains.pool
    domains.on_guest_end = lambda vm, ended: guest_ended(pool, vm, ended)


def lost(domains: Domains, vm: str) -> None:
    """A VM that should run has no guest any more: it ended while the server was away. As after a crash of a host it
    stays down, whatever its ``actions_after_crash``."""
    row = domains.store.get("VM", vm)
    LOG.warning("VM %s (%s) was gone when the toolstack started", row["uuid"], row["name_label"])
    with domains.store.transaction() as tx:
        transitions.announce(tx, "crashed", vm)
    steps.stop(domains.pool, vm)


def switched_off(pool: Pool, vm: str) -> None:
    """The whole host ends, and its guests with it."""
    try:
        steps.stop(pool, vm, "shutdown forcibly")
    except Exception:
        LOG.exception("VM %s was not stopped in order", vm)


def tidy(pool: Pool) -> None:
    """Undo what operations left that ended with an earlier server: memory that was reserved, devices of VMs that
    never came to run, memory images on their way."""
    with pool.store.transaction() as tx:
        for vm, row in tx.all("VM").items():
            tx.update("VM", vm, scheduled_to_be_resident_on=NULL_REF)
            if row["power_state"] == HALTED and not row["is_control_domain"]:
                for class_name, field in (("VBD", "VBDs"), ("VIF", "VIFs")):
                    for ref in row[field]:
                        tx.update(class_name, ref, currently_attached=False)
    for file in (pool.state / "run").glob("suspend-*"):
        file.unlink(missing_ok=True)


def guest_ended(pool: Pool, vm: str, ended: Ended) -> None:
    """Do what the VM wants done. Other operations on it are waited for; one that ends it first wins."""
    before = pool.store.peek("VM", vm)
    if before is None:
        return
    domid = before["domid"]
    ctx = Context(pool, NULL_REF, TaskHandle(pool.store), pool.coordinator)
    operation = "clean_reboot" if ended.end is End.REBOOTED else "hard_shutdown"
    try:
        with ctx.operation("VM", vm, operation, check=_alone):
            row = pool.store.get("VM", vm)
            if row["domid"] == domid and row["power_state"] in (RUNNING, PAUSED):
                _follow(pool, vm, ended)
    except ApiError as error:
        LOG.error("VM %s ended (%s) and what should follow failed: %s", before["uuid"], ended.end.value, error)


def _alone(tx: Transaction, vm: str, operation: str) -> None:
    for ref, running in tx.get("VM", vm)["current_operations"].items():
        raise ApiError("OTHER_OPERATION_IN_PROGRESS", "VM", vm, running, ref)


def _follow(pool: Pool, vm: str, ended: Ended) -> None:
    row = pool.store.get("VM", vm)
    if ended.end is End.HALTED:
        again = row["actions_after_shutdown"] == "restart"
        if again:
            steps.reboot(pool, vm, "rebooted cleanly")
        else:
            steps.stop(pool, vm, "shutdown")
    elif ended.end is End.REBOOTED:
        if row["actions_after_reboot"] == "restart":
            steps.reboot(pool, vm, "rebooted cleanly")
        else:
            steps.stop(pool, vm, "shutdown")
    else:
        LOG.warning("VM %s (%s) crashed: %s", row["uuid"], row["name_label"], ended.detail)
        with pool.store.transaction() as tx:
            transitions.announce(tx, "crashed", vm)
        if row["actions_after_crash"] in _RESTARTS and not _just_started(pool, vm):
            steps.reboot(pool, vm, "rebooted forcibly")
        else:
            steps.stop(pool, vm)


def _just_started(pool: Pool, vm: str) -> bool:
    metrics = pool.store.peek("VM_metrics", pool.store.get("VM", vm)["metrics"])
    if metrics is None:
        return True
    started: datetime = metrics["start_time"].to_datetime()
    return (datetime.now(timezone.utc) - started).total_seconds() < CRASH_LOOP_SECONDS
