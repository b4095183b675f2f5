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
"""What a call knows while it runs: pool, session, task, host; and the frame for operations on objects."""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from xapikit.host.errors import ApiError
from xapikit.host.store import Store, Transaction
from xapikit.model import NULL_REF

if TYPE_CHECKING:
    from xapikit.host.pool import Pool

OperationCheck: TypeAlias = Callable[[Transaction, str, str], None]
"""``check(tx, ref, operation)`` raises the ApiError that a host would give, or returns."""

# Retries of an operation that meets another one on the same object: a host keeps trying for tens of seconds
# (wire reference 1.5, rule 10). Waiting is for a change of the class, the time is only a bound.
CONFLICT_PATIENCE_SECONDS = 60.0
CONFLICT = "OTHER_OPERATION_IN_PROGRESS"
_WATCHED = {"VBD": ("VBD", "VDI")}
"""Classes whose operations an operation of a class may have to wait for; its own where nothing is said."""


class TaskHandle:
    """The task under which a call runs. ``ref`` names its row; calls on ``task`` and ``event`` have none."""

    def __init__(self, store: Store, ref: str = NULL_REF) -> None:
        self._store = store
        self.ref = ref
        self.result = ""
        """What the task of an HTTP handler ends with: an XML-RPC value fragment, set by the handler."""
        self.failure: ApiError | None = None
        """What an HTTP handler failed with, for the audit log."""
        self._wakers: list[Callable[[], None]] = []

    @functools.cached_property
    def cancelled(self) -> threading.Event:
        """Set when somebody called ``task.cancel``: wait on it instead of sleeping."""
        return threading.Event()

    def set_progress(self, fraction: float) -> None:
        """Publish progress, 0..1. Nothing happens for a call without a task row."""
        if self._store.peek("task", self.ref) is not None:
            with self._store.transaction() as tx:
                tx.update("task", self.ref, progress=float(fraction))

    def forbid_cancel(self) -> None:
        """Announce that this call runs to its end whatever is asked of it."""
        if self._store.peek("task", self.ref) is not None:
            with self._store.transaction() as tx:
                tx.update("task", self.ref, allowed_operations=[])

    def raise_if_cancelled(self) -> None:
        """Raises ApiError TASK_CANCELLED when cancellation was requested."""
        if self.cancelled.is_set():
            raise ApiError("TASK_CANCELLED", self.ref)

    def on_cancel(self, wake: Callable[[], None]) -> None:
        """Have ``wake`` called on cancellation (at once if it was requested already); it must not block."""
        self._wakers.append(wake)
        if self.cancelled.is_set():
            wake()

    def cancel(self) -> None:
        """Request cancellation; the operation obeys at its next chance, or never."""
        self.cancelled.set()
        for wake in list(self._wakers):
            wake()


@dataclass
class Context:
    """Given to every implementation and handler."""

    pool: Pool
    session: str
    task: TaskHandle
    host: str
    """Reference of the host that serves the call: the coordinator for API calls, any host for HTTP handlers."""
    method: str = ""
    originator: str = ""
    roles: frozenset[str] | None = None
    """Names of the session's permissions; None for a superuser."""
    client_address: str = ""
    https: bool = False
    scratch: dict[str, object] = field(default_factory=dict)

    @property
    def store(self) -> Store:
        return self.pool.store

    @contextmanager
    def operation(
        self,
        class_name: str,
        ref: str,
        operation: str,
        *,
        check: OperationCheck | None = None,
        patience: float = CONFLICT_PATIENCE_SECONDS,
    ) -> Iterator[str]:
        """Run the block as ``operation`` on an object: it stands in ``current_operations`` for that time.

        The check registered for the class (``pool.operations.register``), or ``check``, decides beforehand, in the
        same transaction. While it says OTHER_OPERATION_IN_PROGRESS the call waits for a change and tries again, up
        to ``patience`` seconds or until the task is cancelled. Yields the key in ``current_operations``.
        Raises HANDLE_INVALID and whatever the check raises.
        """
        key = self.pool.operations.begin(self, class_name, ref, operation, check, patience)
        try:
            yield key
        finally:
            self.pool.operations.end(class_name, ref, key)


class Operations:
    """Registry of operation checks and the keeper of ``current_operations``."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._checks: dict[str, OperationCheck] = {}

    def register(self, class_name: str, check: OperationCheck) -> None:
        """Set the check of a class: the life-cycle tables decide which operation is allowed now."""
        self._checks[class_name] = check

    def check(self, tx: Transaction, class_name: str, ref: str, operation: str) -> None:
        """Raise what the registered check raises; nothing when the class has none."""
        tx.get(class_name, ref)
        registered = self._checks.get(class_name)
        if registered is not None:
            registered(tx, ref, operation)

    def begin(
        self,
        ctx: Context,
        class_name: str,
        ref: str,
        operation: str,
        check: OperationCheck | None,
        patience: float,
    ) -> str:
        deadline = time.monotonic() + patience
        with self._store.watch(_WATCHED.get(class_name, (class_name,))) as watch:
            ctx.task.on_cancel(watch.wake)
            while True:
                try:
                    return self._try(ctx, class_name, ref, operation, check)
                except ApiError as error:
                    left = deadline - time.monotonic()
                    if error.code != CONFLICT or left <= 0:
                        raise
                    ctx.task.raise_if_cancelled()
                    watch.wait(left)

    def _try(self, ctx: Context, class_name: str, ref: str, operation: str, check: OperationCheck | None) -> str:
        with self._store.transaction() as tx:
            row = tx.get(class_name, ref)
            if check is not None:
                check(tx, ref, operation)
            else:
                self.check(tx, class_name, ref, operation)
            running = dict(row["current_operations"])
            key = ctx.task.ref if ctx.task.ref != NULL_REF else self._store.new_ref()
            while key in running:  # the same task runs two operations on one object
                key = self._store.new_ref()
            tx.update(class_name, ref, current_operations={**running, key: operation})
            return key

    def end(self, class_name: str, ref: str, key: str) -> None:
        """Take an operation out again; the object may be gone by now."""
        with self._store.transaction() as tx:
            row = tx.peek(class_name, ref)
            if row is not None:
                left = {k: v for k, v in row["current_operations"].items() if k != key}
                tx.update(class_name, ref, current_operations=left)
