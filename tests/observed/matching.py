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
"""When a value is the one recorded: symbols, values that are not compared, sets in any order, and what a
recording has in short: counted lists, ``present``, records without their references. A new short form goes here."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from observed.symbols import ANYTHING, SYMBOL, Symbols
from xapikit.model import NULL_REF

CUT_LIST = {"count", "first", "last"}
COUNTED = re.compile(r"\d+ (events|bytes|entries|records)")
HOST_URL = re.compile(r"https://\$(host\d)_address")
PRESENT = "present"
"""Stands for a reference that is not null."""
GENERATION_ID = re.compile(r"-?\d{10,}:-?\d{10,}")
"""Two random numbers."""


class Matcher:
    """Compares with what was recorded and binds symbols on the way."""

    def __init__(self, symbols: Symbols, fill: Callable[[Any], Any]) -> None:
        self._symbols = symbols
        self._fill = fill

    def matches(self, wanted: Any, got: Any) -> bool:
        if isinstance(wanted, str) and COUNTED.fullmatch(wanted):
            return True
        if wanted == PRESENT:
            return isinstance(got, str) and got not in ("", NULL_REF)
        if isinstance(wanted, str) and not isinstance(got, list | dict):
            return self._text(wanted, str(got) if isinstance(got, str) else got)
        if isinstance(wanted, str) and wanted.startswith("$") and wanted[1:] in ANYTHING:
            return True
        if isinstance(wanted, str) and SYMBOL.fullmatch(wanted):
            return bool(self._symbols.setdefault(wanted[1:], got) == got)
        if isinstance(wanted, list) and isinstance(got, list):
            return self._lists(wanted, got)
        if isinstance(wanted, dict) and wanted.keys() == CUT_LIST and isinstance(got, list):
            head, tail = len(wanted["first"]), len(wanted["last"])
            return wanted == {"count": len(got), "first": got[:head], "last": got[-tail:]}
        if isinstance(wanted, list) and isinstance(got, dict):
            return self._records(wanted, list(got.values()))
        if isinstance(wanted, dict) and isinstance(got, dict):
            return self._maps(wanted, got)
        if isinstance(wanted, float) and isinstance(got, float):
            return abs(wanted - got) < 1e-9
        return bool(wanted == got and isinstance(wanted, bool) == isinstance(got, bool))

    def unlike(self, wanted: Any, got: Any) -> tuple[Any, Any]:
        """Only the members that differ."""
        if isinstance(wanted, dict) and isinstance(got, dict):
            names = [
                n for n in {**wanted, **got} if n not in wanted or n not in got or not self.matches(wanted[n], got[n])
            ]
            return {n: wanted.get(n, "(absent)") for n in names}, {n: got.get(n, "(absent)") for n in names}
        return wanted, got

    def _lists(self, wanted: list[Any], got: list[Any]) -> bool:
        if wanted and got and all(isinstance(e, dict) and "operation" in e for e in wanted + got):
            wanted, got = sorted(wanted, key=_event_order), sorted(got, key=_event_order)
        if len(wanted) != len(got):
            return False
        if all(self.matches(w, g) for w, g in zip(wanted, got, strict=True)):
            return True
        if all(isinstance(item, str) for item in wanted + got):
            return sorted(str(self._fill(item)) for item in wanted) == sorted(got)
        return False

    def _records(self, wanted: list[Any], got: list[Any]) -> bool:
        """Records that a call answers by reference, recorded as a list of the members that matter in any order."""
        left = list(got)
        for record in wanted:
            if not isinstance(record, dict):
                return False
            same = [one for one in left if self.matches(record, {k: one.get(k) for k in record})]
            if not same:
                return False
            left.remove(same[0])
        return not left

    def _maps(self, wanted: dict[str, Any], got: dict[str, Any]) -> bool:
        filled = {self._fill(k) if k[1:] in self._symbols else k: v for k, v in wanted.items()}
        unknown = [k for k in filled if k not in got]
        spare = [k for k in got if k not in filled]
        if len(unknown) == len(spare) == 1 and "$" in unknown[0] and self._text(unknown[0], spare[0]):
            filled[spare[0]] = filled.pop(unknown[0])
        return filled.keys() == got.keys() and all(self.matches(v, got[k]) for k, v in filled.items())

    def _text(self, wanted: str, got: Any) -> bool:
        if wanted.startswith("$") and wanted[1:] in ANYTHING:
            return True
        if not isinstance(got, str):
            return wanted == got
        wanted = HOST_URL.sub(r"$\1_url", wanted)  # hosts have ports here, and speak HTTP when asked to
        if GENERATION_ID.fullmatch(wanted):
            return GENERATION_ID.fullmatch(got) is not None
        names: list[str] = []
        pattern = ""
        position = 0
        for found in SYMBOL.finditer(wanted):
            pattern += re.escape(wanted[position : found.start()])
            name = found[1]
            if name in ANYTHING:
                pattern += r".*?"
            elif name in self._symbols and f"${name}" != wanted:
                pattern += re.escape(str(self._symbols[name]))
            elif name in self._symbols:
                return bool(got == self._symbols[name])
            else:
                pattern += r"(.*?)"
                names.append(name)
            position = found.end()
        pattern += re.escape(wanted[position:])
        matched = re.fullmatch(pattern, got, re.DOTALL)
        if matched is None:
            return False
        for name, value in zip(names, matched.groups(), strict=True):
            self._symbols[name] = value
        return True


def _event_order(event: dict[str, Any]) -> tuple[str, str]:
    return event["class"], event["operation"]
