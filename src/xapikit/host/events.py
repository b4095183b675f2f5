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
"""Events from the store: ``event.from`` batches, injected touches, and the queues of the old ``event.next``.

Everything here is read off the stamps of rows; nothing is recorded for a client that does not wait (wire reference 2).
"""

from __future__ import annotations

import hashlib
import re
import threading
import time
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from xapikit.host.errors import ApiError
from xapikit.host.server.records import EventBatch, EventRecord, Operation
from xapikit.host.server.sessions import Sessions
from xapikit.host.store import Commit, Store
from xapikit.host.store.table import Entry
from xapikit.host.store.values import STORED_CLASSES
from xapikit.model import MODEL

BATCH_SECONDS = 0.05
NEXT_BATCH_SECONDS = 0.2
LONGEST_WAIT_SECONDS = 24 * 3600.0
QUEUE_LIMIT = 5000
"""Unread events a registered session may have; a host bounds them by 10 MB, about this number of records."""

_TOKEN = re.compile(r"(\d+),(\d+)", re.ASCII)
_MAX = 2**63 - 1
_WITH_EVENTS = tuple(name for name in STORED_CLASSES if MODEL.classes[name].events)
_BY_LOWER = {name.lower(): name for name in _WITH_EVENTS}


@dataclass
class Subscription:
    """What a client asked for: whole classes, and single objects of classes."""

    classes: set[str] = field(default_factory=set)
    objects: dict[str, set[str]] = field(default_factory=dict)

    @classmethod
    def parse(cls, words: Iterable[str]) -> Subscription:
        """Read ``"*"``, ``"vm"`` (any case) and ``"vm/OpaqueRef:..."``; anything else matches nothing."""
        found = cls()
        for word in words:
            if word == "*":
                found.classes.update(_WITH_EVENTS)
                continue
            name, slash, ref = word.partition("/")
            class_name = _BY_LOWER.get(name.lower())
            if class_name is None:
                continue
            if slash:
                found.objects.setdefault(class_name, set()).add(ref)
            else:
                found.classes.add(class_name)
        return found

    @property
    def watched(self) -> frozenset[str]:
        return frozenset(self.classes) | self.objects.keys()

    def wants(self, class_name: str, ref: str) -> bool:
        return class_name in self.classes or ref in self.objects.get(class_name, ())


def parse_token(token: str) -> tuple[int, int]:
    """Generations of rows and of messages. Raises EVENT_FROM_TOKEN_PARSE_FAILURE."""
    if token == "":
        return 0, 0
    found = _TOKEN.fullmatch(token)
    if found is None or int(found[1]) > _MAX or int(found[2]) > _MAX:
        raise ApiError("EVENT_FROM_TOKEN_PARSE_FAILURE", token)
    return int(found[1]), int(found[2])


def format_token(rows: int, messages: int) -> str:
    return f"{rows:020d},{messages:020d}"


class Events:
    """Serves the ``event`` class of one pool."""

    def __init__(self, store: Store, sessions: Sessions) -> None:
        self._store = store
        self._sessions = sessions
        self._lock = threading.Lock()
        self._queues: dict[str, _Queue] = {}
        store.on_commit(self._on_commit)

    def wait_for(self, session: str, classes: Sequence[str], token: str, timeout: float) -> EventBatch:
        """``event.from``. Raises EVENT_FROM_TOKEN_PARSE_FAILURE, SESSION_INVALID (also while it blocks)."""
        subscription = Subscription.parse(classes)
        since = parse_token(token)
        patience = LONGEST_WAIT_SECONDS if timeout < 0 or timeout != timeout else min(timeout, LONGEST_WAIT_SECONDS)
        deadline = time.monotonic() + patience
        batching = 0.0 if subscription.watched == {"task"} else BATCH_SECONDS
        with self._store.watch(subscription.watched) as watch, self._sessions.wakes(session, watch.wake):
            while True:
                if batching:
                    # changes coalesce: collect only what has settled
                    self._pause(session, batching)
                watch.clear()
                self._alive(session)
                batch = self._collect(subscription, *since)
                left = deadline - time.monotonic()
                if batch.events or left <= 0:
                    return batch
                watch.wait(left)

    def inject(self, class_name: str, ref: str) -> str:
        """``event.inject``: announce an object as changed. Raises HANDLE_INVALID."""
        if class_name not in STORED_CLASSES or self._store.peek(class_name, ref) is None:
            raise ApiError("HANDLE_INVALID", class_name, ref)
        with self._store.transaction() as tx:
            before = self._store.generation
            tx.touch(class_name, ref)
        return format_token(before, before)

    def _collect(self, subscription: Subscription, rows_since: int, messages_since: int) -> EventBatch:
        groups: dict[str, list[EventRecord]] = {"message": [], "add": [], "mod": [], "del": []}
        newest, newest_message = rows_since, messages_since
        with self._store.frozen() as tables:
            for name in sorted(subscription.watched):
                since = messages_since if name == "message" else rows_since
                latest = since
                for ref, entry in tables[name].changed_since(since):
                    if subscription.wants(name, ref):
                        operation: Operation = "add" if entry.created > since else "mod"
                        group = "message" if name == "message" else operation
                        groups[group].append(EventRecord(name, operation, ref, entry.modified, entry))
                        latest = max(latest, entry.modified)
                for gone in tables[name].deleted_since(since):
                    if subscription.wants(name, gone.ref):
                        groups["del"].append(EventRecord(name, "del", gone.ref, gone.deleted, None))
                        latest = max(latest, gone.deleted)
                if name == "message":
                    newest_message = max(newest_message, latest)
                else:
                    newest = max(newest, latest)
            counts = _counts({name: len(table.entries) for name, table in tables.items()})
        events: list[EventRecord] = []
        for members in groups.values():
            events += sorted(members, key=lambda e: (e.class_name.lower(), e.generation))
        return EventBatch(events, format_token(newest, newest_message), counts)

    # event.register, event.next ----------------------------------------------------------------------------------

    def register(self, session: str, classes: Sequence[str]) -> None:
        with self._lock:
            queue = self._queues.setdefault(session, _Queue())
            queue.words.update(classes)
            queue.subscription = Subscription.parse(queue.words)

    def unregister(self, session: str, classes: Sequence[str]) -> None:
        with self._lock:
            queue = self._queues.get(session)
            if queue is not None:
                queue.words.difference_update(classes)
                queue.subscription = Subscription.parse(queue.words)

    def next(self, session: str) -> EventBatch:
        """``event.next``. Raises SESSION_NOT_REGISTERED, EVENTS_LOST, SESSION_INVALID."""
        with self._lock:
            queue = self._queues.get(session)
        if queue is None:
            raise ApiError("SESSION_NOT_REGISTERED", f"trackid={trackid(session)}")
        with self._sessions.wakes(session, queue.ready.set):
            while True:
                queue.ready.wait(LONGEST_WAIT_SECONDS)
                self._alive(session)
                self._pause(session, NEXT_BATCH_SECONDS)
                with self._lock:
                    if queue.lost:
                        queue.reset()
                        raise ApiError("EVENTS_LOST")
                    events = list(queue.events)
                    queue.events.clear()
                    queue.ready.clear()
                if events:
                    return EventBatch(events, None, {})

    def _on_commit(self, commit: Commit) -> None:
        with self._lock:
            if not self._queues:
                return
            stamp = f"{int(time.time())}."
            for change in commit.changes:
                if change.class_name == "session" and change.after is None:
                    gone = self._queues.pop(change.ref, None)
                    if gone is not None:
                        gone.ready.set()
            for queue in self._queues.values():
                for change in commit.changes:
                    if queue.subscription.wants(change.class_name, change.ref):
                        entry = Entry(change.after, 0, 0) if change.after is not None else None
                        queue.put(change.class_name, change.ref, change.before is None, entry, stamp)
                for class_name, ref in commit.touched:
                    if queue.subscription.wants(class_name, ref):
                        queue.put(class_name, ref, False, self._store.entry(class_name, ref), stamp)

    # both --------------------------------------------------------------------------------------------------------

    def _pause(self, session: str, seconds: float) -> None:
        ended = threading.Event()
        with self._sessions.wakes(session, ended.set):
            self._alive(session)
            ended.wait(seconds)

    def _alive(self, session: str) -> None:
        if self._sessions.closed:
            raise ApiError("SESSION_INVALID", session)
        self._sessions.check(session)


class _Queue:
    """Unread events of one session that called ``event.register``."""

    def __init__(self) -> None:
        self.words: set[str] = set()
        self.subscription = Subscription()
        self.events: deque[EventRecord] = deque()
        self.ready = threading.Event()
        self.lost = False
        self._next_id = 0

    def put(self, class_name: str, ref: str, created: bool, entry: Entry | None, stamp: str) -> None:
        if len(self.events) >= QUEUE_LIMIT:
            self.lost = True
        else:
            operation: Operation = "add" if created else "mod" if entry is not None else "del"
            record = EventRecord(class_name, operation, ref, self._next_id, entry, stamp)
            self._next_id += 1
            self.events.append(record)
        self.ready.set()

    def reset(self) -> None:
        self.events.clear()
        self.lost = False
        self.ready.clear()


def trackid(session: str) -> str:
    """How logs name a session without giving it away: 32 hex digits."""
    return hashlib.sha256(session.encode()).hexdigest()[:32]


def _counts(stored: dict[str, int]) -> dict[str, int]:
    # classes without rows, messages among them, are counted as none
    return {name.lower(): 0 if name == "message" else stored.get(name, 0) for name in MODEL.classes}
