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
"""All rules and counts of one server, and the scenarios that are played on it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from xapikit.host.faults.matching import UNCOUNTED, Match, Received
from xapikit.host.faults.playing import Performer, Playing
from xapikit.host.faults.rules import Interruptible, Kind, Rule, Verdict
from xapikit.host.faults.scenario import Scenario, load_scenario


class Performers(Performer, Protocol):
    """What the host lends to the faults."""

    def restart(self) -> None:
        """Restart the toolstack soon; called in the thread of a call that is cut."""
        ...

    def lose_coordinator(self) -> None:
        """Power the coordinator off soon; called in the thread of a call that is cut."""
        ...

    def names(self, value: str) -> Sequence[str]:
        """uuid and name of the object that a reference or a uuid stands for."""
        ...


class Faults:
    """Decides what happens to each call that arrives, and counts them all: RPC and HTTP transfers alike."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._lock = threading.Condition(threading.Lock())
        self._clock = clock
        self._rules: dict[str, tuple[Rule, float]] = {}
        self._triggers: list[tuple[Match, float, Callable[[Received], None]]] = []
        self._playing: dict[str, Playing] = {}
        self._next_name = 1
        self._counts: dict[str, int] = {}
        self._received = 0
        self._waiting = Interruptible()
        self.host: Performers | None = None
        """The running host, for what is more than the fate of a call."""

    # rules -------------------------------------------------------------------------------------------------------

    def add(self, rule: Rule | Kind, **members: Any) -> Rule:
        """Add a rule: ``faults.add("error", method="VM.start", error=["SR_FULL"], count=1)``. Raises ValueError."""
        made = rule if isinstance(rule, Rule) else Rule(rule, **members)
        with self._lock:
            if not made.name:
                made.name = f"rule-{self._next_name}"
                self._next_name += 1
            if made.name in self._rules:
                raise ValueError(f"there is a rule named {made.name!r} already")
            self._rules[made.name] = made, self._clock()
        return made

    def remove(self, rule: Rule | str) -> Rule:
        """Take a rule away; returns it with its counters. Raises KeyError."""
        with self._lock:
            return self._rules.pop(rule.name if isinstance(rule, Rule) else rule)[0]

    def clear(self) -> None:
        """Take all rules away and end all scenarios."""
        for scenario in self.playing:
            self.end(scenario.name)
        with self._lock:
            self._rules.clear()

    @property
    def rules(self) -> list[Rule]:
        with self._lock:
            return [rule for rule, _ in self._rules.values()]

    # scenarios ---------------------------------------------------------------------------------------------------

    def load(self, scenario: Scenario | Path | str | Mapping[str, Any], *, seed: int | None = None) -> Playing:
        """Play a scenario from now on: a file, a name of one that is shipped, or its members.

        ``seed`` takes the place of its own. Raises ScenarioError; ValueError when one of that name is played already.
        """
        read = load_scenario(scenario)
        playing = Playing(read, seed, self._clock, self.host)
        with self._lock:
            if read.name in self._playing:
                raise ValueError(f"the scenario {read.name!r} is being played already")
            self._playing[read.name] = playing
            now = self._clock()
            self._rules.update((rule.name, (rule, now)) for rule in playing.rules)
            self._triggers += [(match, now, react) for match, react in playing.triggers()]
        playing.begin()
        return playing

    def end(self, name: str) -> Playing:
        """End a scenario: its rules go, and what its events did to the host is mended. Raises KeyError."""
        with self._lock:
            playing = self._playing.pop(name)
            for rule in playing.rules:
                self._rules.pop(rule.name, None)
            gone = [match for match, _ in playing.triggers()]
            self._triggers = [one for one in self._triggers if not any(one[0] is match for match in gone)]
        playing.end()
        return playing

    @property
    def playing(self) -> list[Playing]:
        """The scenarios that are being played."""
        with self._lock:
            return list(self._playing.values())

    # counts ------------------------------------------------------------------------------------------------------

    def call_counts(self) -> dict[str, int]:
        """Calls and transfers received since the last reset, per method, ``Async.`` left out."""
        with self._lock:
            return dict(self._counts)

    def total(self) -> int:
        """All of them together, ``event.from`` left out: what ``nth_received`` counts."""
        return self._received

    def wait_for_calls(self, method: str, count: int = 1, *, timeout: float = 30.0) -> bool:
        """Block until so many calls of a method arrived since the last reset; False after ``timeout`` seconds."""
        with self._lock:
            return self._lock.wait_for(lambda: self._counts.get(method, 0) >= count, timeout)

    def reset_counts(self) -> None:
        with self._lock:
            self._counts.clear()
            self._received = 0

    # deciding ----------------------------------------------------------------------------------------------------

    def call_received(self, method: str, params: Sequence[Any], host: str) -> Verdict:
        """Count an RPC call and judge it; ``params`` start with the session."""
        return self._received_one(method.removeprefix("Async."), params[1:], {}, host)

    def transfer_received(self, action: str, host: str, query: Mapping[str, str]) -> Verdict:
        """Count an HTTP transfer and judge it."""
        return self._received_one(action, (), query, host)

    def stop_waiting(self) -> None:
        """Let delayed calls go on at once (the server stops)."""
        self._waiting.end()

    def start_waiting(self) -> None:
        """Let rules delay calls (again)."""
        self._waiting = Interruptible()

    def _received_one(self, method: str, arguments: Sequence[Any], query: Mapping[str, str], host: str) -> Verdict:
        verdict = Verdict(wait=self._waiting.wait)
        fired: list[Rule] = []
        reactions: list[Callable[[Received], None]] = []
        with self._lock:
            self._received += method != UNCOUNTED
            self._counts[method] = self._counts.get(method, 0) + 1
            self._lock.notify_all()
            if not self._rules and not self._triggers:
                return verdict
            names = self.host.names if self.host is not None else lambda value: ()
            call = Received(method, arguments, query, host, self._received, names)
            now = self._clock()
            fired += [rule for rule, since in self._rules.values() if rule.judge(call, now - since, verdict)]
            reactions += [react for match, since, react in self._triggers if match.applies(call, now - since)]
            playing = list(self._playing.values()) if fired else []
        for scenario in playing:
            scenario.note(fired, call)
        for react in reactions:
            react(call)
        if self.host is not None and any(rule.kind == "restart" for rule in fired):
            self.host.restart()
        if self.host is not None and any(rule.kind == "coordinator_loss" for rule in fired):
            self.host.lose_coordinator()
        return verdict
