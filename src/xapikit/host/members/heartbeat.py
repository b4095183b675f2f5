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
"""Notices the silence of hosts: one that is off for long enough is dead to the pool (``host_metrics.live`` false).

Its VMs stay as they are in the database until somebody declares it dead or resets them (wire reference 7.5).
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from xapikit.host.members.machines import Standing

if TYPE_CHECKING:
    from xapikit.host.pool import Pool

DEAD_SECONDS = 600.0
"""How long a host may be silent; the option ``host_dead_seconds`` sets another time."""


class Heartbeat:
    """A :class:`xapikit.host.pool.Part`: one thread that sleeps until a host has been silent for too long."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._patience = float(pool.settings.options.get("host_dead_seconds", DEAD_SECONDS))
        self._changed = threading.Event()
        self._stopped = False

    def start(self) -> None:
        threading.Thread(target=self._run, name="xapi-heartbeat", daemon=True).start()

    def stop(self, *, stop_guests: bool) -> None:
        self._stopped = True
        self._changed.set()

    def kick(self) -> None:
        """A machine went on or off: look again."""
        self._changed.set()

    def _run(self) -> None:
        while not self._stopped:
            self._changed.clear()
            left = self._look()
            self._changed.wait(left)

    def _look(self) -> float | None:
        """Mark what is dead by now; seconds until the next one is, None when all are on."""
        waits: list[float] = []
        pool = self._pool
        for ref, row in pool.store.all("host").items():
            metrics = pool.store.peek("host_metrics", row["metrics"])
            if metrics is None or not metrics["live"] or pool.standing(ref) is not Standing.OFF:
                continue
            left = self._patience - pool.machines.off_for(ref)
            if left > 0:
                waits.append(left)
            elif pool.standing(pool.coordinator) is not Standing.OFF:  # it is the coordinator that says so
                with pool.store.transaction() as tx:
                    if tx.peek("host_metrics", row["metrics"]) is not None:
                        tx.update("host_metrics", row["metrics"], live=False)
        return min(waits, default=None)
