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
"""Which calls of the data model this host implements: what ``xapi-host coverage`` prints, and a page of the docs.

The page is written when the documentation is built (``docs/conf.py``), so that it never tells of another day.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from xapikit.host.classes import load_all
from xapikit.host.registry import handlers
from xapikit.host.server.dispatch import SERVER_SETTERS, Call, build_calls
from xapikit.model import MODEL

Format: TypeAlias = Literal["totals", "text", "markdown", "rst", "json"]

State: TypeAlias = Literal["implemented", "derived", "refused", "removed", "internal"]
MEANING: Mapping[State, str] = {
    "implemented": "with behaviour of its own",
    "derived": "follows from the data model: getters, setters, look-ups, plain constructors",
    "refused": "answers as a host that lacks the feature",
    "removed": "answers MESSAGE_REMOVED, as every host",
    "internal": "between hosts of a pool alone: PERMISSION_DENIED, as on every host",
}


@dataclass(frozen=True)
class Action:
    """An HTTP action of the data model. One that is not served answers 404, and fails the task it was given."""

    name: str
    method: str
    path: str
    served: bool


@dataclass(frozen=True)
class Coverage:
    """Every public call and HTTP action, and what this host makes of it."""

    calls: Mapping[str, Mapping[str, State]]
    """Per class, per call."""
    actions: tuple[Action, ...]

    @property
    def totals(self) -> Mapping[State, int]:
        found = Counter(state for states in self.calls.values() for state in states.values())
        return {state: found[state] for state in MEANING}

    @property
    def served(self) -> int:
        """How many HTTP actions are served."""
        return sum(action.served for action in self.actions)


def coverage() -> Coverage:
    """Look at what is registered."""
    load_all()
    table = build_calls()
    found = {
        spec.name: {name: _state(table[f"{spec.name}.{name}"]) for name in spec.messages}
        for spec in MODEL.classes.values()
    }
    there = handlers().keys() | _ALWAYS_SERVED
    actions = (Action(spec.action, spec.method, spec.path, spec.action in there) for spec in MODEL.http_handlers)
    return Coverage(found, tuple(actions))


def _state(call: Call) -> State:
    if call.message.life.removed:
        return "removed"
    if call.message.pool_internal or call.method in SERVER_SETTERS:
        return "internal"
    if call.derived:
        return "derived"
    return "implemented" if call.implemented else "refused"


def render(form: Format) -> str:
    """The coverage page, without a newline at its end."""
    found = coverage()
    return "\n".join(_RENDERERS[form](found))


def _totals(found: Coverage) -> Iterator[str]:
    totals = found.totals
    for state, meaning in MEANING.items():
        yield f"{totals[state]:5}  {state:12} {meaning}"
    yield f"{sum(totals.values()):5}  calls in {len(found.calls)} classes"
    yield f"{found.served:5}  of {len(found.actions)} HTTP actions served"


def _text(found: Coverage) -> Iterator[str]:
    yield from _totals(found)
    yield ""
    for name, states in found.calls.items():
        for state, calls in _by_state(states):
            yield f"{name} {state}: {' '.join(calls) if state != 'derived' else f'{len(calls)} calls'}"
    yield "HTTP not served: " + " ".join(action.name for action in found.actions if not action.served)


def _markdown(found: Coverage) -> Iterator[str]:
    totals = found.totals
    yield from ("# What the embedded host implements", "", "| state | calls | meaning |", "|---|---|---|")
    yield from (f"| {state} | {totals[state]} | {meaning} |" for state, meaning in MEANING.items())
    yield from ("", "| call | state |", "|---|---|")
    for name, states in found.calls.items():
        yield from (f"| {name}.{call} | {state} |" for call, state in states.items())
    yield from ("", "| HTTP action | request | served |", "|---|---|---|")
    for action in found.actions:
        yield f"| {action.name} | {action.method} {action.path} | {'yes' if action.served else 'no'} |"


def _rst(found: Coverage) -> Iterator[str]:
    totals = found.totals
    title = "What the embedded host implements"
    yield from (title, "=" * len(title), "")
    yield f"{sum(totals.values())} calls in {len(found.calls)} classes; {found.served} of {len(found.actions)} HTTP"
    yield "actions. Written by ``xapi-host coverage --format rst`` when this documentation was built."
    yield ""
    rows = [(state, str(totals[state]), meaning) for state, meaning in MEANING.items()]
    yield from _table(("State", "Calls", "What it means"), rows)
    yield from ("Classes", "-------", "")
    counts = [
        (f"`{name}`_", *(str(Counter(states.values())[state] or "") for state in MEANING))
        for name, states in found.calls.items()
    ]
    yield from _table(("Class", *MEANING), counts)
    yield from ("HTTP actions", "------------", "")
    yield "An action that is not served answers 404 and fails the task that it was given."
    yield ""
    yield from _table(
        ("Action", "Request", "Served"),
        [(a.name, f"``{a.method} {a.path}``", "yes" if a.served else "no") for a in found.actions],
    )
    yield from ("Calls", "-----", "")
    for name, states in found.calls.items():
        yield from (name, "~" * len(name), "")
        for state, calls in _by_state(states):
            yield f"{state}"
            yield f"    {', '.join(f'``{call}``' for call in calls)}"
        yield "" if states else "No calls; a record inside of others.\n"


def _json(found: Coverage) -> Iterator[str]:
    actions = {action.name: action.served for action in found.actions}
    yield json.dumps({"totals": found.totals, "calls": found.calls, "handlers": actions}, indent=1)


def _by_state(states: Mapping[str, State]) -> Iterator[tuple[State, list[str]]]:
    """The calls of a class per state, states without calls left out."""
    for state in MEANING:
        calls = [call for call, its in states.items() if its == state]
        if calls:
            yield state, calls


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """A list-table of reStructuredText."""
    yield from (".. list-table::", "   :header-rows: 1", "")
    for row in (heads, *rows):
        for position, cell in enumerate(row):
            yield f"   {'* -' if position == 0 else '  -'} {cell}".rstrip()
    yield ""


_RENDERERS: Mapping[Format, Callable[[Coverage], Iterator[str]]] = {
    "totals": _totals,
    "text": _text,
    "markdown": _markdown,
    "rst": _rst,
    "json": _json,
}

# what the router serves without a handler function
_ALWAYS_SERVED = frozenset(
    {"post_root", "post_RPC2", "post_json", "post_jsonrpc", "get_root", "post_root_options", "post_json_options"}
    | {"post_jsonrpc_options"}
)
