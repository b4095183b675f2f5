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
"""A client that follows events never holds a wrong picture: 12,000 random operations, restarts included.

The client knows what any client knows: events, ``valid_ref_counts``, and how to re-read a class. At random moments
it catches up (an injected event is the barrier) and its cache must equal the database.
"""

import random
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from xapikit.host import EmbeddedHost
from xapikit.host.events import parse_token
from xapikit.host.server.records import EventBatch, wire_record
from xapikit.host.store import Transaction

CLASSES = ("VM", "VBD", "VDI", "VM_appliance", "task")
OPERATIONS = 12_000
RESTARTS = 3


class Follower:
    """An event cache as a careful client keeps it."""

    def __init__(self, xapi: EmbeddedHost) -> None:
        self.xapi = xapi
        self.rows: dict[str, dict[str, Any]] = {name: {} for name in CLASSES}
        self.token = ""
        self.session = ""
        self.reread = 0
        self.log_in()

    def log_in(self) -> None:
        pool = self.xapi.pool
        self.session = pool.sessions.login("root", self.xapi.password, "follower", pool.coordinator)

    def catch_up(self) -> None:
        pool = self.xapi.pool
        pool.events.inject("pool", pool.ref)
        barrier = False
        while not barrier:
            batch = pool.events.wait_for(self.session, [*CLASSES, "pool"], self.token, 5.0)
            barrier = any(event.class_name == "pool" for event in batch.events)
            self.apply(batch)

    def apply(self, batch: EventBatch) -> None:
        for event in batch.events:
            if event.class_name == "pool":
                continue
            if event.entry is None:
                self.rows[event.class_name].pop(event.ref, None)
            else:
                self.rows[event.class_name][event.ref] = wire_record(event.class_name, event.entry.row)
        assert batch.token
        self.token = batch.token
        for name in CLASSES:
            if batch.counts[name.lower()] != len(self.rows[name]):
                # more was deleted than the server remembers: what every client has to do then
                self.reread += 1
                rows = self.xapi.pool.store.all(name)
                self.rows[name] = {ref: wire_record(name, row) for ref, row in rows.items()}


def change(choose: random.Random, tx: Transaction) -> None:
    """One random change of one object."""
    name = choose.choice(CLASSES)
    known = list(tx.all(name))
    action = choose.random()
    if not known or action < 0.35:
        values: dict[str, Any] = {}
        if name == "VBD":
            for other in ("VM", "VDI"):
                candidates = list(tx.all(other))
                values[other] = choose.choice(candidates) if candidates else "OpaqueRef:NULL"
        tx.create(name, values)
    elif action < 0.7:
        field, value = ("userdevice", str(choose.random())) if name == "VBD" else ("name_label", str(choose.random()))
        tx.update(name, choose.choice(known), **{field: value})
    else:
        tx.delete(name, choose.choice(known))


@pytest.mark.parametrize("seed", [1, 2])
def test_the_picture_is_right_at_every_barrier(
    seed: int, tmp_path: Path, xapi_factory: Callable[..., EmbeddedHost]
) -> None:
    choose = random.Random(seed)
    xapi = xapi_factory(state=tmp_path / "pool", sync="never")
    eager, lazy = Follower(xapi), Follower(xapi)
    done = 0
    restarts_at = sorted(choose.randrange(OPERATIONS // 2) for _ in range(RESTARTS))
    while done < OPERATIONS // 2:
        burst = choose.choice((1, 5, 50, 700))
        stop = threading.Event()
        follower = threading.Thread(target=_follow, args=(eager, stop))
        follower.start()
        for _ in range(burst):
            with xapi.pool.store.transaction() as tx:
                for _ in range(choose.choice((1, 1, 3))):
                    change(choose, tx)
                    done += 1
        stop.set()
        follower.join()
        _compare(eager)
        if choose.random() < 0.3:
            _compare(lazy)
        if restarts_at and done >= restarts_at[0]:
            restarts_at.pop(0)
            xapi.restart()
            eager.log_in()
            lazy.log_in()
    _compare(eager)
    _compare(lazy)
    assert not restarts_at


def _follow(follower: Follower, stop: threading.Event) -> None:
    while not stop.is_set():
        pool = follower.xapi.pool
        follower.apply(pool.events.wait_for(follower.session, CLASSES, follower.token, 0.0))


def _compare(follower: Follower) -> None:
    """Let the client catch up; what it holds is then what there is."""
    store = follower.xapi.pool.store
    while True:
        follower.catch_up()
        since = parse_token(follower.token)[0]
        with store.frozen() as tables:
            there = {name: {ref: entry.row for ref, entry in tables[name].entries.items()} for name in CLASSES}
            if any(
                list(tables[name].changed_since(since)) or list(tables[name].deleted_since(since)) for name in CLASSES
            ):
                continue  # the server does something of its own besides: catch up with that as well
        break
    wrong: list[tuple[str, str, str, Any, Any]] = []
    for name, rows in there.items():
        assert follower.rows[name].keys() == rows.keys(), name
        for ref, row in rows.items():
            seen, truth = follower.rows[name][ref], wire_record(name, row)
            wrong += [(name, ref, field, seen[field], truth[field]) for field in truth if seen[field] != truth[field]]
    assert not wrong
