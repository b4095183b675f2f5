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
"""What going off and booting does to a host's guests and rows."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from xapikit.host.classes.vm import ends, steps
from xapikit.host.lifecycle import PAUSED, RUNNING
from xapikit.wire import DateTime

if TYPE_CHECKING:
    from xapikit.host.pool import Pool
    from xapikit.host.store import Row, Transaction

LOG = logging.getLogger(__name__)


def guests(pool: Pool, host: str) -> list[str]:
    """VMs that the database has on a host, its control domain left out. Raises HANDLE_INVALID."""
    row = pool.store.get("host", host)
    return [ref for ref in row["resident_VMs"] if ref != row["control_domain"]]


def lost(pool: Pool, host: str) -> None:
    """A host went off without a word: its guests are gone, the database still has them running."""
    pool.machines.change(host, on=False)
    pool.nbd.cut(host)
    for vm in guests(pool, host):
        pool.domains.end(vm)
    pool.heartbeat.kick()


def boot(pool: Pool, host: str) -> None:
    """A host comes back: VMs that it had are not running, whatever the database thought; it is enabled again unless
    it was disabled for longer (``host.disable`` with ``auto_enable`` false)."""
    for vm in guests(pool, host):
        if pool.store.get("VM", vm)["power_state"] in (RUNNING, PAUSED) and pool.domains.peek(vm) is None:
            ends.lost(pool.domains, vm)
    pool.machines.change(host, on=True)
    with pool.store.transaction() as tx:
        row = tx.get("host", host)
        _show_live(tx, row, live=True)
        config = {
            **row["other_config"],
            "boot_time": f"{int(time.time())}.",
            "agent_start_time": f"{int(time.time())}.",
        }
        enabled = row["enabled"] or not pool.machines.of(host).stays_disabled
        tx.update("host", host, enabled=enabled, other_config=config)
    pool.heartbeat.kick()


def settle(pool: Pool) -> None:
    """At a start of the server: a host that is on lives, whatever was noted before."""
    with pool.store.transaction() as tx:
        for host, row in tx.all("host").items():
            metrics = tx.peek("host_metrics", row["metrics"])
            if metrics is not None and not metrics["live"] and pool.machines.is_on(host):
                _show_live(tx, row, live=True)


def dead(pool: Pool, host: str) -> None:
    """The pool takes it that a host is gone: its VMs are Halted now."""
    with pool.store.transaction() as tx:
        _show_live(tx, tx.get("host", host), live=False)
    for vm in guests(pool, host):
        steps.stop(pool, vm)


def _show_live(tx: Transaction, host: Row, *, live: bool) -> None:
    if tx.peek("host_metrics", host["metrics"]) is not None:
        tx.update("host_metrics", host["metrics"], live=live, last_updated=DateTime.now())
