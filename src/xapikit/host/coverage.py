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
"""Which calls of the data model this host implements: the table that ``xapi-host coverage`` prints."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from typing import Literal, TypeAlias

from xapikit.host.classes import load_all
from xapikit.host.registry import handlers
from xapikit.host.server.dispatch import SERVER_SETTERS, Call, build_calls
from xapikit.model import MODEL

State: TypeAlias = Literal["implemented", "derived", "refused", "removed", "internal"]
_MEANING: Mapping[State, str] = {
    "implemented": "with behaviour of its own",
    "derived": "follows from the data model: getters, setters, look-ups, plain constructors",
    "refused": "answers as a host that lacks the feature",
    "removed": "answers MESSAGE_REMOVED, as every host",
    "internal": "between hosts of a pool alone: PERMISSION_DENIED, as on every host",
}


def coverage() -> dict[str, dict[str, State]]:
    """Per class, what each of its calls is."""
    load_all()
    table = build_calls()
    return {
        spec.name: {name: _state(table[f"{spec.name}.{name}"]) for name in spec.messages}
        for spec in MODEL.classes.values()
    }


def _state(call: Call) -> State:
    if call.message.life.removed:
        return "removed"
    if call.message.pool_internal or call.method in SERVER_SETTERS:
        return "internal"
    if call.derived:
        return "derived"
    return "implemented" if call.implemented else "refused"


def render(form: Literal["totals", "text", "markdown", "json"]) -> str:
    """The coverage page."""
    found = coverage()
    totals = Counter(state for states in found.values() for state in states.values())
    served = handlers()
    actions = {spec.action: spec.action in served or spec.action in _ALWAYS_SERVED for spec in MODEL.http_handlers}
    if form == "json":
        return json.dumps({"totals": totals, "calls": found, "handlers": actions}, indent=1)
    summary = [f"{totals[state]:5}  {state:12} {meaning}" for state, meaning in _MEANING.items()]
    summary.append(f"{sum(totals.values()):5}  calls in {len(found)} classes")
    summary.append(f"{sum(actions.values()):5}  of {len(actions)} HTTP actions served")
    if form == "totals":
        return "\n".join(summary)
    if form == "markdown":
        return _markdown(found, totals, actions)
    lines = [*summary, ""]
    for name, states in found.items():
        for state in _MEANING:
            calls = [call for call, its in states.items() if its == state]
            if calls and state != "derived":
                lines.append(f"{name} {state}: {' '.join(calls)}")
        lines.append(f"{name} derived: {sum(its == 'derived' for its in states.values())} calls")
    lines.append("HTTP not served: " + " ".join(action for action, there in actions.items() if not there))
    return "\n".join(lines)


def _markdown(found: Mapping[str, Mapping[str, State]], totals: Counter[State], actions: Mapping[str, bool]) -> str:
    lines = ["# What the embedded host implements", "", "| state | calls | meaning |", "|---|---|---|"]
    lines += [f"| {state} | {totals[state]} | {meaning} |" for state, meaning in _MEANING.items()]
    lines += ["", "| call | state |", "|---|---|"]
    for name, states in found.items():
        lines += [f"| {name}.{call} | {state} |" for call, state in states.items() if state != "derived"]
    lines += ["", "| HTTP action | served |", "|---|---|"]
    lines += [f"| {action} | {'yes' if there else 'no'} |" for action, there in actions.items()]
    return "\n".join(lines)


# what the router serves without a handler function
_ALWAYS_SERVED = frozenset(
    {"post_root", "post_RPC2", "post_json", "post_jsonrpc", "get_root", "post_root_options", "post_json_options"}
    | {"post_jsonrpc_options"}
)
