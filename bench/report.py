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
"""One figure as a value, and the two ways in which figures are shown: JSON lines as they come, a table at the end."""

import json
import sys
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """One measured value. `variant` tells figures of one name apart; `limit` is what it must not exceed."""

    name: str
    value: float
    unit: str
    variant: str | None = None
    versus: str | None = None
    #: ours divided by theirs, both in seconds; lower is better
    ratio: float | None = None
    limit: float | None = None
    #: what the reader should know about how it came about
    note: str | None = None

    def json(self) -> str:
        fields = {
            "name": self.name,
            "value": _short(self.value),
            "unit": self.unit,
            "variant": self.variant,
            "versus": self.versus,
            "ratio": None if self.ratio is None else round(self.ratio, 3),
            "limit": self.limit,
            "note": self.note,
        }
        return json.dumps({key: value for key, value in fields.items() if value is not None})

    @property
    def within(self) -> bool:
        return self.limit is None or self.value <= self.limit


def _short(value: float) -> float:
    return int(value) if value == int(value) else round(value, 3)


def emit(figure: Figure) -> None:
    print(figure.json(), flush=True)


def table(figures: Iterable[Figure]) -> str:
    rows = [("figure", "value", "unit", "versus", "ratio", "note")]
    for one in figures:
        rows.append(
            (
                one.name if one.variant is None else f"{one.name} ({one.variant})",
                f"{_short(one.value):,}" + ("" if one.within else f"  over the limit of {one.limit:g}"),
                one.unit,
                one.versus or "",
                "" if one.ratio is None else f"{one.ratio:.2f}",
                one.note or "",
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    right = {1, 4}
    lines = []
    for row in rows:
        cells = [
            cell.rjust(width) if column in right else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(lines)


def say(text: str) -> None:
    """Progress for people; standard output is for figures."""
    print(text, file=sys.stderr, flush=True)
