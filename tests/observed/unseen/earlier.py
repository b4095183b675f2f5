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
"""What files recorded earlier had left in the pool."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from observed.replayer import Replayer


def an_appliance(replayer: Replayer) -> None:
    replayer.symbols["ref_1"] = replayer.ok("VM_appliance.create", {"name_label": "earlier"})


def a_blob_and_a_vm(replayer: Replayer) -> None:
    blob = replayer.ok("pool.create_new_blob", replayer.symbols["pool"], "b", "text/plain", False)
    replayer.symbols["ref_1"] = blob
    replayer.ok("VM.create", {**replayer.minimal, "name_label": "x"})


def a_running_vm(replayer: Replayer) -> None:
    replayer.symbols["start"] = int(time.time()) - 30
    vm = replayer.ok("VM.create", {**replayer.minimal, "name_label": "earlier"})
    replayer.ok("VM.start_on", vm, replayer.symbols["host1"], False, False)


def a_task(replayer: Replayer) -> None:
    replayer.symbols["ref_1"] = replayer.ok("task.create", "earlier", "")


BEFORE = {
    ("events",): an_appliance,
    ("pool",): a_blob_and_a_vm,
    ("rrd",): a_running_vm,
    ("database",): a_task,
}
