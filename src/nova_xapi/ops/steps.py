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
"""Operations: named steps, each with its undo.

An operation that fails is unwound in reverse. An undo that fails is logged and does not keep the others from running;
what it leaves behind carries the operation's id, and the reconciler finds it.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, wait
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import TypeVar

from nova_xapi.errors import for_nova
from nova_xapi.hosts.connection import HostConnection
from nova_xapi.marks import Owner
from xapikit.client import errors as xapi

LOG = logging.getLogger(__name__)
T = TypeVar("T")


@dataclass(frozen=True)
class Undo:
    """``rank``: higher ones first (a VM before its disks), the later registered first among equals."""

    name: str
    action: Callable[[], object]
    rank: int


class Operation:
    """``with Operation(conn, "spawn", uuid) as operation: ...``; an exception inside unwinds and goes on.

    Errors of the client leave the block as Nova's (:func:`nova_xapi.errors.for_nova`).
    """

    def __init__(self, conn: HostConnection, name: str, instance: str) -> None:
        self.conn = conn
        self.name = name
        self.instance = instance
        self.id = uuid.uuid4().hex
        self._undos: list[Undo] = []
        self._step = name
        self._started = time.monotonic()

    def __enter__(self) -> Operation:
        self.conn.running.begin(self.id, self.instance)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is not None:
                self._unwind(error)
            else:
                LOG.debug("%s of %s: %.2f s", self.name, self.instance, time.monotonic() - self._started)
        finally:
            self.conn.running.end(self.id)
            if isinstance(error, xapi.MaybeSent):
                self.conn.running.on_uncertain()
        if isinstance(error, xapi.ClientError):
            raise for_nova(error, f"{self.name} of {self.instance} failed at: {self._step}") from error

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Names what is being done, for errors and the log."""
        self._step = name
        started = time.monotonic()
        yield
        LOG.debug("%s of %s: %s: %.0f ms", self.name, self.instance, name, (time.monotonic() - started) * 1e3)

    def at(self, name: str) -> None:
        """Names what is being done where no block fits."""
        self._step = name

    def undo(self, name: str, action: Callable[[], object], rank: int = 0) -> None:
        """Register how to undo what was just done. Thread-safe."""
        self._undos.append(Undo(name, action, rank))

    def together(self, actions: Sequence[Callable[[], T]]) -> list[T]:
        """Carry out actions that do not depend on each other at the same time; their results in order.

        Waits for all of them, whatever happens, and raises the first error.
        """
        if len(actions) == 1:
            return [actions[0]()]
        futures: list[Future[T]] = [self.conn.workers.submit(action) for action in actions]
        wait(futures)
        failed = [error for future in futures if (error := future.exception()) is not None]
        # an interrupt or a lost answer says more than what follows from it
        failed.sort(key=lambda error: isinstance(error, Exception))
        if failed:
            for error in failed[1:]:
                LOG.warning("%s of %s: besides: %s", self.name, self.instance, error)
            raise failed[0]
        return [future.result() for future in futures]

    def owner(self, role: str) -> Owner:
        """The mark of a VDI that this operation makes for its server."""
        return self.conn.maker.owner(self.instance, self.id, role)

    def marks(self, step: str) -> dict[str, str]:
        """The marks of any other object that it makes."""
        return self.conn.maker.marks(self.id, step)

    def _unwind(self, error: BaseException) -> None:
        LOG.warning("%s of %s failed at: %s: %s", self.name, self.instance, self._step, error)
        left = False
        numbered = sorted(enumerate(self._undos), key=lambda one: (one[1].rank, one[0]), reverse=True)
        for _, undo in numbered:
            try:
                undo.action()
            except Exception:
                left = True
                LOG.exception("%s of %s: undoing %r failed; left to clean-up", self.name, self.instance, undo.name)
        if left:
            self.conn.running.on_uncertain()
