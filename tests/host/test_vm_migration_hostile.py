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
"""A pool that sends nonsense for a VM, or asks for what is not its business, is refused and leaves nothing."""

import json
import os
import random
import socket
from collections.abc import Iterator
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

import pytest

from host.test_vm_migration_pools import Side, machine
from host.test_vm_power import RECORD, disk, plugged
from xapi_caller import Caller
from xapikit.host import EmbeddedHost
from xapikit.host.xva.document import write
from xapikit.host.xva.selection import Choice, objects, select

ROUNDS = int(os.environ.get("XAPI_HOSTILE_REQUESTS", "500")) // 10


@pytest.fixture
def there() -> Iterator[Side]:
    with EmbeddedHost() as xapi:
        caller = Caller(xapi.urls[0], password=xapi.password)
        yield Side(xapi, caller)
        caller.close()


class Talk:
    """A channel by hand."""

    def __init__(self, side: Side, target: str, session: str = "") -> None:
        where = urlsplit(side.xapi.urls[0])
        self.line = socket.create_connection((where.hostname, where.port), timeout=10)
        cookie = f"Cookie: session_id={session or side.call.session}"
        self.line.sendall(f"POST {target} HTTP/1.1\r\nHost: x\r\n{cookie}\r\n\r\n".encode())
        self._reader = self.line.makefile("rb")
        self.status = self._reader.readline().split()[1].decode()
        while self._reader.readline().strip():
            pass

    def frame(self, kind: bytes, data: bytes) -> None:
        self.line.sendall(kind + len(data).to_bytes(4, "big") + data)

    def ask(self, do: Any, pieces: list[bytes] | None = None, **members: Any) -> Any:
        self.frame(b"j", json.dumps({"do": do, **members}).encode())
        for piece in pieces or ():
            self.frame(b"p", piece)
        if pieces is not None:
            self.frame(b"e", b"")
        head = self._reader.read(5)
        assert head[:1] == b"j", head
        return json.loads(self._reader.read(int.from_bytes(head[1:], "big")))

    def ended(self) -> bool:
        """The server hung up, with or without a last word."""
        try:
            while self._reader.read(1 << 16):
                pass
        except ConnectionResetError:
            pass
        return True

    def close(self) -> None:
        self._reader.close()
        self.line.close()


def described() -> str:
    """A VM with a disk, as a pool would describe it."""
    with EmbeddedHost() as xapi:
        call = Caller(xapi.urls[0], password=xapi.password)
        vm = machine(Side(xapi, call))
        plugged(call, vm, disk(call))
        choice = Choice(snapshots=True, keep_power_state=True)
        listed = objects(xapi.pool.store, select(xapi.pool.store, [vm], choice), choice)
        call.close()
    return write([item for item in listed if item.class_name in ("VM", "VBD", "VDI")], "x").decode()


def begin(there: Side, document: str, **changes: Any) -> dict[str, Any]:
    identity = document.partition("<value>VDI</value>")[2].partition("<value>Ref:")[2].partition("<")[0]
    return {"document": document, "vm": "OpaqueRef:far", "copy": False, "state": "Halted", "networks": [],
            "disks": {f"Ref:{identity}": {"sr": there.sr, "vdi": "OpaqueRef:x"}}, "host": there.host,
            "origin": "far", **changes}  # fmt: skip


def test_a_channel_needs_a_session(there: Side) -> None:
    for target in ("/services/xenops", "/services/SM?migration=x"):
        talk = Talk(there, target, "OpaqueRef:none")
        assert talk.status == "401"
        talk.close()


def test_a_sender_reaches_no_disk_but_its_own(there: Side) -> None:
    victim = disk(there.call)
    there.write(victim, 0, b"precious")
    before = there.inventory()
    vm = Talk(there, "/services/xenops")
    begun = vm.ask("begin", **begin(there, described()))
    disks = Talk(there, f"/services/SM?migration={begun['id']}")
    assert disks.ask("write", [b"conectix" * 64], disk=victim)["error"] == ["HANDLE_INVALID", "VDI", victim]
    assert disks.ask("snapshot", disk=victim)["error"][0] == "HANDLE_INVALID"
    assert disks.ask("grow", disk=victim, size=1 << 40)["error"][0] == "HANDLE_INVALID"
    assert disks.ask("create", sr="OpaqueRef:x", size=1, fields={}, mark="")["error"][0] == "HANDLE_INVALID"
    assert vm.ask("prepare", disks={"Ref:1": victim})["error"][0] == "VDI_NOT_MANAGED"
    assert vm.ask("commit")["error"][0] == "INTERNAL_ERROR", "nothing has arrived"
    assert vm.ask("nonsense")["error"][0] == "INTERNAL_ERROR"
    fields = {"name_label": "d", "name_description": "", "type": "user", "sharable": False, "other_config": {},
              "xenstore_data": {}, "tags": [], "on_boot": "persist", "allow_caching": False}  # fmt: skip
    made = disks.ask("create", sr=there.sr, size=1 << 20, fields=fields, mark="../..")["disk"]
    assert disks.ask("write", [b"no VHD at all" * 100], disk=made)["error"][0] == "VDI_IO_ERROR"
    for talk in (disks, vm):
        talk.close()
    assert there.xapi.pool.store.wait(lambda: there.inventory() == before, 30)
    assert there.content(victim).startswith(b"precious")


def test_uuids_that_are_paths_are_refused(there: Side) -> None:
    before = there.inventory()
    document = described()
    uuid = document.partition("<name>uuid</name><value>")[2].partition("<")[0]
    assert len(uuid) == 36
    talk = Talk(there, "/services/xenops")
    told = talk.ask("begin", **begin(there, document.replace(uuid, "../../../evil")))
    assert told["error"][0] in ("IMPORT_ERROR", "INTERNAL_ERROR")
    talk.close()
    assert there.inventory() == before


def test_nonsense_ends_a_channel_and_nothing_else(there: Side) -> None:
    before = there.inventory()
    chance = random.Random(ROUNDS)
    document = described()
    for number in range(ROUNDS):
        talk = Talk(there, "/services/xenops")
        assert talk.status == "200"
        match number % 5:
            case 0:
                talk.line.sendall(chance.randbytes(chance.randrange(200)))
            case 1:
                talk.frame(b"j", b"[" * chance.randrange(2000))
            case 2:
                talk.line.sendall(b"j\xff\xff\xff\xff" + b"x" * 100)
            case 3:
                wrong = chance.choice(["document", "disks", "host"])
                told = talk.ask("begin", **{**begin(there, document), wrong: chance.choice([7, None, "x", {"a": 1}])})
                assert "error" in told
            case 4:
                talk.ask("begin", **begin(there, document))
                talk.line.sendall(chance.randbytes(chance.randrange(1, 200)))
        with suppress(OSError):  # the server was faster
            talk.line.shutdown(socket.SHUT_WR)
        assert talk.ended()
        talk.close()
    assert there.call("VM.create", RECORD)
    there.call("VM.destroy", there.call("VM.get_by_name_label", "vm")[0])
    assert there.xapi.pool.store.wait(lambda: there.inventory() == before, 30)
