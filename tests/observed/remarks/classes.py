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
"""Remarks about the pool as a whole and about every class: which calls answer, which members records have."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from xapikit.model import MODEL

if TYPE_CHECKING:
    from observed.remarks import Check
    from observed.replayer import Replayer

Pair = tuple[Any, Any]


def members_of_records(replayer: Replayer, step: dict[str, Any]) -> Pair:
    """Of every class that has an object here."""
    found = {}
    for name in step["classes"]:
        records = replayer.ok(f"{name}.get_all_records")
        if records:
            found[name] = sorted(next(iter(records.values())))
    return {name: sorted(step["classes"][name]) for name in found}, found


def answers_of_every_class(replayer: Replayer, step: dict[str, Any]) -> Pair:
    found: dict[str, dict[str, list[str]]] = {}
    for call, outcomes in step["outcome"].items():
        for name in sorted(name for names in outcomes.values() for name in names):
            outcome = replayer.call(f"{name}.{call}", [])
            word = "ok" if outcome["status"] == "Success" else outcome["error"][0]
            found.setdefault(call, {}).setdefault(word, []).append(name)
    return {call: {k: sorted(v) for k, v in outcomes.items()} for call, outcomes in step["outcome"].items()}, found


def counted_classes(replayer: Replayer, step: dict[str, Any]) -> Pair:
    return step["keys"], sorted(replayer.ok("event.from", ["pool"], "", 0.0)["valid_ref_counts"])


def all_recorded_methods(replayer: Replayer, step: dict[str, Any]) -> Pair:
    """The recorded host listed nothing that the data model lacks."""
    known = {f"{spec.name}.{message}" for spec in MODEL.classes.values() for message in spec.messages}
    listed = replayer.call("system.listMethods", [], session=False)["value"]
    return step["listed_only"], sorted(
        name for name in listed if name not in known and not name.startswith(("system.", "Async.", "InternalAsync."))
    )


def pool_roles(replayer: Replayer, step: dict[str, Any]) -> Pair:
    labels = {record["name_label"] for record in replayer.ok("role.get_all_records").values()}
    wanted = re.findall(r"'([\w-]+)'", step["note"])
    return wanted, sorted(labels.intersection(wanted))


def permissions_are_texts(replayer: Replayer, step: dict[str, Any]) -> Pair:
    names = replayer.ok("role.get_permissions_name_label", "$role_vm_admin")
    return (True, True), (bool(names), all(isinstance(name, str) for name in names))


def free_memory_is_a_number(replayer: Replayer, step: dict[str, Any]) -> Pair:
    return True, int(replayer.ok("host.compute_free_memory", "$host1")) > 0


CHECKS: dict[tuple[str, str, int], Check] = {
    ("events", "valid_ref_counts", 0): counted_classes,
    ("misc", "list_methods", 1): all_recorded_methods,
    ("misc", "get_all_of_every_class", 0): answers_of_every_class,
    ("misc", "record_keys", 4): members_of_records,
    ("pool", "host_reads", 2): free_memory_is_a_number,
    ("pool", "roles_and_subjects", 0): pool_roles,
    ("pool", "roles_and_subjects", 2): permissions_are_texts,
}
