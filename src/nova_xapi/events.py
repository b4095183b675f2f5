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
"""Power states told to Nova at once, as life-cycle events; Nova need not poll for them.

STOPPED is held back: Nova stops a server for good when it hears of it. When the guest runs again, is gone, or an
operation of ours is at work before the delay is over, the news is dropped.
"""

from __future__ import annotations

import heapq
import itertools
import logging
import threading
import time
from collections.abc import Callable
from typing import Any, Final

from nova.virt import event as virt_event

from nova_xapi.hosts.connection import HostConnection
from nova_xapi.marks import INSTANCE
from nova_xapi.servers import Servers
from xapikit.client import CacheEvent, Record

LOG = logging.getLogger(__name__)

EXPLAINING: Final = frozenset(
    ("clean_reboot", "hard_reboot", "pool_migrate", "migrate_send", "start", "start_on", "resume", "resume_on")
)
"""Operations on a VM that explain why it is not running at the moment."""


class PowerEvents:
    """Watches the cache of one service; events leave from a thread of its own, since Nova's handler makes calls."""

    def __init__(self, conn: HostConnection, servers: Servers, emit: Callable[[Any], None]) -> None:
        """``emit``: ``ComputeDriver.emit_event``."""
        self._conn = conn
        self._servers = servers
        self._emit = emit
        self._condition = threading.Condition()
        self._queue: list[tuple[float, int, str, str, int]] = []
        self._numbers = itertools.count()
        self._stopping = False
        self._unsubscribe: Callable[[], None] = lambda: None
        self._thread = threading.Thread(target=self._loop, name="xapi-power-events", daemon=True)

    def start(self) -> None:
        self._unsubscribe = self._conn.cache.subscribe(self._on_event)
        self._thread.start()

    def stop(self) -> None:
        self._unsubscribe()
        with self._condition:
            self._stopping = True
            self._condition.notify()

    def _on_event(self, event: CacheEvent) -> None:
        if event.cls != "VM" or event.operation != "mod" or event.old is None or event.new is None:
            return
        before, after = event.old["power_state"], event.new["power_state"]
        if before == after or not self._servers.is_mine(event.new):
            return
        transition = transition_of(before, after)
        delay = self._conn.settings.stopped_event_delay if transition == virt_event.EVENT_LIFECYCLE_STOPPED else 0.0
        with self._condition:
            entry = (time.monotonic() + delay, next(self._numbers), event.ref, after, transition)
            heapq.heappush(self._queue, entry)
            self._condition.notify()

    def _loop(self) -> None:
        while True:
            with self._condition:
                while not self._stopping and (not self._queue or self._queue[0][0] > time.monotonic()):
                    self._condition.wait(self._queue[0][0] - time.monotonic() if self._queue else None)
                if self._stopping:
                    return
                _, _, vm, state, transition = heapq.heappop(self._queue)
            try:
                self._tell(vm, state, transition)
            except Exception:
                LOG.exception("power event of VM %s was not delivered", vm)

    def _tell(self, vm: str, state: str, transition: int) -> None:
        record = self._conn.cache.get("VM", vm)
        if record is None or record["power_state"] != state or not self._servers.is_mine(record):
            return
        instance = record["other_config"][INSTANCE]
        if transition == virt_event.EVENT_LIFECYCLE_STOPPED and self._explained(instance, record):
            LOG.debug("server %s stopped, which an operation explains", instance)
            return
        LOG.info("server %s is %s", instance, state)
        self._emit(virt_event.LifecycleEvent(instance, transition))

    def _explained(self, instance: str, record: Record) -> bool:
        return self._conn.running.busy(instance) or bool(EXPLAINING & set(record["current_operations"].values()))


def transition_of(before: str, after: str) -> int:
    """Nova's name for a change between two power states of XenAPI."""
    if after == "Running":
        resumed = before in ("Paused", "Suspended")
        return int(virt_event.EVENT_LIFECYCLE_RESUMED if resumed else virt_event.EVENT_LIFECYCLE_STARTED)
    return int(
        {
            "Paused": virt_event.EVENT_LIFECYCLE_PAUSED,
            "Suspended": virt_event.EVENT_LIFECYCLE_SUSPENDED,
        }.get(after, virt_event.EVENT_LIFECYCLE_STOPPED)
    )
