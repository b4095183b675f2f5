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
"""The server process is killed at random moments while VMs change: guests survive, nothing is half done."""

import json
import random
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPException
from pathlib import Path
from typing import Any

import pytest

from host.crash import serving
from host.test_vm_power import RECORD, disk, plugged
from xapi_caller import Caller, CallFailed
from xapikit.host.domains.qemu import accel
from xapikit.host.storage.processes import ProcessIdentity

CALLS: dict[str, tuple[Any, ...]] = {
    "VM.start": (False, False), "VM.hard_shutdown": (), "VM.hard_reboot": (), "VM.suspend": (),
    "VM.resume": (False, False), "VM.pause": (), "VM.unpause": (), "VM.snapshot": ("s",),
}  # fmt: skip


@contextmanager
def pool(state: Path, kind: str) -> Iterator[tuple["subprocess.Popen[str]", Caller]]:
    with serving(state, "--domains", kind, "--option", "qemu_accelerator=tcg") as (process, ready):
        password = Path(ready["password_file"]).read_text().strip()
        caller = Caller(ready["hosts"][0]["http"], password=password)
        yield process, caller
        caller.close()


def disturb(caller: Caller, vms: list[str], seed: int, stop: threading.Event, wrong: list[Any]) -> None:
    """Calls at random until the server is gone; each may fail in its own way, but none for a defect."""
    chance = random.Random(seed)
    while not stop.is_set():
        method = chance.choice(list(CALLS))
        try:
            caller(method, chance.choice(vms), *CALLS[method])
        except CallFailed as failed:
            if failed.error[0] == "INTERNAL_ERROR":
                wrong.append((method, failed.error))
        except (OSError, HTTPException, ValueError):
            return


def check(caller: Caller, vms: list[str], state: Path) -> None:
    """What must hold whenever the server is there and nothing runs."""
    alive = 0
    for vm in vms:
        row = caller("VM.get_record", vm)
        running = row["power_state"] in ("Running", "Paused")
        alive += running
        assert row["current_operations"] == {} and row["scheduled_to_be_resident_on"] == "OpaqueRef:NULL"
        assert (row["domid"] > 0) == running and bool(row["consoles"]) == running, row
        for vbd in row["VBDs"]:
            attached = caller("VBD.get_currently_attached", vbd)
            assert attached == (row["power_state"] != "Halted"), row["power_state"]
            locks = [key for key in caller("VDI.get_sm_config", caller("VBD.get_VDI", vbd)) if key.startswith("host_")]
            assert bool(locks) == running, (row["power_state"], locks)
        if row["power_state"] == "Suspended":
            assert caller("VDI.get_type", row["suspend_VDI"]) == "suspend"
    for directory in ("qemu", "disk"):
        records = list((state / "run" / directory).glob("*.json"))
        if records or directory == "qemu":
            assert len(records) in (0, alive), (directory, records, alive)


def kill_at_random(tmp_path: Path, kind: str, rounds: int, machines: int) -> None:
    state = tmp_path / "s"
    with pool(state, kind) as (process, caller):
        vms = [caller("VM.create", {**RECORD, "memory_dynamic_max": 1 << 25, "memory_dynamic_min": 1 << 25,
                                    "memory_static_min": 1 << 25}) for _ in range(machines)]  # fmt: skip
        for vm in vms:
            plugged(caller, vm, disk(caller))
            caller("VM.start", vm, False, False)
        check(caller, vms, state)
        process.kill()
    chance = random.Random(rounds)
    wrong: list[Any] = []
    for number in range(rounds):
        with pool(state, kind) as (process, caller):
            check(caller, vms, state)
            stop = threading.Event()
            callers = [Caller(caller.url, password=None) for _ in range(3)]
            for other in callers:
                other.session = caller.session
            threads = [
                threading.Thread(target=disturb, args=(other, vms, number * 10 + n, stop, wrong))
                for n, other in enumerate(callers)
            ]
            for thread in threads:
                thread.start()
            time.sleep(chance.uniform(0.05, 0.6))
            process.kill()
            process.wait(20)
            stop.set()
            for thread in threads:
                thread.join(30)
                assert not thread.is_alive()
            assert not wrong, wrong
    with serving(state, "--domains", kind, "--stop-guests") as (process, _):
        process.terminate()
        assert process.wait(60) == 0
    assert not list((state / "run" / "qemu").glob("*.json")) and not list((state / "run" / "disk").glob("*.json"))


def test_timed_guests_survive_kills(tmp_path: Path) -> None:
    kill_at_random(tmp_path, "timed", 2, 3)


@pytest.mark.qemu
@pytest.mark.skipif(accel.program() is None, reason="QEMU is not installed (apt-get install qemu-system-x86)")
def test_real_guests_survive_kills(tmp_path: Path) -> None:
    try:
        kill_at_random(tmp_path, "qemu", 1, 2)
    finally:
        for record in (tmp_path / "s" / "run").rglob("*.json"):
            with suppress(ValueError, KeyError):
                ProcessIdentity.parse(json.loads(record.read_text())["process"]).end()
