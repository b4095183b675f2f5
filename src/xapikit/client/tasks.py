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
"""Tasks as futures, told by an event stream of tasks alone (which the server does not delay for batching).

The stream runs only while somebody waits for a task: on a busy pool every call of every client is a task.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

from xapikit.client.caller import Caller
from xapikit.client.deadline import Deadline
from xapikit.client.errors import (
    ClientClosed,
    ClientError,
    HandleInvalid,
    MaybeSent,
    TaskFailed,
    TaskResultLost,
    WaitTimeout,
    xapi_error,
)
from xapikit.client.feed import Batch, EventFeed
from xapikit.client.methods import traits
from xapikit.client.secret import LOG
from xapikit.model import Type
from xapikit.wire import CoercionError, MalformedResponse, coerce, xmlrpc

_ENDED: Final = frozenset(("success", "failure", "cancelled"))
CLEANUP_TIMEOUT: Final = 30.0


def read_result(text: str, type_: Type | None) -> Any:
    """The value in ``task.result``: an XML-RPC value, on some servers and for some calls bare text.

    Raises :class:`~xapikit.wire.MalformedResponse` or :class:`~xapikit.wire.CoercionError`.
    """
    raw = xmlrpc.decode_fragment(text) if text.startswith("<value") else text
    if type_ is None:
        return raw if raw != "" else None
    return coerce(type_, raw)


class TaskFuture:
    """The outcome of a task. Safe to use from several threads."""

    def __init__(self, watcher: TaskWatcher, ref: str, method: str, cleanup: bool, since: int) -> None:
        self.ref = ref
        self.method = method
        self.since = since
        self._watcher = watcher
        self._cleanup = cleanup
        self._record: Mapping[str, Any] = {}
        self._gone = False
        self._callbacks: list[Callable[[TaskFuture], None]] = []

    def __repr__(self) -> str:
        return f"<TaskFuture {self.method or self.ref}: {self.status} {self.progress:.0%}>"

    @property
    def status(self) -> str:
        """pending, success, failure, cancelling, cancelled; ``lost`` when the task vanished before its end was seen."""
        status: str = self._record.get("status", "pending")
        return "lost" if self._gone and status not in _ENDED else status

    @property
    def progress(self) -> float:
        """0 to 1, as the server last told it."""
        return float(self._record.get("progress", 0.0))

    @property
    def done(self) -> bool:
        return self._gone or self._record.get("status") in _ENDED

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for the end, whatever it is. False when it did not come in ``timeout`` seconds."""
        return self._watcher.wait(self, Deadline(timeout))

    def result(self, timeout: float | None = None) -> Any:
        """The task's result, typed as the call declares it; None for void.

        Raises the :class:`~xapikit.client.errors.XapiError` that the task ended with, :class:`TaskResultLost`,
        :class:`TaskFailed`, or :class:`WaitTimeout` (the task goes on; the result can be asked for again).
        A task that has ended is destroyed on the server, one that is pending is not.
        """
        if not self.wait(timeout):
            raise WaitTimeout(f"{self.method}: task is {self.status} at {self.progress:.0%} after {timeout} s")
        if self._cleanup and not self._gone:
            self._cleanup = False
            self._watcher.destroy(self.ref)
        return self._outcome()

    def _outcome(self) -> Any:
        status = self.status
        if status == "lost":
            text = f"{self.method}: the task vanished before its end was seen; look at the object for the effect"
            raise TaskResultLost(text, self.ref, self.method)
        if status != "success":
            error_info = self._record.get("error_info") or []
            if not error_info:
                raise TaskFailed(f"{self.method}: task ended as {status} without an error", self.ref, self.method)
            raise xapi_error(error_info, self.method, self.ref)
        try:
            return read_result(self._record.get("result", ""), traits(self.method).result)
        except (MalformedResponse, CoercionError) as error:
            raise TaskFailed(f"{self.method}: unreadable result: {error}", self.ref, self.method) from error

    def cancel(self) -> None:
        """Ask the server to give the operation up; whether it does shows in :meth:`result`."""
        self._watcher.cancel(self.ref)

    def add_done_callback(self, callback: Callable[[TaskFuture], None]) -> None:
        """Call ``callback(self)`` at the end, from the event thread, or at once when that has come."""
        if not self._watcher.add_callback(self, callback):
            callback(self)

    # the rest is called by the watcher, under its lock

    def update(self, record: Mapping[str, Any]) -> None:
        self._record = record

    def vanish(self) -> None:
        self._gone = True

    def pop_callbacks(self) -> list[Callable[[TaskFuture], None]]:
        callbacks, self._callbacks = self._callbacks, []
        return callbacks

    def push_callback(self, callback: Callable[[TaskFuture], None]) -> None:
        self._callbacks.append(callback)


class TaskWatcher:
    """Follows tasks for as long as there are futures that have not ended."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller
        self._condition = threading.Condition()
        self._watched: dict[str, TaskFuture] = {}
        self._recent: dict[str, Mapping[str, Any]] = {}
        self._expecting = 0
        self._round = 0
        self._closed = False
        self._feed = EventFeed(caller, "task", ["task"], self)
        self._feed.park()

    @contextmanager
    def expecting(self) -> Iterator[None]:
        """Around the call that makes a task: its events may arrive before its reference does."""
        with self._condition:
            if self._closed:
                raise ClientClosed("the client was closed")
            self._expecting += 1
            self._feed.unpark()
        self._feed.start()
        try:
            yield
        finally:
            with self._condition:
                self._expecting -= 1
                self._rest()

    def start(self, method: str, params: Sequence[Any], deadline: Deadline, cleanup: bool = True) -> TaskFuture:
        """Send ``Async.method`` and watch its task."""
        with self.expecting():
            ref = self._caller.call(f"Async.{method}", params, deadline)
            return self.watch(ref, method, cleanup)

    def create(self, label: str, description: str, deadline: Deadline) -> TaskFuture:
        """A task of our own, for an HTTP handler to bring to its end.

        A task whose making was answered by a broken connection is found again by its label, which is made unique.
        """
        label = f"{label} [{uuid.uuid4()}]"
        with self.expecting():
            try:
                ref = self._caller.call("task.create", [label, description], deadline)
            except MaybeSent:
                made = self._caller.call("task.get_by_name_label", [label], deadline)
                ref = made[0] if made else self._caller.call("task.create", [label, description], deadline)
            return self.watch(ref, label, False)

    def adopt(self, ref: str, method: str, deadline: Deadline) -> TaskFuture:
        """Watch a task that was started elsewhere or earlier. Raises ``HandleInvalid`` when there is none."""
        with self.expecting():
            record = self._caller.call("task.get_record", [ref], deadline)
            with self._condition:
                # an event that is already here is newer than the record may be
                self._recent.setdefault(ref, record)
            return self.watch(ref, method, False)

    def watch(self, ref: str, method: str, cleanup: bool) -> TaskFuture:
        with self._condition:
            future = TaskFuture(self, ref, method, cleanup, self._round)
            known = self._recent.get(ref)
            if known is not None:
                future.update(known)
            if not future.done:
                self._watched[ref] = future
            return future

    def wait(self, future: TaskFuture, deadline: Deadline) -> bool:
        with self._condition:
            while not future.done:
                if self._closed:
                    raise ClientClosed(f"{future.method}: the client was closed while the task was {future.status}")
                if not self._condition.wait(deadline.remaining()) and deadline.expired:
                    return future.done
            return True

    def add_callback(self, future: TaskFuture, callback: Callable[[TaskFuture], None]) -> bool:
        with self._condition:
            if future.done:
                return False
            future.push_callback(callback)
            return True

    def cancel(self, ref: str) -> None:
        try:
            self._caller.call("task.cancel", [ref], Deadline(CLEANUP_TIMEOUT), repeatable=True)
        except HandleInvalid:
            pass  # ended and gone: nothing is left to cancel

    def destroy(self, ref: str) -> None:
        """Remove an ended task; not being able to is no failure, the server purges ended tasks within the hour."""
        try:
            self._caller.call("task.destroy", [ref], Deadline(CLEANUP_TIMEOUT), repeatable=True)
        except HandleInvalid:
            pass
        except ClientError as error:
            LOG.info("task left for the server to purge: %s", error)

    def close(self) -> None:
        with self._condition:
            self._closed = True
            self._condition.notify_all()
        self._feed.stop()

    def _rest(self) -> None:
        if not self._watched and not self._expecting:
            self._feed.park()
            self._recent.clear()

    # ------------------------------------------------------------------------------- what the feed tells

    def begin(self) -> None:
        with self._condition:
            self._round += 1

    def apply(self, batch: Batch) -> None:
        ended: list[TaskFuture] = []
        with self._condition:
            if batch.fresh:
                self._recent.clear()
            deleted = set()
            for event in batch.events:
                if event["operation"] == "del":
                    deleted.add(event["ref"])
                else:
                    self._recent[event["ref"]] = event["snapshot"]
            for ref, future in list(self._watched.items()):
                if ref in self._recent:
                    future.update(self._recent[ref])
                elif future.since < self._round:
                    # the server looked after we had the reference, and has no such task
                    future.vanish()
                if ref in deleted:
                    future.vanish()
                if future.done:
                    del self._watched[ref]
                    ended.append(future)
            for ref in deleted:
                self._recent.pop(ref, None)
            self._rest()
            callbacks = [(future, callback) for future in ended for callback in future.pop_callbacks()]
            if ended or batch.events:
                self._condition.notify_all()
        for future, callback in callbacks:
            try:
                callback(future)
            except Exception:
                LOG.exception("callback of task %s failed", future.method)

    def lost(self, error: Exception) -> None:
        """Nothing is known to have happened to the tasks: who waits for them goes on waiting."""
