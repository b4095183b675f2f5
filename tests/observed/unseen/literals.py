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
"""What references in literal bytes stand for, and which token a call was given where the recording does not say so."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from observed.replayer import Replayer
    from observed.unseen import Action, Moment

FROM_THE_BEGINNING = "00000000000000000000,00000000000000000000"


def stand_for(symbols: dict[str, str]) -> Action:
    """First digits of a recorded reference -> the symbol of the object here."""

    def tell(replayer: Replayer) -> None:
        for digits, symbol in symbols.items():
            replayer.literal.tell(digits, replayer.symbols[symbol])

    return tell


def with_texts_to_escape(replayer: Replayer) -> None:
    replayer.ok("VM.set_name_label", "$vm", "<&>\"'\n\tž")
    replayer.ok("VM.set_other_config", "$vm", {"k<&>": 'v"\n'})
    replayer.ok("VM.set_tags", "$vm", [])
    replayer.symbols["VM_metrics"] = replayer.ok("VM.get_metrics", "$vm")
    stand_for({"f0bc5e9e": "vm", "0b270846": "vbd", "a0849d05": "VM_metrics"})(replayer)


def with_tasks(replayer: Replayer) -> None:
    replayer.literal.tell("8df01792", replayer.ok("task.create", "wire", "d"))
    vm = replayer.ok("VM.create", replayer.minimal)
    for digits, call in (("4ea0aa0b", "Async.VM.clone"), ("c57a0e4e", "Async.VM.pause")):
        task = replayer.ok(call, vm, *(["c"] if call == "Async.VM.clone" else []))
        replayer.finish(task)
        replayer.literal.tell(digits, task)
    replayer.literal.tell("c350318f", vm)
    stand_for({"a3fe96ce": "host1"})(replayer)


def with_an_appliance(replayer: Replayer) -> None:
    replayer.literal.tell_token(replayer.ok("event.from", ["*"], "", 0.0)["token"])
    replayer.literal.tell("1c8fc48c", replayer.ok("VM_appliance.create", {"name_label": "w"}))


def with_values_of_each_type(replayer: Replayer) -> None:
    replayer.ok("VM.set_tags", "$vm", ["t1", "t2"])
    replayer.ok("VM.set_other_config", "$vm", {"gk": "gv"})
    replayer.ok("VM.set_affinity", "$vm", "$host1")
    replayer.ok("VM.set_VCPUs_max", "$vm", "1")
    replayer.ok("VM.set_name_label", "$vm", "golden-db")
    replayer.literal.tell("8f6e6419", replayer.ok("task.create", "x", ""))
    stand_for({"9b98dcb2": "vm", "a3fe96ce": "host1"})(replayer)


def a_token_from_the_beginning(replayer: Replayer) -> None:
    replayer.tokens.insert(0, FROM_THE_BEGINNING)


BEFORE: dict[Moment, Action] = {
    ("database", "json_values", 0): with_values_of_each_type,
    ("events", "tokens", 5): a_token_from_the_beginning,
    ("events", "wire", 0): with_an_appliance,
    ("misc", "xml_escaping_wire", 0): with_texts_to_escape,
    ("plugins", "wire", 0): stand_for({"a3fe96ce": "host1"}),
    ("tasks", "wire", 0): with_tasks,
}
