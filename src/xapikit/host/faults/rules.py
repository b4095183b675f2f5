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
"""One fault rule: what it matches, what it does, how often it has done it."""

from __future__ import annotations

import fnmatch
import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

Kind: TypeAlias = Literal["error", "delay", "cut_before", "cut_after", "restart"]
KINDS: tuple[Kind, ...] = ("error", "delay", "cut_before", "cut_after", "restart")

UNCOUNTED = "event.from"
"""Waiting for events is no step of an operation: neither the totals nor ``nth_received`` count it."""


@dataclass
class Rule:
    """``Rule("error", method="VDI.clone", error=["SR_FULL", "1", "2"], count=1)``.

    A call must satisfy everything that is given. ``nth`` and ``nth_received`` count from 1: the n-th call that this
    rule matches otherwise, and the n-th call that the server received since the counts were last reset.
    """

    kind: Kind
    method: str = "*"
    """Glob over method names; HTTP transfers are named by their action, such as ``put_import_raw_vdi``.
    The prefix ``Async.`` is not looked at."""
    arguments: Mapping[int, str] = field(default_factory=dict)
    """Globs over arguments by position, the session left out (0 is the first one after it)."""
    host: str = "*"
    """Glob over references of the host that was addressed."""
    nth: int | None = None
    nth_received: int | None = None
    count: int | None = None
    """Fire at most so often; None: always."""
    probability: float = 1.0
    seed: int = 0
    error: Sequence[str] = ("INTERNAL_ERROR", "injected")
    """For ``error``: what the client is told."""
    seconds: float = 0.0
    """For ``delay``; other kinds wait as well when it is given."""
    name: str = ""
    matched: int = 0
    fired: int = 0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"kind {self.kind!r} is none of {', '.join(KINDS)}")
        if not 0.0 <= self.probability <= 1.0:
            raise ValueError("probability is between 0 and 1")
        if self.seconds < 0:
            raise ValueError("seconds must not be negative")
        self._random = random.Random(self.seed)

    def applies(self, method: str, arguments: Sequence[Any], host: str, received: int) -> bool:
        """Whether the rule fires for this call; counts as it decides. The caller holds the lock of all rules."""
        if not fnmatch.fnmatchcase(method, self.method) or not fnmatch.fnmatchcase(host, self.host):
            return False
        for position, pattern in self.arguments.items():
            if position >= len(arguments) or not fnmatch.fnmatchcase(str(arguments[position]), pattern):
                return False
        if self.nth_received is not None and (received != self.nth_received or method == UNCOUNTED):
            return False
        self.matched += 1
        if self.nth is not None and self.matched != self.nth:
            return False
        if self.count is not None and self.fired >= self.count:
            return False
        if self.probability < 1.0 and self._random.random() >= self.probability:
            return False
        self.fired += 1
        return True

    def describe(self) -> dict[str, Any]:
        """As JSON-friendly members."""
        return {
            "name": self.name,
            "kind": self.kind,
            "method": self.method,
            "arguments": {str(k): v for k, v in self.arguments.items()},
            "host": self.host,
            "nth": self.nth,
            "nth_received": self.nth_received,
            "count": self.count,
            "probability": self.probability,
            "seed": self.seed,
            "error": list(self.error),
            "seconds": self.seconds,
            "matched": self.matched,
            "fired": self.fired,
        }

    @classmethod
    def from_json(cls, members: Mapping[str, Any]) -> Rule:
        """Read what :meth:`describe` writes. Raises ValueError with what is wrong."""
        if not isinstance(members, dict):
            raise ValueError("a rule is an object")
        known = {
            "name": str, "kind": str, "method": str, "arguments": dict, "host": str, "nth": int, "nth_received": int,
            "count": int, "probability": float, "seed": int, "error": list, "seconds": float,
        }  # fmt: skip
        given: dict[str, Any] = {}
        for name, value in members.items():
            if name in ("matched", "fired"):
                continue
            kind = known.get(name)
            if kind is None:
                raise ValueError(f"a rule has no member {name!r}; it has {', '.join(sorted(known))}")
            if value is None and name in ("nth", "nth_received", "count"):
                continue
            if kind is float and isinstance(value, int) and not isinstance(value, bool):
                value = float(value)
            if not isinstance(value, kind) or isinstance(value, bool):
                raise ValueError(f"{name} must be {kind.__name__}")
            given[name] = value
        if "kind" not in given:
            raise ValueError("a rule needs a kind")
        if "arguments" in given:
            try:
                given["arguments"] = {int(k): str(v) for k, v in given["arguments"].items()}
            except ValueError:
                raise ValueError("arguments are named by their position, 0 for the first") from None
        if "error" in given and (not given["error"] or not all(isinstance(word, str) for word in given["error"])):
            raise ValueError("error is a list of texts, the code first")
        return cls(**given)


@dataclass
class Verdict:
    """What the rules say about one call."""

    seconds: float = 0.0
    error: list[str] | None = None
    cut_before: bool = False
    cut_after: bool = False
    wait: Callable[[float], None] = field(default=time.sleep, repr=False)

    def delay(self) -> None:
        """Wait as long as the rules ask."""
        if self.seconds:
            self.wait(self.seconds)


class Interruptible:
    """A wait that ends early when the server stops."""

    def __init__(self) -> None:
        self._ended = threading.Event()

    def wait(self, seconds: float) -> None:
        self._ended.wait(seconds)

    def end(self) -> None:
        self._ended.set()
