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
"""All rules and counts of one server."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

from xapikit.host.faults.rules import UNCOUNTED, Interruptible, Kind, Rule, Verdict


class Faults:
    """Decides what happens to each call that arrives, and counts them all: RPC and HTTP transfers alike."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rules: dict[str, Rule] = {}
        self._next_name = 1
        self._counts: dict[str, int] = {}
        self._received = 0
        self._waiting = Interruptible()
        self.on_restart: Callable[[], None] | None = None
        """Called, once per fired rule of kind ``restart``, in the thread of the call."""

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
            self._rules[made.name] = made
        return made

    def remove(self, rule: Rule | str) -> Rule:
        """Take a rule away; returns it with its counters. Raises KeyError."""
        with self._lock:
            return self._rules.pop(rule.name if isinstance(rule, Rule) else rule)

    def clear(self) -> None:
        with self._lock:
            self._rules.clear()

    @property
    def rules(self) -> list[Rule]:
        with self._lock:
            return list(self._rules.values())

    # counts ------------------------------------------------------------------------------------------------------

    def call_counts(self) -> dict[str, int]:
        """Calls and transfers received since the last reset, per method, ``Async.`` left out."""
        with self._lock:
            return dict(self._counts)

    def total(self) -> int:
        """All of them together, ``event.from`` left out: what ``nth_received`` counts."""
        return self._received

    def reset_counts(self) -> None:
        with self._lock:
            self._counts.clear()
            self._received = 0

    # deciding ----------------------------------------------------------------------------------------------------

    def call_received(self, method: str, params: Sequence[Any], host: str) -> Verdict:
        """Count an RPC call and judge it; ``params`` start with the session."""
        return self._received_one(method.removeprefix("Async."), params[1:], host)

    def transfer_received(self, action: str, host: str) -> Verdict:
        """Count an HTTP transfer and judge it."""
        return self._received_one(action, (), host)

    def stop_waiting(self) -> None:
        """Let delayed calls go on at once (the server stops)."""
        self._waiting.end()

    def start_waiting(self) -> None:
        """Let rules delay calls (again)."""
        self._waiting = Interruptible()

    def _received_one(self, method: str, arguments: Sequence[Any], host: str) -> Verdict:
        verdict = Verdict(wait=self._waiting.wait)
        restart = False
        with self._lock:
            self._received += method != UNCOUNTED
            self._counts[method] = self._counts.get(method, 0) + 1
            if not self._rules:
                return verdict
            for rule in self._rules.values():
                if not rule.applies(method, arguments, host, self._received):
                    continue
                verdict.seconds += rule.seconds
                if rule.kind == "error":
                    verdict.error = verdict.error or list(rule.error)
                elif rule.kind == "cut_before":
                    verdict.cut_before = True
                elif rule.kind == "cut_after":
                    verdict.cut_after = True
                elif rule.kind == "restart":
                    restart = verdict.cut_before = True
        if restart and self.on_restart is not None:
            self.on_restart()
        return verdict
