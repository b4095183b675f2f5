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
"""Round-robin archives: 120 x 5 s, 120 x 60 s, 168 x 1 h, 366 x 1 d, averages (wire reference 5.5)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

STEP_SECONDS = 5
ARCHIVES = ((1, 120), (12, 120), (720, 168), (17280, 366))
"""Steps per row, and rows kept."""

Values: TypeAlias = Mapping[str, float]


@dataclass
class Consolidation:
    """One archive: every row is the average of ``steps`` samples."""

    steps: int
    kept: int
    rows: tuple[tuple[int, Values], ...] = ()
    """Oldest first. Replaced and never changed: requests read it while samples are taken."""
    _sums: dict[str, tuple[float, int]] = field(default_factory=dict)
    _end: int = 0

    @property
    def seconds(self) -> int:
        """Width of a row."""
        return self.steps * STEP_SECONDS

    @property
    def span(self) -> int:
        """Seconds that the archive reaches back."""
        return self.seconds * self.kept

    def push(self, moment: int, values: Values) -> None:
        end = -(-moment // self.seconds) * self.seconds
        if self._end and end != self._end:
            self._close()
        self._end = end
        for name, value in values.items():
            if not math.isnan(value):
                total, count = self._sums.get(name, (0.0, 0))
                self._sums[name] = (total + value, count + 1)
        if self.steps == 1:
            self._close()

    def _close(self) -> None:
        row = self._end, {name: total / count for name, (total, count) in self._sums.items()}
        self.rows = (*self.rows, row)[-self.kept :]
        self._sums = {}
        self._end = 0


class Archive:
    """All archives of one host or VM."""

    def __init__(self) -> None:
        self.consolidations = [Consolidation(steps, kept) for steps, kept in ARCHIVES]
        self.last_update = 0.0
        self.last_values: Values = {}

    @property
    def names(self) -> list[str]:
        return list(self.last_values)

    def push(self, moment: float, values: Values) -> None:
        """Add a sample; several within one step replace each other's meaning by their average."""
        slot = int(moment) - int(moment) % STEP_SECONDS
        first = self.consolidations[0]
        if first.rows and first.rows[-1][0] == slot:
            first.rows = first.rows[:-1]
        for one in self.consolidations:
            one.push(slot, values)
        self.last_update = moment
        self.last_values = values

    def choose(self, start: float, now: float, interval: int | None) -> Consolidation:
        """The archive for a question: the finest that reaches back to ``start``, or at least ``interval`` wide."""
        if interval is not None:
            return next((one for one in self.consolidations if one.seconds >= interval), self.consolidations[-1])
        return next((one for one in self.consolidations if now - start <= one.span), self.consolidations[-1])

    def dump(self) -> dict[str, Any]:
        """As JSON, for a stopped VM."""
        rows = [list(one.rows) for one in self.consolidations]
        return {"last_update": self.last_update, "last_values": dict(self.last_values), "rows": rows}

    @classmethod
    def load(cls, data: Mapping[str, Any]) -> Archive:
        """Read what :meth:`dump` gave. Raises KeyError, TypeError, ValueError."""
        archive = cls()
        archive.last_update = float(data["last_update"])
        archive.last_values = {str(name): float(value) for name, value in data["last_values"].items()}
        for one, rows in zip(archive.consolidations, data["rows"], strict=True):
            one.rows = tuple((int(moment), dict(values)) for moment, values in rows)
        return archive
