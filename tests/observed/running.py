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
"""Plays a whole group against a pool and weighs the differences with the listed deviations."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from observed.deviations import deviations
from observed.replayer import Difference, Replayer
from xapikit.host import EmbeddedHost

RECORDED_POOL: Final[dict[str, Any]] = {
    "hosts": 2,
    "network_backend": "bridge",
    "options": {"storage_lacks": "VDI_CONFIG_CBT:VDI_RESET_ON_BOOT:VDI_GENERATE_CONFIG"},
}
"""How to start a pool like the recorded one, whose storage managers were stand-ins that can do less than real ones."""


@dataclass
class GroupResult:
    """What one group's replay came to."""

    group: str
    scenarios: int = 0
    agree: int = 0
    """Scenarios without any difference."""
    steps: int = 0
    unplayed: int = 0
    """Steps that say too little to be played again, and remarks that are not checked."""
    deviating: int = 0
    """Steps that differ with a listed reason, those of scenarios that were not played included."""
    differences: list[Difference] = field(default_factory=list)
    """Those without one."""
    outdated: list[str] = field(default_factory=list)
    """Listed steps that agree by now, and listed scenarios that are not recorded."""

    def __str__(self) -> str:
        return (
            f"{self.group:13} {self.agree:3} of {self.scenarios:3} scenarios agree; {self.steps:4} steps: "
            f"{self.unplayed} cannot be played, {self.deviating} deviate with a reason, "
            f"{len(self.differences)} without"
        )


def groups(directory: Path) -> list[str]:
    """The recorded groups, in the order of their names."""
    return sorted(path.stem for path in directory.glob("*.json"))


def scenarios(directory: Path, group: str) -> list[dict[str, Any]]:
    loaded: list[dict[str, Any]] = json.loads((directory / f"{group}.json").read_text())["scenarios"]
    return loaded


def replay(xapi: EmbeddedHost, directory: Path, group: str) -> GroupResult:
    """Play a group against a fresh pool like the recorded one."""
    replayer = Replayer(xapi, directory, group)
    listed = deviations(group)
    result = GroupResult(group)
    for scenario in scenarios(directory, group):
        name, count = scenario["name"], len(scenario["steps"])
        deviation = listed.pop(name, None)
        result.scenarios += 1
        result.steps += count
        if deviation is not None and deviation.steps is None:
            result.deviating += count
            continue
        found = replayer.play(scenario)
        listed_steps = deviation.steps or frozenset() if deviation is not None else frozenset()
        unlisted = [one for one in found if deviation is None or not deviation.covers(one)]
        result.agree += not found
        result.deviating += len(found) - len(unlisted)
        result.differences += unlisted
        result.outdated += [f"{name}[{step}]" for step in sorted(listed_steps - {one.step for one in found})]
    result.outdated += listed
    result.unplayed = replayer.unplayed
    return result


def total(results: list[GroupResult]) -> str:
    """The line over all groups."""
    return (
        f"total: {len(results)} groups, {sum(r.scenarios for r in results)} scenarios, {sum(r.steps for r in results)} "
        f"steps; {sum(r.agree for r in results)} scenarios agree throughout; {sum(r.unplayed for r in results)} steps "
        f"cannot be played, {sum(r.deviating for r in results)} deviate with a reason, "
        f"{sum(len(r.differences) for r in results)} without"
    )
