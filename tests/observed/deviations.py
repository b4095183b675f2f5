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
"""Where this host differs from a recording, and why: one file per group, ``tests/host/observed/GROUP.json``.

``{"SCENARIO": {"steps": [3, 4] or "all", "reason": "..."}}``. A scenario with ``"all"`` is not played. With
``"members": [...]`` only these members of the records may differ. A step that is listed and agrees is an error, so that
the lists never grow old.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from observed.replayer import Difference

DIRECTORY = Path(__file__).parents[1] / "host" / "observed"


@dataclass(frozen=True)
class Deviation:
    """Steps of one scenario that may differ; ``steps`` None stands for the whole of it."""

    steps: frozenset[int] | None
    reason: str
    members: frozenset[str] | None = None
    """The only members of a record that may differ; None for any difference."""

    def covers(self, difference: Difference) -> bool:
        """Whether a difference is one of those listed."""
        if self.steps is not None and difference.step not in self.steps:
            return False
        expected = difference.expected
        return self.members is None or (isinstance(expected, dict) and expected.keys() <= self.members)


def deviations(group: str) -> dict[str, Deviation]:
    """The listed deviations of a group by scenario."""
    path = DIRECTORY / f"{group}.json"
    if not path.exists():
        return {}
    found = {}
    for scenario, entry in json.loads(path.read_text()).items():
        steps = None if entry["steps"] == "all" else frozenset(entry["steps"])
        members = frozenset(entry["members"]) if "members" in entry else None
        found[scenario] = Deviation(steps, entry["reason"], members)
    return found
