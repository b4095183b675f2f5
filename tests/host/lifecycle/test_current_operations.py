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
"""What runs stands in ``current_operations`` for that time; calls that meet it wait inside the server."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as StillWaiting
from typing import Any

import pytest

from host.test_vm_power import RECORD
from xapi_caller import Caller
from xapikit.host import EmbeddedHost
from xapikit.host.store import Commit

SECONDS = 30.0
# each call of a VM's life, in an order that works, with what it shows meanwhile: the VM's operation and the host's
LIFE: list[tuple[str, list[Any], str, str]] = [
    ("VM.start", [False, False], "start", "vm_start"),
    ("VM.pause", [], "pause", ""),
    ("VM.unpause", [], "unpause", ""),
    ("VM.suspend", [], "suspend", ""),
    ("VM.resume", [False, False], "resume", "vm_resume"),
    ("VM.clean_reboot", [], "clean_reboot", ""),
    ("VM.hard_reboot", [], "hard_reboot", ""),
    ("VM.snapshot", ["s"], "snapshot", ""),
    ("VM.checkpoint", ["c"], "checkpoint", ""),
    ("VM.clean_shutdown", [], "clean_shutdown", ""),
    ("VM.clone", ["c"], "clone", ""),
    ("VM.copy", ["c", "OpaqueRef:NULL"], "copy", ""),
    ("VM.start", [False, False], "start", "vm_start"),
    ("VM.hard_shutdown", [], "hard_shutdown", ""),
    ("VM.destroy", [], "destroy", ""),
]


class Seen:
    """Operations that commits showed, by class."""

    def __init__(self) -> None:
        self.operations: list[tuple[str, str]] = []

    def __call__(self, commit: Commit) -> None:
        for change in commit.changes:
            after = (change.after or {}).get("current_operations", {})
            before = (change.before or {}).get("current_operations", {})
            self.operations += [(change.class_name, after[key]) for key in after if key not in before]


def test_every_call_shows_the_operation_of_its_name(xapi_host: EmbeddedHost, call: Caller) -> None:
    vm = call("VM.create", RECORD)
    seen = Seen()
    xapi_host.pool.store.on_commit(seen)
    for method, arguments, operation, of_host in LIFE:
        seen.operations.clear()
        call(method, vm, *arguments)
        shown = [entry for entry in seen.operations if entry[0] in ("VM", "host")]
        assert shown == [("VM", operation)] + ([("host", of_host)] if of_host else []), method
        if operation != "destroy":
            assert call("VM.get_current_operations", vm) == {}
    assert call("host.get_current_operations", call("host.get_all")[0]) == {}


def test_a_live_migration_is_an_operation_of_the_host_that_receives(xapi_pool: EmbeddedHost) -> None:
    call = Caller(xapi_pool.urls[0], password=xapi_pool.password)
    here, there = call("host.get_all")
    vm = call("VM.create", RECORD)
    call("VM.start_on", vm, here, False, False)
    receiving = []

    def watch(commit: Commit) -> None:
        hosts = [change for change in commit.changes if change.class_name == "host" and change.after is not None]
        receiving.extend(c.ref for c in hosts if c.after and "vm_migrate" in c.after["current_operations"].values())

    xapi_pool.pool.store.on_commit(watch)
    call("VM.pool_migrate", vm, there, {})
    assert set(receiving) == {there}
    assert call("host.get_current_operations", there) == {}
    call.close()


def test_a_hand_over_is_an_operation_of_the_pool(xapi_pool: EmbeddedHost) -> None:
    call = Caller(xapi_pool.urls[0], password=xapi_pool.password)
    seen = Seen()
    store = xapi_pool.pool.store  # the one before the restart that follows
    store.on_commit(seen)
    call("pool.designate_new_master", call("host.get_all")[1])
    call.close()
    assert ("pool", "designate_new_master") in seen.operations
    assert [row["current_operations"] for row in store.all("pool").values()] == [{}]


@pytest.mark.parametrize(
    ("class_name", "running", "method", "arguments"),
    [
        ("VM", "start", "VM.clone", ["c"]),
        ("VDI", "destroy", "VDI.snapshot", [{}]),
        ("SR", "destroy", "SR.scan", []),
        ("host", "vm_migrate", "host.evacuate", []),
    ],
)
def test_a_call_that_meets_another_operation_waits_for_it_inside_the_server(
    xapi_host: EmbeddedHost, call: Caller, class_name: str, running: str, method: str, arguments: list[Any]
) -> None:
    store = xapi_host.pool.store
    ref = {
        "VM": lambda: call("VM.create", RECORD),
        "SR": lambda: call("pool.get_default_SR", call("pool.get_all")[0]),
        "host": lambda: call("host.get_all")[0],
        "VDI": lambda: call(
            "VDI.create",
            {"name_label": "d", "SR": call("pool.get_default_SR", call("pool.get_all")[0]), "virtual_size": 1 << 20,
             "type": "user", "sharable": False, "read_only": False, "other_config": {}},
        ),
    }[class_name]()  # fmt: skip
    with store.transaction() as tx:
        tx.update(class_name, ref, current_operations={"OpaqueRef:other": running})
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(call, method, ref, *arguments)
        with pytest.raises(StillWaiting):
            waiting.result(timeout=0.3)
        with store.transaction() as tx:
            tx.update(class_name, ref, current_operations={})
        waiting.result(timeout=SECONDS)
