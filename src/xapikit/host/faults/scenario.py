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
"""Scenarios: rules and events under one name and one seed, read from data files.

A file is TOML (or JSON), checked strictly::

    name = "bad-evening"
    description = "Answers get lost, and ten seconds in the SRs are full."
    seed = 7

    [[rules]]                       # as in Rule: which calls, and what happens to them
    kind = "cut_after"
    method = "VM.create"
    probability = 0.2

    [[events]]                      # things that happen to the host
    event = "sr_full"
    at = 10.0                       # seconds after the start; or: when = { method = "VDI.create", nth = 3 }
    lasts = 30.0
    sr = "Local storage"

What the events do is in :mod:`~xapikit.host.faults.effects`, when they do it in :mod:`~xapikit.host.faults.playing`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias, cast

from xapikit.host.faults.matching import Match
from xapikit.host.faults.reading import Reader, ScenarioError, Source, parse
from xapikit.host.faults.rules import Rule

EventKind: TypeAlias = Literal["restart", "link_cut", "host_off", "sr_full", "slow_disk", "guest_dies"]

_MEMBERS: dict[EventKind, tuple[str, ...]] = {
    "restart": (),
    "link_cut": ("host",),
    "host_off": ("host",),
    "sr_full": ("sr", "bytes"),
    "slow_disk": ("sr", "bytes_per_second"),
    "guest_dies": ("vm", "end"),
}
"""What each event takes besides its time."""
_LASTING = frozenset({"link_cut", "host_off", "sr_full", "slow_disk"})
ENDS = ("crash", "poweroff", "reboot")
_SHIPPED = Path(__file__).parent / "scenarios"


@dataclass(frozen=True)
class Event:
    """One thing that happens to the host, at a time or after calls."""

    event: EventKind
    name: str = ""
    at: float | None = None
    """Seconds after the start of the scenario."""
    when: Match | None = None
    """Or whenever a call satisfies this."""
    delay: float = 0.0
    """So many seconds after that call arrived."""
    every: float | None = None
    """With ``at``: again and again, so many seconds apart..."""
    times: int | None = None
    """... so often in all; None: to the end."""
    lasts: float | None = None
    """How long, in seconds; None: until the scenario ends."""
    host: str = "*"
    """Glob over reference, uuid or name; ``coordinator`` is the one."""
    sr: str = "*"
    """Glob over uuid or name; ``*``: every SR that has files of its own."""
    bytes: int = 0
    """For ``sr_full``: so much can still be written."""
    bytes_per_second: int = 1 << 20
    vm: str = "*"
    """Glob over uuid or name; one of the running VMs that fit is taken at random."""
    end: Literal["crash", "poweroff", "reboot"] = "crash"

    @classmethod
    def read(cls, reader: Reader) -> Event:
        """Read one table. Raises ScenarioError."""
        kind = cast(EventKind, reader.text("event", among=tuple(_MEMBERS)))
        if not kind:
            raise reader.error("event", f"is needed: one of {', '.join(_MEMBERS)}")
        given: dict[str, Any] = {"name": reader.text("name"), "at": reader.maybe_number("at")}
        conditions = reader.table("when")
        if conditions is not None:
            given["when"] = Match(**Match.read_conditions(conditions))
            given["delay"] = reader.number("delay", 0.0)
            conditions.end()
        if (given["at"] is None) == (conditions is None):
            raise reader.error("", "an event has either a time (at) or a call (when)")
        if conditions is None:
            given["every"], given["times"] = reader.maybe_number("every"), reader.maybe_whole("times", least=1)
            if given["every"] == 0:
                raise reader.error("every", "must be more than 0")
            if given["times"] is not None and given["every"] is None:
                raise reader.error("times", "needs every")
        if kind in _LASTING:
            given["lasts"] = reader.maybe_number("lasts")
        for member in _MEMBERS[kind]:
            if member in ("host", "sr", "vm"):
                given[member] = reader.text(member, "*")
            elif member == "end":
                given[member] = reader.text(member, "crash", among=ENDS)
            elif member == "bytes":
                given[member] = reader.whole(member, 0, least=0)
            else:
                given[member] = reader.whole(member, 1 << 20, least=1)
        reader.end()
        return cls(kind, **given)


@dataclass(frozen=True)
class Scenario:
    """What a file says, checked. Rules and triggers count, so they are made anew each time a scenario is played."""

    name: str
    description: str
    seed: int
    data: Mapping[str, Any]
    source: Source = field(default_factory=Source, repr=False)

    def rules(self, seed: int | None = None) -> list[Rule]:
        """Fresh rules. One without a seed of its own gets one that follows from the scenario's and its name."""
        found: list[Rule] = []
        for number, reader in enumerate(Reader(dict(self.data), self.source).tables("rules"), 1):
            own = reader.has("seed")
            rule = Rule.read(reader)
            rule.name = rule.name or f"rule-{number}"
            if any(other.name == rule.name for other in found):
                raise reader.error("name", f"{rule.name!r} is the name of another rule")
            if not own:
                rule.reseed(derived_seed(self.seed if seed is None else seed, rule.name))
            found.append(rule)
        return found

    def events(self, seed: int | None = None) -> list[Event]:
        """Fresh events, as :meth:`rules`."""
        found: list[Event] = []
        for number, reader in enumerate(Reader(dict(self.data), self.source).tables("events"), 1):
            event = Event.read(reader)
            event = replace(event, name=event.name or f"{event.event}-{number}")
            if any(other.name == event.name for other in found):
                raise reader.error("name", f"{event.name!r} is the name of another event")
            if event.when is not None:
                event.when.name = event.name
                event.when.reseed(derived_seed(self.seed if seed is None else seed, event.name))
            found.append(event)
        return found


def derived_seed(seed: int, name: str) -> int:
    """The seed of one part of a scenario: the same in every process."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{name}".encode()).digest()[:6], "big")


def read_scenario(text: str, name: str = "") -> Scenario:
    """Read a scenario from TOML or JSON; ``name`` is what it came from. Raises ScenarioError."""
    return _checked(*parse(text, name))


def load_scenario(given: Scenario | Path | str | Mapping[str, Any]) -> Scenario:
    """A scenario from a file, from its members, or one of those that come with this package, by name.

    Raises ScenarioError, also for a file that is not there.
    """
    if isinstance(given, Scenario):
        return given
    if isinstance(given, Mapping):
        return _checked(dict(given), Source())
    path = Path(given)
    if isinstance(given, str) and path.name == given and not path.suffix and not path.exists():
        if given not in shipped_names():
            raise ScenarioError(f"no file and no scenario {given!r}; there are {', '.join(shipped_names())}")
        path = _SHIPPED / f"{given}.toml"
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ScenarioError(f"{path}: {error}") from None
    return read_scenario(text, str(path))


def shipped_names() -> list[str]:
    """The scenarios that come with this package."""
    return sorted(path.stem for path in _SHIPPED.glob("*.toml"))


def shipped_text(name: str) -> str:
    """The file of a scenario that comes with this package. Raises ScenarioError."""
    return Path(load_scenario(name).source.name).read_text(encoding="utf-8")


def _checked(members: Any, source: Source) -> Scenario:
    reader = Reader(members, source)
    name = reader.text("name")
    if not name or "/" in name:
        raise reader.error("name", "is needed: a text without a slash")
    scenario = Scenario(name, reader.text("description"), reader.whole("seed", 0), members, source)
    reader.skip("rules", "events")
    reader.end()
    if not scenario.rules() and not scenario.events():
        raise reader.error("", "a scenario needs rules or events")
    return scenario
