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
"""Power on and off, reboot, pause. Each one can be repeated, and returns when the cache shows its effect."""

from __future__ import annotations

import logging
import threading
import time
from typing import Final

from nova import exception

from nova_xapi.hosts.connection import HostConnection
from nova_xapi.ops import calls
from nova_xapi.ops.ports import start
from nova_xapi.ops.steps import Operation
from nova_xapi.servers import Servers, in_state
from xapikit.client import EventCache, TaskFuture
from xapikit.client import errors as xapi

LOG = logging.getLogger(__name__)

SOFT_REBOOT_TIMEOUT: Final = 60.0
"""Seconds a guest gets for a clean reboot before it is reset, as for a clean shutdown by default in Nova."""


class Power:
    """For one service. All raise InstanceNotFound for a server without a VM, HypervisorFailed, VirtDriverNotReady."""

    def __init__(self, conn: HostConnection, servers: Servers) -> None:
        self._conn = conn
        self._servers = servers

    def on(self, instance: str) -> None:
        """Start, resume from suspension or unpause: whatever makes it run."""
        vm, _ = self._servers.await_get(instance)
        with Operation(self._conn, "power on", instance) as operation:
            self._make_run(operation, vm)

    def off(self, instance: str, timeout: float, retry_interval: float) -> None:
        """Ask the guest to shut down, each ``retry_interval`` seconds again, for ``timeout`` seconds; then hard.

        ``timeout`` 0: hard at once.
        """
        vm, _ = self._servers.await_get(instance)
        with Operation(self._conn, "power off", instance) as operation:
            if timeout > 0 and self._shut_down(operation, vm, timeout, retry_interval):
                return
            with operation.step("hard shutdown"):
                calls.change_power(self._conn, "VM.hard_shutdown", vm, reached=("halted",))
                self._await(vm, "Halted")

    def reboot(self, instance: str, hard: bool) -> None:
        """Reboot; soft falls back to hard when the guest does not take part. A guest that is down is started.

        What a suspended guest had in memory is given up, as by a hard reboot of a running one.
        """
        vm, record = self._servers.await_get(instance)
        state = record["power_state"]
        with Operation(self._conn, "reboot", instance) as operation:
            if state == "Running" and not hard and self._reboot_cleanly(operation, vm):
                return
            if state in ("Running", "Paused") and self._reset(operation, vm):
                return
            # also what went down by itself meanwhile
            calls.change_power(self._conn, "VM.hard_shutdown", vm, reached=("halted",))
            self._await(vm, "Halted")
            self._make_run(operation, vm)

    def pause(self, instance: str) -> None:
        vm, _ = self._servers.await_get(instance)
        with Operation(self._conn, "pause", instance):
            calls.change_power(self._conn, "VM.pause", vm, reached=("paused",))
            self._await(vm, "Paused")

    def unpause(self, instance: str) -> None:
        vm, _ = self._servers.await_get(instance)
        with Operation(self._conn, "unpause", instance):
            calls.change_power(self._conn, "VM.unpause", vm, reached=("running",))
            self._await(vm, "Running")

    # ---------------------------------------------------------------------------------------------- parts

    def _make_run(self, operation: Operation, vm: str) -> None:
        conn = self._conn
        state = conn.call("VM.get_power_state", vm)
        with operation.step("start"):
            if state == "Paused":
                calls.change_power(conn, "VM.unpause", vm, reached=("running",))
            elif state == "Suspended":
                calls.change_power(conn, "VM.resume_on", vm, conn.host_ref, False, False, reached=("running",))
            elif state != "Running":
                start(operation, vm, paused=False)
            self._await(vm, "Running")

    def _shut_down(self, operation: Operation, vm: str, timeout: float, retry_interval: float) -> bool:
        """Whether the guest went down by itself in time."""
        conn = self._conn
        deadline = time.monotonic() + timeout
        interval = retry_interval if retry_interval > 0 else timeout
        while (left := deadline - time.monotonic()) > 0:
            if in_state(conn.cache, vm, "Halted"):
                return True
            with operation.step("clean shutdown"):
                try:
                    task = conn.client.start("VM.clean_shutdown", vm)
                except xapi.VmBadPowerState as error:
                    return error.actual.lower() == "halted"
                except xapi.XapiError as error:
                    LOG.info("server %s cannot be asked to shut down: %s", operation.instance, error)
                    return False
                if self._halts(vm, task, min(left, interval)):
                    _outcome(task)
                    return True
                failure = _outcome(task) if task.done else None
                if failure is not None:
                    LOG.info("server %s does not shut down: %s", operation.instance, failure)
                    # a guest that cannot be asked will not be able to a moment later
                    return False
                task.cancel()
        return False

    def _reset(self, operation: Operation, vm: str) -> bool:
        """Hard reboot; False when the guest is in no state for one."""
        before = self._domain(vm)
        with operation.step("hard reboot"):
            try:
                self._conn.call("VM.hard_reboot", vm, repeatable=True)
            except xapi.VmBadPowerState as error:
                LOG.info("server %s is %s, which is nothing to reboot", operation.instance, error.actual)
                return False
            self._await_new_domain(vm, before)
        return True

    def _reboot_cleanly(self, operation: Operation, vm: str) -> bool:
        conn = self._conn
        before = self._domain(vm)
        with operation.step("clean reboot"):
            try:
                task = conn.client.start("VM.clean_reboot", vm)
                task.result(SOFT_REBOOT_TIMEOUT)
            except xapi.WaitTimeout:
                LOG.info("server %s does not reboot by itself within %g s", operation.instance, SOFT_REBOOT_TIMEOUT)
                task.cancel()
                return False
            except (xapi.XapiError, xapi.TaskFailed, xapi.MaybeSent) as error:
                LOG.info("server %s does not reboot by itself: %s", operation.instance, error)
                return False
            self._await_new_domain(vm, before)
        return True

    def _halts(self, vm: str, task: TaskFuture, seconds: float) -> bool:
        """Wait for the guest to go down, or for the request to fail; whether it went down."""
        cache = self._conn.cache
        news = threading.Event()
        task.add_done_callback(lambda _: news.set())
        unsubscribe = cache.subscribe(lambda event: news.set() if event.ref == vm else None)
        deadline = time.monotonic() + seconds
        try:
            while not in_state(cache, vm, "Halted"):
                left = deadline - time.monotonic()
                if left <= 0 or _failed(task):
                    return False
                news.wait(left)
                news.clear()
            return True
        finally:
            unsubscribe()

    def _domain(self, vm: str) -> int:
        record = self._conn.cache.get("VM", vm)
        return int(record["domid"]) if record else -1

    def _await(self, vm: str, state: str) -> None:
        def there(cache: EventCache) -> bool:
            if cache.get("VM", vm) is None and cache.in_step:
                raise exception.InstanceNotFound(instance_id=vm)
            return in_state(cache, vm, state)

        self._conn.wait(there, self._conn.settings.running_timeout)

    def _await_new_domain(self, vm: str, before: int) -> None:
        """A reboot ends with the guest running in another domain."""

        def there(cache: EventCache) -> bool:
            return in_state(cache, vm, "Running") and self._domain(vm) not in (before, -1)

        self._conn.wait(there, self._conn.settings.running_timeout)


def _failed(task: TaskFuture) -> bool:
    return task.status in ("failure", "cancelled", "lost")


def _outcome(task: TaskFuture) -> Exception | None:
    """What an ended task failed with, None for success. Reading it removes the task from the server."""
    try:
        task.result(0)
    except xapi.ClientError as error:
        return error
    return None
