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
"""What hosts, pools, networks, appliances and virtual TPMs allow: ``places.json`` read with the facts of one object."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from xapikit.host.lifecycle.tables import table

Error = tuple[str, ...]


@dataclass(frozen=True)
class PlaceFacts:
    """What the rules look at."""

    class_name: str
    ref: str
    facts: Mapping[str, object]
    """By the names under ``listed_when``; a flag, a text, or a set of texts that all count."""
    current: Mapping[str, str] = field(default_factory=dict)
    """``current_operations``: operation reference -> operation."""


def place_error(place: PlaceFacts, operation: str) -> Error | None:
    """The error that an operation gets now, or None. An operation that meets another one waits for it."""
    rules = table("places")[place.class_name]
    for key, running in place.current.items():
        apart = any(
            (operation in one and running in other) or (operation in other and running in one)
            for one, other in rules.get("apart", ())
        )
        if apart or (operation == running and operation in rules.get("once", ())):
            return ("OTHER_OPERATION_IN_PROGRESS", place.class_name, place.ref, running, key)
    if operation not in _applicable(place) and operation in rules.get("refused", {}):
        return tuple(rules["refused"][operation])
    return None


def allowed_place_operations(place: PlaceFacts) -> list[str]:
    """``allowed_operations``, in the order of the table."""
    return [operation for operation in dict.fromkeys(_applicable(place)) if place_error(place, operation) is None]


def _applicable(place: PlaceFacts) -> list[str]:
    rules = table("places")[place.class_name]
    listed: list[str] = list(rules["listed"])
    for name, by_value in rules.get("listed_when", {}).items():
        for value in _values(place.facts[name]):
            listed += by_value.get(value, ())
    return listed


def _values(fact: object) -> Iterator[str]:
    if isinstance(fact, bool):
        yield "true" if fact else "false"
    elif isinstance(fact, str):
        yield fact
    elif isinstance(fact, set | frozenset):
        yield from sorted(fact)
    else:
        raise TypeError(f"no fact of a place: {fact!r}")
