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
"""Strict reading of rules and scenarios: every member is asked for by name and type, any other is refused.

What is wrong is said with the place: ``flaky.toml:12: rules[2].metod: unknown, did you mean 'method'?``.
"""

from __future__ import annotations

import difflib
import json
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


class ScenarioError(ValueError):
    """A rule or a scenario that cannot be used; the text says where and why."""


@dataclass(frozen=True)
class Source:
    """Where tables come from, to say so when something is wrong with them."""

    name: str = ""
    lines: Mapping[str, int] = field(default_factory=dict)
    """Line per path, such as ``rules[2].method``, as far as known; 1 is the first."""

    def error(self, path: str, why: str) -> ScenarioError:
        """The error of a member."""
        line = self._line(path)
        place = self.name or (f"line {line}" if line else "")
        if self.name and line:
            place += f":{line}"
        return ScenarioError(": ".join(part for part in (place, path, why) if part))

    def _line(self, path: str) -> int | None:
        while path:
            if path in self.lines:
                return self.lines[path]
            path = path.rpartition(".")[0]
        return None


def parse(text: str, name: str = "") -> tuple[dict[str, Any], Source]:
    """Read TOML, or JSON (anything that begins with a brace). Raises ScenarioError for what is neither."""
    try:
        if text.lstrip().startswith("{"):
            found = json.loads(text)
            return found, Source(name)
        return tomllib.loads(text), Source(name, _lines(text))
    except (ValueError, RecursionError) as error:  # both parsers say the line
        raise ScenarioError(f"{name}: {error}" if name else str(error)) from None


_TABLES = re.compile(r"\s*\[\[\s*([\w.-]+)\s*\]\]")
_TABLE = re.compile(r"\s*\[\s*([\w.-]+)\s*\]")
_MEMBER = re.compile(r"\s*(\"[^\"]*\"|'[^']*'|[\w.-]+)\s*=")


def _lines(text: str) -> dict[str, int]:
    """The line of each table and member of a TOML text that is spelled plainly."""
    counts: dict[str, int] = {}
    found: dict[str, int] = {}
    prefix = ""

    def path(dotted: str) -> str:
        first, dot, rest = dotted.partition(".")
        return f"{first}[{counts[first]}]{dot}{rest}" if first in counts else dotted

    for number, line in enumerate(text.splitlines(), 1):
        if match := _TABLES.match(line):
            counts[match[1]] = counts.get(match[1], 0) + 1
            prefix = path(match[1])
            found[prefix] = number
        elif match := _TABLE.match(line):
            prefix = path(match[1])
            found[prefix] = number
        elif match := _MEMBER.match(line):
            member = match[1].strip("\"'")
            found.setdefault(f"{prefix}.{member}" if prefix else member, number)
    return found


class Reader:
    """One table. Ask for its members, then :meth:`end`."""

    def __init__(self, members: Any, source: Source | None = None, path: str = "") -> None:
        self.source = source or Source()
        self.path = path
        if not isinstance(members, dict):
            raise self.source.error(path, "must be a table (an object)")
        self._members = members
        self._asked: list[str] = []

    def has(self, name: str) -> bool:
        """Whether a member is given; null is as good as none."""
        self._asked.append(name)
        return self._members.get(name) is not None

    def text(self, name: str, default: str = "", *, among: Sequence[str] = ()) -> str:
        """A text, perhaps one of a few."""
        if not self.has(name):
            return default
        value = self._members[name]
        if not isinstance(value, str):
            raise self.error(name, "must be a text")
        if among and value not in among:
            raise self.error(name, f"{value!r} is none of {', '.join(among)}{_meant(value, among)}")
        return value

    def whole(self, name: str, default: int, *, least: int | None = None) -> int:
        """A whole number."""
        found = self.maybe_whole(name, least=least)
        return default if found is None else found

    def maybe_whole(self, name: str, *, least: int | None = None) -> int | None:
        """A whole number or nothing."""
        if not self.has(name):
            return None
        value = self._members[name]
        if not isinstance(value, int) or isinstance(value, bool):
            raise self.error(name, "must be a whole number")
        if least is not None and value < least:
            raise self.error(name, f"must be at least {least}")
        return value

    def number(self, name: str, default: float, *, most: float | None = None) -> float:
        """A number that is not negative."""
        found = self.maybe_number(name, most=most)
        return default if found is None else found

    def maybe_number(self, name: str, *, most: float | None = None) -> float | None:
        """A number that is not negative, or nothing."""
        if not self.has(name):
            return None
        value = self._members[name]
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise self.error(name, "must be a number")
        if not 0 <= value < float("inf") or (most is not None and value > most):
            raise self.error(name, "must be at least 0" + (f" and at most {most:g}" if most is not None else ""))
        return float(value)

    def texts(self, name: str) -> list[str]:
        """A list of texts with at least one in it; empty when not given."""
        if not self.has(name):
            return []
        value = self._members[name]
        if not isinstance(value, list) or not value or not all(isinstance(word, str) for word in value):
            raise self.error(name, "must be a list of texts, not empty")
        return value

    def patterns(self, name: str) -> dict[str, str]:
        """A table of texts; numbers and truth values are taken as their texts."""
        if not self.has(name):
            return {}
        value = self._members[name]
        if not isinstance(value, dict) or not all(isinstance(item, str | int | float) for item in value.values()):
            raise self.error(name, "must be a table of texts")
        return {str(key): json.dumps(item) if not isinstance(item, str) else item for key, item in value.items()}

    def table(self, name: str) -> Reader | None:
        """A table inside this one."""
        return Reader(self._members[name], self.source, self._path(name)) if self.has(name) else None

    def tables(self, name: str) -> list[Reader]:
        """A list of tables."""
        if not self.has(name):
            return []
        value = self._members[name]
        if not isinstance(value, list):
            raise self.error(name, "must be a list of tables")
        path = self._path(name)
        return [Reader(item, self.source, f"{path}[{number}]") for number, item in enumerate(value, 1)]

    def skip(self, *names: str) -> None:
        """Members that are known and not of interest."""
        self._asked.extend(names)

    def error(self, name: str, why: str) -> ScenarioError:
        """The error of one member; of the table itself when ``name`` is empty."""
        return self.source.error(self._path(name) if name else self.path, why)

    def end(self) -> None:
        """Refuse members that nobody asked for."""
        for name in self._members:
            if name not in self._asked:
                known = sorted(set(self._asked))
                raise self.error(str(name), f"unknown{_meant(str(name), known)}; known are {', '.join(known)}")

    def _path(self, name: str) -> str:
        return f"{self.path}.{name}" if self.path else name


def _meant(given: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(given, known, 1)
    return f" (did you mean {close[0]!r}?)" if close else ""
