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
"""``kill -9`` under load: what was acknowledged of VMs' power is so afterwards, and guests left alone go on."""

import json
import os
import socket
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from bootsector import boot_disk
from host.crash import ROUNDS, Killed, Load, serving
from host.test_vm_power import RECORD, disk, plugged
from xapi_caller import Caller
from xapikit.host.domains.qemu import accel
from xapikit.host.storage.processes import ProcessIdentity

MEMORY = 1 << 25
CLIENTS = 3
BYSTANDERS = 2
SECONDS = 20.0

# state, call, further arguments, state afterwards, and what may be seen when the call was cut short: as on a host,
# a guest is built paused and then set going
STEPS: list[tuple[str, str, tuple[Any, ...], str, frozenset[str]]] = [
    ("Halted", "VM.start", (False, False), "Running", frozenset({"Halted", "Paused", "Running"})),
    ("Halted", "VM.start", (True, False), "Paused", frozenset({"Halted", "Paused"})),
    ("Running", "VM.pause", (), "Paused", frozenset({"Running", "Paused"})),
    ("Paused", "VM.unpause", (), "Running", frozenset({"Paused", "Running"})),
    # the old domain may be gone and the new one not there yet; a guest whose state was not written to its end is lost
    ("Running", "VM.hard_reboot", (), "Running", frozenset({"Running", "Halted", "Paused"})),
    ("Running", "VM.suspend", (), "Suspended", frozenset({"Running", "Suspended", "Halted"})),
    ("Suspended", "VM.resume", (False, False), "Running", frozenset({"Suspended", "Paused", "Running", "Halted"})),
    ("Running", "VM.hard_shutdown", (), "Halted", frozenset({"Running", "Halted"})),
    ("Paused", "VM.hard_shutdown", (), "Halted", frozenset({"Paused", "Halted"})),
    ("Suspended", "VM.hard_shutdown", (), "Halted", frozenset({"Suspended", "Halted"})),
]


def named(call: Caller, name: str, content: bytes = b"") -> str:
    """The VM of that name, made with a disk when there is none yet."""
    found = call("VM.get_by_name_label", name)
    if found:
        return str(found[0])
    sizes = dict.fromkeys(
        ("memory_dynamic_max", "memory_dynamic_min", "memory_static_min", "memory_static_max"), MEMORY
    )
    vm = call("VM.create", {**RECORD, **sizes, "name_label": name})
    vdi = disk(call, max(len(content), 1 << 20))
    if content:
        where = urlsplit(call.url)
        with socket.create_connection((where.hostname, where.port), timeout=SECONDS) as connection:
            path = f"/import_raw_vdi?session_id={call.session}&vdi={vdi}"
            connection.sendall(f"PUT {path} HTTP/1.1\r\nContent-Length: {len(content)}\r\n\r\n".encode() + content)
            while connection.recv(65536):
                pass
    plugged(call, vm, vdi)
    return str(vm)


class Power(Load):
    """Drives a VM of its own through its states."""

    def __init__(self, url: str, password: str, seed: str) -> None:
        super().__init__(url, password, seed)
        self.vm = named(self.caller, f"worker {seed.partition('-')[2]}")
        self.state: str = self.caller("VM.get_power_state", self.vm)
        self.possible = frozenset({self.state})
        self.calls: Counter[str] = Counter()
        self.now = ""

    def step(self) -> None:
        _, method, arguments, after, self.possible = self.choose.choice(
            [step for step in STEPS if step[0] == self.state]
        )
        self.now = method
        self.caller(method, self.vm, *arguments)
        self.state, self.possible = after, frozenset({after})
        self.calls[method] += 1


def whole(call: Caller, vm: str) -> str:
    """The power state of a VM about which nothing is half done."""
    row = call("VM.get_record", vm)
    state = str(row["power_state"])
    running = state in ("Running", "Paused")
    assert row["current_operations"] == {} and row["scheduled_to_be_resident_on"] == "OpaqueRef:NULL"
    assert (row["domid"] > 0) == (row["resident_on"] != "OpaqueRef:NULL") == bool(row["consoles"]) == running, row
    for vbd in row["VBDs"]:
        assert call("VBD.get_currently_attached", vbd) == (state != "Halted")
    assert (row["suspend_VDI"] != "OpaqueRef:NULL") == (state == "Suspended")
    return state


def answers(call: Caller, vm: str, letter: bytes) -> bool:
    """Whether the guest, whose boot sector echoes what it is told, still does."""
    console = next(ref for ref in call("VM.get_consoles", vm) if call("console.get_protocol", ref) == "vt100")
    where = urlsplit(call("console.get_location", console))
    with socket.create_connection((where.hostname, where.port), timeout=SECONDS) as line:
        path = f"{where.path}?{where.query}&session_id={call.session}"
        line.sendall(f"CONNECT {path} HTTP/1.0\r\n\r\n".encode())
        seen = b""
        line.sendall(letter)
        while not seen.endswith(letter):
            got = line.recv(4096)
            if not got:
                return False
            seen += got
    return b"boot ok" in seen


def process_of(state: Path, uuid: str) -> ProcessIdentity:
    """The QEMU of a VM, as the server remembers it."""
    records = (json.loads(file.read_text()) for file in (state / "run" / "qemu").glob("*.json"))
    return next(ProcessIdentity.parse(record["process"]) for record in records if record["config"]["vm"] == uuid)


def end_all(directory: Path) -> None:
    """End every process that has something in a directory on its command line: a failed test leaves guests behind."""
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(FileNotFoundError, ProcessLookupError):
            if str(directory).encode() in (entry / "cmdline").read_bytes():
                identity = ProcessIdentity.of(int(entry.name))
                if identity is not None:
                    identity.end()


def run(state: Path, kind: str, rounds: int) -> None:
    options = ("--http", "127.0.0.1:0", "--domains", kind, "--option", "qemu_accelerator=tcg")
    done: Counter[str] = Counter()
    before: dict[str, tuple[Any, ...]] = {}

    def facts(call: Caller, vm: str) -> tuple[Any, ...]:
        """What changes when a guest is not the same any more."""
        row = call("VM.get_record", vm)
        process = process_of(state, row["uuid"]) if kind == "qemu" else None
        assert process is None or process.alive()
        return row["power_state"], row["domid"], call("VM_metrics.get_start_time", row["metrics"]), process

    with serving(state, *options) as (process, ready):
        call = Caller(ready["hosts"][0]["http"], password=Path(ready["password_file"]).read_text().strip())
        for number in range(BYSTANDERS):
            vm = named(call, f"bystander {number}", boot_disk() if kind == "qemu" else b"")
            call("VM.start", vm, False, False)
            before[vm] = facts(call, vm)
        for vm in before if kind == "qemu" else ():
            assert answers(call, vm, b"0")
        call.close()
        process.kill()

    def check(number: int, call: Caller, loads: list[Power]) -> None:
        for load in loads:
            state = whole(call, load.vm)
            assert state in load.possible, (load.state, load.possible, state)
            done.update(load.calls)
            done["cut short"] += load.possible != {load.state}
        for vm, facts_then in before.items():
            assert facts(call, vm) == facts_then
            assert whole(call, vm) == "Running"
            if kind == "qemu":
                assert answers(call, vm, b"%d" % (number % 10))

    Killed[Power](state, options).rounds(
        rounds, Power, check, clients=CLIENTS, seconds=(0.1, 0.8) if kind == "timed" else (0.3, 2.5)
    )
    print(f"{rounds} kills, {kind} guests: {BYSTANDERS} bystanders went on; acknowledged: {dict(sorted(done.items()))}")
    with serving(state, *options, "--stop-guests") as (process, _):
        process.terminate()
        assert process.wait(60) == 0


@pytest.mark.timeout(60 + 30 * ROUNDS)
def test_timed_guests_and_the_power_of_vms_survive_kills(tmp_path: Path) -> None:
    run(tmp_path / "s", "timed", ROUNDS if "XAPI_CRASH_ROUNDS" in os.environ else 1)


@pytest.mark.qemu
@pytest.mark.slow
@pytest.mark.timeout(60 + 30 * ROUNDS)
@pytest.mark.skipif(accel.program() is None, reason="QEMU is not installed (apt-get install qemu-system-x86)")
def test_real_guests_and_the_power_of_vms_survive_kills(tmp_path: Path) -> None:
    try:
        run(tmp_path / "s", "qemu", ROUNDS)
    finally:
        end_all(tmp_path)
