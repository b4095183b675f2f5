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
"""A scenario that is being played: does its events at their times, and keeps the statistics."""

from __future__ import annotations

import itertools
import logging
import random
import threading
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from xapikit.host.clock import Clock
from xapikit.host.faults.matching import Match, Received
from xapikit.host.faults.rules import Rule
from xapikit.host.faults.scenario import Event, Scenario, derived_seed

LOG = logging.getLogger(__name__)

LOG_ENTRIES = 1000
"""So many of the last firings are kept in the report."""


class Performer(Protocol):
    """Does to the host what events ask for."""

    def begin(self, event: Event, choose: random.Random) -> tuple[str, Callable[[], None] | None]:
        """Have it happen. Returns what was hit, for the report, and what ends it.

        Raises LookupError when nothing fits.
        """
        ...


class Playing:
    """One run of a scenario. Made by ``Faults.load``."""

    def __init__(
        self, scenario: Scenario, seed: int | None, clock: Callable[[], float], performer: Performer | None
    ) -> None:
        self.scenario = scenario
        self.seed = scenario.seed if seed is None else seed
        self.rules: list[Rule] = scenario.rules(self.seed)
        for rule in self.rules:
            rule.name = f"{scenario.name}/{rule.name}"
        self.events: list[Event] = scenario.events(self.seed)
        self._clock = clock
        self._performer = performer
        self._began = clock()
        self._choose = {
            event.name: random.Random(derived_seed(self.seed, f"choice of {event.name}")) for event in self.events
        }
        self._happened = {event.name: 0 for event in self.events}
        self._missed = dict(self._happened)
        self._log: deque[dict[str, Any]] = deque(maxlen=LOG_ENTRIES)
        self._lock = threading.Condition()
        self._at_work = threading.RLock()
        """Held while something is done to the host, so that what was begun is mended when this ends."""
        self._order = itertools.count()
        self._later = Clock(f"xapi-scenario-{scenario.name}")
        self._lasting: dict[int, Callable[[], None]] = {}
        self._ended = False
        self._triggers = [(event.when, self._reaction(event)) for event in self.events if event.when is not None]

    @property
    def name(self) -> str:
        return self.scenario.name

    def triggers(self) -> list[tuple[Match, Callable[[Received], None]]]:
        """What is to be called when."""
        return self._triggers

    # life --------------------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Time starts to pass."""
        self._began = self._clock()
        for event in self.events:
            if event.at is not None:
                self._later.later(event.at, self._timed(event, 1))

    def end(self) -> None:
        """Nothing happens any more, and what lasts is mended."""
        self._later.stop()
        with self._at_work:
            self._ended = True
            for number in list(self._lasting):
                self._mend(number)

    # statistics --------------------------------------------------------------------------------------------------

    def note(self, rules: Iterable[Rule], call: Received) -> None:
        """Rules fired for a call; those of this scenario are written down."""
        for rule in rules:
            if any(rule is mine for mine in self.rules):
                self._write(rule.name.partition("/")[2], rule.kind, call.method)

    def report(self) -> dict[str, Any]:
        """As JSON-friendly members: what matched and fired how often, and the last firings in their order."""
        with self._lock:
            events = [
                {
                    "name": event.name,
                    "event": event.event,
                    "happened": self._happened[event.name],
                    "missed": self._missed[event.name],
                }
                for event in self.events
            ]
            log = list(self._log)
        return {
            "name": self.name,
            "description": self.scenario.description,
            "seed": self.seed,
            "seconds": round(self._clock() - self._began, 3),
            "rules": [rule.describe() for rule in self.rules],
            "events": events,
            "log": log,
        }

    def wait(self, predicate: Callable[[dict[str, Any]], object], timeout: float) -> bool:
        """Block until the report satisfies ``predicate``; False after ``timeout`` seconds."""
        with self._lock:
            return self._lock.wait_for(lambda: bool(predicate(self.report())), timeout)

    def wait_for(self, event: str, times: int = 1, *, timeout: float = 30.0) -> bool:
        """Block until an event, by name, happened so often; False after ``timeout`` seconds."""
        with self._lock:
            return self._lock.wait_for(lambda: self._happened[event] >= times, timeout)

    def __str__(self) -> str:
        """One line for people."""
        fired = [f"{rule.name.partition('/')[2]} fired {rule.fired} of {rule.matched}" for rule in self.rules]
        fired += [f"{name} happened {count}" for name, count in self._happened.items()]
        return f"scenario {self.name}, seed {self.seed}: {', '.join(fired)}"

    def _write(self, name: str, kind: str, what: str) -> None:
        entry = {"seconds": round(self._clock() - self._began, 3), "name": name, "kind": kind, "what": what}
        with self._lock:
            self._log.append(entry)
            self._lock.notify_all()

    # events ------------------------------------------------------------------------------------------------------

    def _timed(self, event: Event, number: int) -> Callable[[], None]:
        def happen() -> None:
            self._perform(event)
            if event.every is not None and event.at is not None and (event.times is None or number < event.times):
                # from the start, not from now: they do not drift
                due = event.at + number * event.every - (self._clock() - self._began)
                self._later.later(max(0.0, due), self._timed(event, number + 1))

        return happen

    def _reaction(self, event: Event) -> Callable[[Received], None]:
        def react(call: Received) -> None:
            if event.delay:
                self._later.later(event.delay, lambda: self._perform(event))
            else:  # in the thread of the call, so that the call already feels it
                self._perform(event)

        return react

    def _perform(self, event: Event) -> None:
        if self._performer is None:
            raise RuntimeError("events need a running host")
        with self._at_work:
            if self._ended:
                return
            try:
                what, mend = self._performer.begin(event, self._choose[event.name])
            except LookupError as error:
                with self._lock:
                    self._missed[event.name] += 1
                self._write(event.name, event.event, f"missed: {error.args[0]}")
                return
            with self._lock:
                self._happened[event.name] += 1
            self._write(event.name, event.event, what)
            if mend is None:
                return
            number = next(self._order)
            self._lasting[number] = mend
        if event.lasts is not None:
            self._later.later(event.lasts, lambda: self._over(number, event, what))

    def _over(self, number: int, event: Event, what: str) -> None:
        with self._at_work:
            if number in self._lasting:
                self._mend(number)
                self._write(event.name, event.event, f"over: {what}")

    def _mend(self, number: int) -> None:
        try:
            self._lasting.pop(number)()
        except Exception:
            LOG.exception("what scenario %s did was not mended", self.name)
