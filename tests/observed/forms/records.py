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
"""Records that are named by what they add to another one."""

from __future__ import annotations

import ast
import json
import re
from typing import Any

from xapikit.model import MODEL

# what the recorded records had beside the members that are named
UNNAMED: dict[str, dict[str, Any]] = {"VDI": {"name_label": "golden-v"}, "VBD": {"bootable": True}}
UNNOTED: dict[str, dict[str, Any]] = {"VDI": {"name_label": "probe-vdi"}}


def minimal_vm_with_members(match: re.Match[str], method: str, minimal: dict[str, Any]) -> dict[str, Any]:
    """``name_label=x, tags=['t1'], VCPUs_max=3``"""
    return minimal | {name: _value(name, value) for name, value in _members(match[1])}


def minimal_vm_with_json(match: re.Match[str], method: str, minimal: dict[str, Any]) -> dict[str, Any]:
    return minimal | json.loads(match[1])


def record_with_json(match: re.Match[str], method: str, minimal: dict[str, Any]) -> dict[str, Any]:
    """``{SR: $sr1, type: user, ...} with {...}``: the dots stand for the mandatory fields, empty."""
    named = dict(member.split(": ", 1) for member in match[1].split(", "))
    named = {name: "" if value == '""' else value for name, value in named.items()}
    return _completed(method, {**UNNAMED.get(method.partition(".")[0], {}), **named, **json.loads(match[2])})


def disk_of_a_type(match: re.Match[str], method: str, minimal: dict[str, Any]) -> dict[str, Any]:
    """``type=cbt_metadata``: the kind is what the call was about."""
    return _completed(method, {"SR": "$sr1", "virtual_size": "8388608", "type": match[1]})


def noted_record(method: str, record: dict[str, Any]) -> dict[str, Any]:
    return _completed(method, {**UNNOTED.get(method.partition(".")[0], {}), **record})


def _completed(method: str, record: dict[str, Any]) -> dict[str, Any]:
    """The record with the other mandatory fields of its class, which are empty."""
    fields = MODEL.classes[method.partition(".")[0]].fields.values()
    zeros = {f.name: f.type.zero() for f in fields if f.mandatory}
    return {**{k: str(v) if v == 0 and v is not False else v for k, v in zeros.items()}, **record}


def _members(text: str) -> list[tuple[str, str]]:
    pairs = [word.partition("=") for word in re.split(r", (?=\w+=)", text)]
    return [(name, value) for name, _, value in pairs]


def _value(name: str, value: str) -> Any:
    known = MODEL.classes["VM"].fields
    if value[:1] in ("[", "{"):
        return ast.literal_eval(value)
    if name in known and str(known[name].type) == "bool":
        return value.lower() == "true"
    return value


FORMS = {
    r"<minimal record of vm_lifecycle/minimal_create with (.*)>": minimal_vm_with_members,
    r"<minimal record> with (.*)": minimal_vm_with_json,
    r"\{(.*), \.\.\.\} with (\{.*\})": record_with_json,
    r"type=(\w+)": disk_of_a_type,
}
NOTES = {"other members empty / false": noted_record}
