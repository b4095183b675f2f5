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
"""Which calls a rule is about, and for which of those it fires: conditions with their own count and random numbers."""

from __future__ import annotations

import fnmatch
import json
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from xapikit.host.faults.reading import Reader
from xapikit.model import MODEL

UNCOUNTED = "event.from"
"""Waiting for events is no step of an operation: neither the totals nor ``nth_received`` count it."""


@dataclass(frozen=True)
class Received:
    """One call or transfer as it arrived."""

    method: str
    """Without ``Async.``; a transfer is named by its action, such as ``put_import_raw_vdi``."""
    arguments: Sequence[Any] = ()
    """Of a call, the session left out."""
    query: Mapping[str, str] = field(default_factory=dict)
    """Of a transfer."""
    host: str = ""
    """Reference of the host that was addressed."""
    number: int = 0
    """Which one it is since the counts were reset."""
    names: Callable[[str], Sequence[str]] = field(default=lambda value: (), repr=False)
    """uuid and name of the object that a reference or uuid stands for."""

    @cached_property
    def named(self) -> Mapping[str, Any]:
        """Arguments by their name in the data model, and by their position (``"0"`` is the first)."""
        found: dict[str, Any] = {str(position): value for position, value in enumerate(self.arguments)}
        class_name, _, call = self.method.partition(".")
        spec = MODEL.classes.get(class_name)
        message = spec.messages.get(call) if spec is not None else None
        if message is not None:
            found.update((param.name, value) for param, value in zip(message.params, self.arguments, strict=False))
        found.update(self.query)
        return found


@dataclass(kw_only=True)
class Match:
    """Conditions. A call must satisfy all that are given; the first six say what it is, the others which of those.

    ``nth`` and ``nth_received`` count from 1: the n-th call that satisfies the first six, and the n-th call that the
    server received since the counts were last reset.
    """

    method: str = "*"
    """Glob over method names; several are separated by blanks, one with ``!`` excludes: ``VM.* VDI.* !*.get_*``.
    HTTP transfers are named by their action, such as ``put_import_raw_vdi``. ``Async.`` is not looked at."""
    arguments: Mapping[int | str, str] = field(default_factory=dict)
    """Globs over arguments, by position (0 is the first after the session) or by name in the data model; a dot leads
    into a record or map: ``args.name_label``, ``args.other_config.owner``. Of a transfer: over its query. A reference
    or uuid is compared as it is, and by the uuid and the name of its object."""
    host: str = "*"
    """Glob over reference, uuid or name of the host that was addressed."""
    nth_received: int | None = None
    from_seconds: float = 0.0
    """Only from this time on, in seconds since the rule was added."""
    to_seconds: float | None = None
    """Only before this time."""
    nth: int | None = None
    after: int = 0
    """Let so many pass first."""
    every: int = 1
    """Then only each n-th: 3 means the third, the sixth..."""
    count: int | None = None
    """Fire at most so often; None: always."""
    probability: float = 1.0
    seed: int = 0
    name: str = ""
    matched: int = 0
    fired: int = 0

    def __post_init__(self) -> None:
        if not 0.0 <= self.probability <= 1.0:
            raise ValueError("probability is between 0 and 1")
        if self.every < 1:
            raise ValueError("every is at least 1")
        self.random = random.Random(self.seed)

    def reseed(self, seed: int) -> None:
        """Begin the random numbers anew."""
        self.seed = seed
        self.random = random.Random(seed)

    def applies(self, call: Received, elapsed: float) -> bool:
        """Whether it fires for this call, ``elapsed`` seconds after it was added; counts as it decides.

        The caller holds the lock of all rules.
        """
        if not self._is_meant(call, elapsed):
            return False
        self.matched += 1
        if self.nth is not None and self.matched != self.nth:
            return False
        if self.matched <= self.after or (self.matched - self.after) % self.every:
            return False
        if self.count is not None and self.fired >= self.count:
            return False
        if self.probability < 1.0 and self.random.random() >= self.probability:
            return False
        self.fired += 1
        return True

    def _is_meant(self, call: Received, elapsed: float) -> bool:
        if not _chosen(call.method, self.method):
            return False
        if elapsed < self.from_seconds or (self.to_seconds is not None and elapsed >= self.to_seconds):
            return False
        if self.nth_received is not None and (call.number != self.nth_received or call.method == UNCOUNTED):
            return False
        if self.host != "*" and not _fits(call.host, self.host, call):
            return False
        return all(
            any(_fits(value, pattern, call) for value in _follow(call.named, str(path)))
            for path, pattern in self.arguments.items()
        )

    def conditions(self) -> dict[str, Any]:
        """As JSON-friendly members, counters included."""
        return {
            "name": self.name,
            "method": self.method,
            "arguments": {str(path): pattern for path, pattern in self.arguments.items()},
            "host": self.host,
            "nth": self.nth,
            "nth_received": self.nth_received,
            "from_seconds": self.from_seconds,
            "to_seconds": self.to_seconds,
            "after": self.after,
            "every": self.every,
            "count": self.count,
            "probability": self.probability,
            "seed": self.seed,
            "matched": self.matched,
            "fired": self.fired,
        }

    @staticmethod
    def read_conditions(reader: Reader) -> dict[str, Any]:
        """The members of a table that are conditions. Raises ScenarioError."""
        found = {
            "name": reader.text("name"),
            "method": reader.text("method", "*"),
            "arguments": reader.patterns("arguments"),
            "host": reader.text("host", "*"),
            "nth": reader.maybe_whole("nth", least=1),
            "nth_received": reader.maybe_whole("nth_received", least=1),
            "from_seconds": reader.number("from_seconds", 0.0),
            "to_seconds": reader.maybe_number("to_seconds"),
            "after": reader.whole("after", 0, least=0),
            "every": reader.whole("every", 1, least=1),
            "count": reader.maybe_whole("count", least=1),
            "probability": reader.number("probability", 1.0, most=1.0),
            "seed": reader.whole("seed", 0),
        }
        reader.skip("matched", "fired")
        return found


def _chosen(method: str, globs: str) -> bool:
    found = False
    for glob in globs.split():
        if glob.startswith("!"):
            if fnmatch.fnmatchcase(method, glob[1:]):
                return False
        else:
            found = found or fnmatch.fnmatchcase(method, glob)
    return found


def _follow(members: Mapping[str, Any], path: str) -> list[Any]:
    """What lies at a dotted path; nothing when there is no such member. Names may have dots themselves."""
    if path in members:
        return [members[path]]
    for position, letter in enumerate(path):
        if letter == "." and isinstance(inner := members.get(path[:position]), dict):
            return _follow(inner, path[position + 1 :])
    return []


def _fits(value: Any, pattern: str, call: Received) -> bool:
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    if fnmatch.fnmatchcase(text, pattern):
        return True
    return isinstance(value, str) and any(fnmatch.fnmatchcase(name, pattern) for name in call.names(value))
