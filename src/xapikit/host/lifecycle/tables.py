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
"""Reading the table files: states, what a transition resets, life-cycle messages."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

HALTED, PAUSED, SUSPENDED, RUNNING = "Halted", "Paused", "Suspended", "Running"


@functools.cache
def table(name: str) -> Mapping[str, Any]:
    """One table file of this package; shared between callers, who must not change it."""
    text = files(__package__).joinpath(f"{name}.json").read_text(encoding="utf-8")
    content: dict[str, Any] = json.loads(text)
    return content


def state_text(states: Iterable[str]) -> str:
    """``paused, suspended, running``: several states as error parameters name them, in the fixed order."""
    wanted = set(states)
    return ", ".join(state.lower() for state in table("vm")["states"] if state in wanted)


@dataclass(frozen=True)
class Reset:
    """What changes with a transition: members of the VM, of each device, of VM_metrics; classes whose rows go."""

    vm: Mapping[str, Any]
    devices: Mapping[str, Any]
    metrics: Mapping[str, Any]
    deleted: tuple[str, ...]


@functools.cache
def reset(state: str) -> Reset:
    """The reset on becoming ``Halted`` or ``Suspended`` (wire reference 3.5)."""
    data = table("vm")[f"becoming_{state.lower()}"]
    return Reset(data["VM"], data.get("devices", {}), data.get("VM_metrics", {}), tuple(data["deleted"]))


@dataclass(frozen=True)
class Message:
    """A life-cycle message as it is stored."""

    name: str
    priority: int
    body: str


def message(event: str, vm: Mapping[str, Any], **texts: str) -> Message:
    """The message of a life-cycle event: ``message("started", row, host=...)``. Unknown events raise KeyError."""
    entry = table("vm")["messages"][event]
    text = entry["text"].format_map(texts)
    return Message(entry["name"], entry["priority"], f"VM '{vm['name_label']}' (uuid: {vm['uuid']}) {text}")
