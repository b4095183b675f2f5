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
"""A copy of the objects of some classes, kept in step with the server by ``event.from``.

Who needs to know something about these objects reads it here, without a call; who waits for something to become true
waits on the cache's condition. Deletions that the server no longer remembers are found by comparing the number of
objects per class that each reply carries with the number held, and reading a class again that differs.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, Literal, TypeVar

from xapikit.client.caller import Caller
from xapikit.client.deadline import Deadline
from xapikit.client.errors import ClientClosed, HandleInvalid, WaitTimeout
from xapikit.client.feed import POLL, Batch, EventFeed
from xapikit.client.secret import LOG
from xapikit.model import MODEL

Record = Mapping[str, Any]
T = TypeVar("T")

REREAD_TIMEOUT: Final = 120.0
START_TIMEOUT: Final = 60.0


@dataclass(frozen=True)
class CacheEvent:
    """A change that the cache has taken in. ``old`` is None for an addition, ``new`` for a deletion."""

    cls: str
    operation: Literal["add", "mod", "del"]
    ref: str
    old: Record | None
    new: Record | None


Subscriber = Callable[[CacheEvent], None]


class _Table:
    """The objects of one class by reference, and their references by uuid."""

    def __init__(self) -> None:
        self.rows: dict[str, Record] = {}
        self.by_uuid: dict[str, str] = {}

    def put(self, ref: str, record: Record) -> Record | None:
        old = self.rows.get(ref)
        self.rows[ref] = record
        uuid = record.get("uuid")
        if uuid:
            self.by_uuid[uuid] = ref
        return old

    def drop(self, ref: str) -> Record | None:
        old = self.rows.pop(ref, None)
        if old is not None and self.by_uuid.get(old.get("uuid", "")) == ref:
            del self.by_uuid[old["uuid"]]
        return old


class EventCache:
    """Objects of ``classes`` (API spelling, ``VM``, ``host``). Thread-safe; records must not be changed."""

    def __init__(self, caller: Caller, classes: Sequence[str], poll: float = POLL) -> None:
        """Raises ValueError for a class that XenAPI does not have or has no events for."""
        unknown = [cls for cls in classes if cls not in MODEL.classes or not MODEL.classes[cls].events]
        if unknown:
            raise ValueError(f"no events for: {', '.join(unknown)}")
        self.classes = tuple(dict.fromkeys(classes))
        self._caller = caller
        self._poll = poll
        self._condition = threading.Condition()
        self._by_lower = {cls.lower(): cls for cls in self.classes}
        self._tables = {cls: _Table() for cls in self.classes}
        self._subscribers: list[Subscriber] = []
        self._in_step = False
        self._loaded = False
        self._stopped = False
        self._error: Exception | None = None
        self._token = ""
        self._unexplained: dict[str, tuple[int, int]] = {}
        self._feed: EventFeed | None = None

    # ---------------------------------------------------------------------------------------------- life

    def start(self, timeout: float = START_TIMEOUT) -> None:
        """Load everything and follow it from now on. Raises the reason when that fails for ``timeout`` seconds.

        A second start is a no-op.
        """
        with self._condition:
            if self._stopped:
                raise ClientClosed("the event cache was stopped")
            if self._feed is None:
                self._feed = EventFeed(self._caller, "cache", self.classes, self, self._poll)
        self._feed.start()
        try:
            self.wait_in_step(timeout)
        except WaitTimeout as error:
            raise error from self._error

    def stop(self) -> None:
        """Stop following; whoever waits gets :class:`ClientClosed`."""
        with self._condition:
            self._stopped = True
            self._in_step = False
            feed = self._feed
            self._condition.notify_all()
        if feed is not None:
            feed.stop()

    @property
    def in_step(self) -> bool:
        """Whether the cache has heard from the server lately and missed nothing; do not answer from it otherwise."""
        return self._in_step

    @property
    def loaded(self) -> bool:
        """Whether there was ever anything in it."""
        return self._loaded

    # ------------------------------------------------------------------------------------------- reading

    def get(self, cls: str, ref: str) -> Record | None:
        """The record, or None when the cache has none."""
        with self._condition:
            return self._tables[cls].rows.get(ref)

    def records(self, cls: str) -> dict[str, Record]:
        """All records of a class by reference."""
        with self._condition:
            return dict(self._tables[cls].rows)

    def count(self, cls: str) -> int:
        with self._condition:
            return len(self._tables[cls].rows)

    def by_uuid(self, cls: str, uuid: str) -> tuple[str, Record] | None:
        """Reference and record of an object."""
        with self._condition:
            table = self._tables[cls]
            ref = table.by_uuid.get(uuid)
            return None if ref is None else (ref, table.rows[ref])

    def find(self, cls: str, **fields: Any) -> dict[str, Record]:
        """Records whose fields equal ``fields``, by reference."""
        with self._condition:
            rows = self._tables[cls].rows
            if "uuid" in fields:
                ref = self._tables[cls].by_uuid.get(fields["uuid"])
                rows = {} if ref is None else {ref: rows[ref]}
            return {
                ref: record
                for ref, record in rows.items()
                if all(name in record and record[name] == value for name, value in fields.items())
            }

    # ------------------------------------------------------------------------------------------- waiting

    def wait_for(self, predicate: Callable[[EventCache], T], timeout: float | None = None) -> T:
        """Wait until ``predicate(cache)`` is true and return what it returned.

        It is called with the cache locked, at once and after each change: it must be quick and must not wait.
        Raises :class:`WaitTimeout`, :class:`ClientClosed`, and what the predicate raises.
        """
        deadline = Deadline(timeout)
        with self._condition:
            while True:
                if self._stopped:
                    raise ClientClosed("the event cache was stopped")
                value = predicate(self)
                if value:
                    return value
                if not self._condition.wait(deadline.remaining()) and deadline.expired:
                    text = "" if self._in_step else " (the event cache is not in step with the server)"
                    raise WaitTimeout(f"what was waited for did not happen in {timeout} s{text}")

    def wait_in_step(self, timeout: float | None = None) -> None:
        """Wait until the cache is in step. Raises :class:`WaitTimeout`."""
        self.wait_for(lambda cache: cache.in_step, timeout)

    def catch_up(self, timeout: float = 30.0) -> None:
        """Wait until the cache has taken in everything that happened before this call; costs one call.

        Raises :class:`WaitTimeout`, and LookupError when there is no object at all to send a mark through.
        """
        with self._condition:
            marks = [(cls, ref) for cls in self.classes if cls != "message" for ref in self._tables[cls].rows]
        if not marks:
            raise LookupError("no object to send a mark through")
        # objects of the first classes may be gone by now, those of the last ones hardly
        deadline = Deadline(timeout)
        for cls, ref in (marks[0], marks[-1]):
            try:
                mark: str = self._caller.call("event.inject", [cls, ref], deadline, repeatable=True)
            except HandleInvalid:
                continue
            self._wait_past(mark, deadline)
            return
        raise LookupError("the objects to send a mark through are gone")

    def _wait_past(self, mark: str, deadline: Deadline) -> None:
        self.wait_for(lambda cache: cache._in_step and cache._token > mark, deadline.remaining())

    def subscribe(self, subscriber: Subscriber) -> Callable[[], None]:
        """Call ``subscriber(event)`` for each change from now on; the return value ends that.

        Called from the event thread after the cache has taken the change in, deletions of a batch last. It must be
        quick; it may read the cache and may not wait for it.
        """
        with self._condition:
            self._subscribers.append(subscriber)

        def cancel() -> None:
            with self._condition:
                if subscriber in self._subscribers:
                    self._subscribers.remove(subscriber)

        return cancel

    # ------------------------------------------------------------------------------- what the feed tells

    def begin(self) -> None:
        """Nothing to prepare."""

    def apply(self, batch: Batch) -> None:
        added: dict[str, dict[str, Record]] = {cls: {} for cls in self.classes}
        deleted: list[tuple[str, str]] = []
        for event in batch.events:
            cls = self._by_lower.get(event["class"])
            if cls is None:
                continue
            if event["operation"] == "del":
                deleted.append((cls, event["ref"]))
            else:
                added[cls][event["ref"]] = MappingProxyType(event["snapshot"])
        changes: list[CacheEvent] = []
        with self._condition:
            if batch.fresh:
                for cls in self.classes:
                    changes += self._replace(cls, added[cls])
                self._unexplained.clear()
            else:
                for cls, records in added.items():
                    for ref, record in records.items():
                        changes += self._put(cls, ref, record)
            for cls, ref in deleted:
                changes += self._drop(cls, ref)
        try:
            for cls in self._classes_that_differ(batch):
                changes += self._read_again(cls, batch)
            self._now_in_step(batch)
        finally:
            # what was taken in is told even if reading again failed: the feed will bring it no second time
            self._tell(changes)

    def _now_in_step(self, batch: Batch) -> None:
        with self._condition:
            self._token = batch.token
            was, self._in_step, self._loaded, self._error = self._in_step, True, True, None
            # notify also when only the token moved: catch_up waits for that
            self._condition.notify_all()
        if not was:
            LOG.info("event cache in step: %s", ", ".join(f"{self.count(cls)} {cls}" for cls in self.classes))

    def _tell(self, changes: list[CacheEvent]) -> None:
        with self._condition:
            subscribers = list(self._subscribers)
        changes.sort(key=lambda change: change.operation == "del")
        for subscriber in subscribers:
            for change in changes:
                try:
                    subscriber(change)
                except Exception:
                    LOG.exception("subscriber of the event cache failed at %s of a %s", change.operation, change.cls)

    def lost(self, error: Exception) -> None:
        with self._condition:
            self._error = error
            if self._in_step:
                LOG.warning("event cache out of step: %s", error)
            self._in_step = False
            self._condition.notify_all()

    def _classes_that_differ(self, batch: Batch) -> list[str]:
        differing = []
        with self._condition:
            for cls in self.classes:
                if cls == "message":
                    continue  # messages are no database rows; their counter stays 0
                told, held = batch.counts.get(cls.lower()), len(self._tables[cls].rows)
                if told is None or told == held:
                    self._unexplained.pop(cls, None)
                elif self._unexplained.get(cls) != (told, held):
                    differing.append(cls)
        return differing

    def _read_again(self, cls: str, batch: Batch) -> list[CacheEvent]:
        LOG.info("event cache: number of %s differs from the server's; reading them again", cls)
        answer = self._caller.call(f"{cls}.get_all_records", [], Deadline(REREAD_TIMEOUT))
        records = {ref: MappingProxyType(record) for ref, record in answer.items()}
        with self._condition:
            changes = self._replace(cls, records)
            told, held = batch.counts.get(cls.lower(), 0), len(records)
            if told != held:
                # either objects came or went just now, which the next batch tells, or this server counts otherwise:
                # do not read again and again for the same two numbers
                self._unexplained[cls] = (told, held)
            return changes

    def _replace(self, cls: str, records: Mapping[str, Record]) -> list[CacheEvent]:
        changes = [change for ref, record in records.items() for change in self._put(cls, ref, record)]
        for ref in [ref for ref in self._tables[cls].rows if ref not in records]:
            changes += self._drop(cls, ref)
        return changes

    def _put(self, cls: str, ref: str, record: Record) -> list[CacheEvent]:
        old = self._tables[cls].put(ref, record)
        if old is None:
            return [CacheEvent(cls, "add", ref, None, record)]
        return [CacheEvent(cls, "mod", ref, old, record)] if old != record else []

    def _drop(self, cls: str, ref: str) -> list[CacheEvent]:
        old = self._tables[cls].drop(ref)
        return [] if old is None else [CacheEvent(cls, "del", ref, old, None)]
