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

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, cast

from xapikit.host.faults.matching import Match, Received
from xapikit.host.faults.reading import Reader

Kind: TypeAlias = Literal["error", "delay", "cut_before", "cut_after", "cut_during", "restart", "coordinator_loss"]
KINDS: tuple[Kind, ...] = ("error", "delay", "cut_before", "cut_after", "cut_during", "restart", "coordinator_loss")


@dataclass
class Rule(Match):
    """``Rule("error", method="VDI.clone", error=["SR_FULL", "1", "2"], count=1)``; conditions are those of a Match."""

    kind: Kind
    error: Sequence[str] = ("INTERNAL_ERROR", "injected")
    """For ``error``: what the client is told."""
    seconds: float = 0.0
    """For ``delay``; other kinds wait as well when it is given."""
    seconds_more: float = 0.0
    """The wait is longer by up to so much, at random."""
    bytes: int = 0
    """For ``cut_during``: how many bytes of the answer, or of a transfer's body, still pass."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.kind not in KINDS:
            raise ValueError(f"kind {self.kind!r} is none of {', '.join(KINDS)}")
        if self.seconds < 0 or self.seconds_more < 0:
            raise ValueError("seconds must not be negative")
        if self.bytes < 0:
            raise ValueError("bytes must not be negative")

    def judge(self, call: Received, elapsed: float, verdict: Verdict) -> bool:
        """Add to the verdict when the rule fires for this call; says whether. The caller holds the lock of all."""
        if not self.applies(call, elapsed):
            return False
        verdict.seconds += self.seconds
        if self.seconds_more:
            verdict.seconds += self.random.uniform(0.0, self.seconds_more)
        if self.kind == "error":
            verdict.error = verdict.error or list(self.error)
        elif self.kind in ("cut_before", "restart", "coordinator_loss"):
            verdict.cut_before = True
        elif self.kind == "cut_after":
            verdict.cut_after = True
        elif self.kind == "cut_during":
            verdict.cut_during = self.bytes if verdict.cut_during is None else min(verdict.cut_during, self.bytes)
        return True

    def describe(self) -> dict[str, Any]:
        """As JSON-friendly members."""
        own = {
            "kind": self.kind,
            "error": list(self.error),
            "seconds": self.seconds,
            "seconds_more": self.seconds_more,
            "bytes": self.bytes,
        }
        return {**self.conditions(), **own}

    @classmethod
    def read(cls, reader: Reader) -> Rule:
        """Read what :meth:`describe` writes. Raises ScenarioError."""
        given = Match.read_conditions(reader)
        kind = cast(Kind, reader.text("kind", among=KINDS))
        error = reader.texts("error")
        if error:
            given["error"] = error
        given["seconds"], given["seconds_more"] = reader.number("seconds", 0.0), reader.number("seconds_more", 0.0)
        given["bytes"] = reader.whole("bytes", 0, least=0)
        reader.end()
        if not kind:
            raise reader.error("kind", f"is needed: one of {', '.join(KINDS)}")
        return cls(**given, kind=kind)

    @classmethod
    def from_json(cls, members: Mapping[str, Any]) -> Rule:
        """Read what :meth:`describe` writes. Raises ValueError with what is wrong."""
        return cls.read(Reader(members))


@dataclass
class Verdict:
    """What the rules say about one call."""

    seconds: float = 0.0
    error: list[str] | None = None
    cut_before: bool = False
    cut_after: bool = False
    cut_during: int | None = None
    """The connection breaks after so many bytes."""
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
