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
"""Tasks: the row of a running call, its end, cancellation, workers for ``Async.`` calls, and the purge.

Order and content of what is written follow wire reference 1.7. All members of a finished task change in one commit.
"""

from __future__ import annotations

import logging
import threading
import time
import traceback
from collections.abc import Callable
from typing import Any

from xapikit.host.context import TaskHandle
from xapikit.host.errors import ApiError
from xapikit.host.store import Row, Store
from xapikit.model import NULL_REF
from xapikit.wire import DateTime
from xapikit.wire.xmlrpc import encode_fragment

LOG = logging.getLogger(__name__)

MAX_ASYNC = 256
"""Asynchronous calls that may run at once; one more is told TOO_MANY_PENDING_TASKS, so that its client backs off."""
COMPLETED_KEPT_SECONDS = 65 * 60
PENDING_KEPT_SECONDS = 24 * 3600
COMPLETED_KEPT = 200
_PENDING = ("pending", "cancelling")


class Tasks:
    """Makes, ends and cancels tasks of one pool."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._running: dict[str, TaskHandle] = {}
        self._asynchronous = 0

    def start(
        self, label: str, *, host: str, session: str, description: str = "", parent: str = NULL_REF
    ) -> TaskHandle:
        """A pending task of the server's own, shown while its call runs."""
        with self._store.transaction() as tx:
            ref = tx.create(
                "task",
                {
                    "name_label": label,
                    "name_description": description,
                    "created": DateTime.now(),
                    "status": "pending",
                    "type": "<none/>",
                    "backtrace": "()",
                    "resident_on": host,
                    "session": session,
                    "subtask_of": parent,
                    "allowed_operations": ["cancel"],
                },
            )
        return self._track(ref)

    def create(self, label: str, description: str, *, host: str, session: str) -> str:
        """``task.create``: a task that its maker, or an HTTP handler, completes."""
        with self._store.transaction() as tx:
            return tx.create(
                "task",
                {
                    "name_label": label,
                    "name_description": description,
                    "created": DateTime.now(),
                    "status": "pending",
                    "type": "<none/>",
                    "backtrace": "()",
                    "resident_on": host,
                    "session": session,
                },
            )

    def adopt(self, ref: str) -> TaskHandle:
        """Run something under a client-made task (``task_id`` of a handler). Raises HANDLE_INVALID."""
        row = self._store.get("task", ref)
        handle = self._track(ref)
        if "cancel" in row["current_operations"].values():
            handle.cancel()
        return handle

    def run(self, handle: TaskHandle, work: Callable[[], Any]) -> None:
        """Do ``work`` in a thread of its own and complete the task with what comes of it.

        Raises TOO_MANY_PENDING_TASKS, and the task is gone.
        """
        with self._lock:
            full = self._asynchronous >= MAX_ASYNC
            self._asynchronous += not full
        if full:
            self.drop(handle)
            raise ApiError("TOO_MANY_PENDING_TASKS")

        def job() -> None:
            try:
                self._complete(handle, work)
            except OSError as error:  # the server has stopped: its tasks are gone
                LOG.info("a task ended after its server: %s", error)
            finally:
                with self._lock:
                    self._asynchronous -= 1

        # a daemon: an operation that hangs must not keep the process from ending
        threading.Thread(target=job, name="xapi-task", daemon=True).start()

    def _complete(self, handle: TaskHandle, work: Callable[[], Any]) -> None:
        try:
            value = work()
        except ApiError as error:
            self.fail(handle, error, error)
        except Exception as error:
            self.fail(handle, ApiError("INTERNAL_ERROR", _text(error)), error)
        else:
            self.succeed(handle, encode_fragment(value))

    def succeed(self, handle: TaskHandle, result: str) -> None:
        """End a task well; ``result`` is an XML-RPC value fragment, or empty."""
        self._end(handle, status="success", result=result)

    def fail(self, handle: TaskHandle, error: ApiError, cause: BaseException | None = None) -> None:
        """End a task with an error; TASK_CANCELLED after a request to cancel ends it ``cancelled``."""
        cancelled = error.code == "TASK_CANCELLED" and handle.cancelled.is_set()
        self._end(
            handle,
            status="cancelled" if cancelled else "failure",
            error_info=error.description,
            backtrace=_backtrace(cause if cause is not None else error),
        )

    def drop(self, handle: TaskHandle) -> None:
        """Remove the row of a synchronous call, which ends with its answer."""
        self._untrack(handle)
        with self._store.transaction() as tx:
            if tx.peek("task", handle.ref) is not None:
                tx.delete("task", handle.ref)

    def cancel(self, ref: str, canceller: str) -> None:
        """``task.cancel``: advisory. Raises HANDLE_INVALID."""
        with self._store.transaction() as tx:
            row = tx.get("task", ref)
            if row["status"] not in _PENDING:
                return
            operations = row["current_operations"]
            if "cancel" not in operations.values():
                tx.update("task", ref, current_operations={**operations, canceller: "cancel"})
        with self._lock:
            handle = self._running.get(ref)
        if handle is not None:
            handle.cancel()

    def destroy(self, ref: str) -> None:
        """``task.destroy``: a pending task is only marked. Raises HANDLE_INVALID."""
        with self._store.transaction() as tx:
            row = tx.get("task", ref)
            if row["status"] in _PENDING:
                tx.update("task", ref, current_operations={**row["current_operations"], "task": "destroy"})
            else:
                tx.delete("task", ref)

    def purge(self) -> None:
        """Forget tasks that ended long ago, the oldest of too many, and pending ones that nobody moves."""
        now = time.time()
        with self._store.transaction() as tx:
            rows = tx.all("task")
            done = {ref: row for ref, row in rows.items() if row["status"] not in _PENDING}
            surplus = sorted(done, key=lambda ref: str(done[ref]["finished"]))[: max(0, len(done) - COMPLETED_KEPT)]
            for ref, row in rows.items():
                kept = COMPLETED_KEPT_SECONDS if ref in done else PENDING_KEPT_SECONDS
                if (ref in surplus or now - _moment(row) > kept) and ref not in self._running:
                    tx.delete("task", ref)

    def close(self) -> None:
        """Cancel what runs, for the end of the server."""
        with self._lock:
            running = list(self._running.values())
        for handle in running:
            handle.cancel()

    # inside ------------------------------------------------------------------------------------------------------

    def _track(self, ref: str) -> TaskHandle:
        handle = TaskHandle(self._store, ref)
        with self._lock:
            self._running[ref] = handle
        return handle

    def _untrack(self, handle: TaskHandle) -> None:
        with self._lock:
            if self._running.get(handle.ref) is handle:
                del self._running[handle.ref]

    def _end(self, handle: TaskHandle, **members: Any) -> None:
        self._untrack(handle)
        with self._store.transaction() as tx:
            row = tx.peek("task", handle.ref)
            if row is None:
                return
            if "destroy" in row["current_operations"].values():
                tx.delete("task", handle.ref)
                return
            tx.update(
                "task",
                handle.ref,
                allowed_operations=[],
                current_operations={},
                finished=DateTime.now(),
                progress=1.0,
                **members,
            )


def _moment(row: Row) -> float:
    finished = row["finished"]
    return DateTime(finished if finished != "19700101T00:00:00Z" else row["created"]).to_datetime().timestamp()


def _text(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"


def _backtrace(error: BaseException) -> str:
    """The stack as a host writes it: an s-expression of places, innermost first."""
    frames = traceback.extract_tb(error.__traceback__)
    places = (
        f"((process xapi)(filename {frame.filename.rpartition('/xapikit/')[2] or frame.filename})(line {frame.lineno}))"
        for frame in reversed(frames)
    )
    return f"({''.join(places)})"
