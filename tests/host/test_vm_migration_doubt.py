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
"""The line between two pools breaks in the moment when a VM changes hands: nobody guesses whose it is."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from urllib.parse import urlsplit

import pytest

from host.test_vm_migration_pools import Side, machine, vif_map
from host.test_vm_power import disk, domain, plugged
from xapi_caller import Caller
from xapikit.host import EmbeddedHost

COMMIT = b'"do": "commit"'
SECONDS = 30.0


class Line:
    """A way to another server that breaks when the pools come to hand over a VM."""

    def __init__(self, url: str, *, forward: bool) -> None:
        """``forward``: the question gets through, and its answer does not; otherwise neither."""
        self._target = (urlsplit(url).hostname, urlsplit(url).port)
        self._forward = forward
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.broken = threading.Event()
        self.repaired = threading.Event()
        self.refused = threading.Semaphore(0)
        """Released for each connection that came while the line was broken."""
        threading.Thread(target=self._accept, daemon=True).start()

    def through(self, url: str) -> str:
        return url.replace(urlsplit(url).netloc, f"127.0.0.1:{self._listener.getsockname()[1]}")

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                if self.broken.is_set() and not self.repaired.is_set():
                    client.close()
                    self.refused.release()
                    continue
                server = socket.create_connection(self._target)
                cut = threading.Event()
                for way, ends in ((self._there, (client, server)), (self._back, (server, client))):
                    threading.Thread(target=way, args=(*ends, cut), daemon=True).start()

    def _there(self, client: socket.socket, server: socket.socket, cut: threading.Event) -> None:
        with suppress(OSError):
            while data := client.recv(1 << 16):
                if COMMIT in data:
                    self.broken.set()
                    cut.set()
                    if self._forward:
                        server.sendall(data)
                    else:
                        server.shutdown(socket.SHUT_RDWR)
                    client.shutdown(socket.SHUT_RDWR)
                    return
                server.sendall(data)
            server.shutdown(socket.SHUT_RDWR)

    def _back(self, server: socket.socket, client: socket.socket, cut: threading.Event) -> None:
        with suppress(OSError):
            while (data := server.recv(1 << 16)) and not cut.is_set():
                client.sendall(data)
            client.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def pools() -> Iterator[tuple[Side, Side]]:
    with EmbeddedHost(options={"move_settle_seconds": "1"}) as one, EmbeddedHost() as two:
        sides = [Side(xapi, Caller(xapi.urls[0], password=xapi.password)) for xapi in (one, two)]
        yield sides[0], sides[1]
        for side in sides:
            side.call.close()


@pytest.fixture
def line(pools: tuple[Side, Side], request: pytest.FixtureRequest) -> Iterator[Line]:
    made = Line(pools[1].xapi.urls[0], forward=request.param)
    yield made
    made.close()


def running(here: Side) -> tuple[str, str, str]:
    """A running VM: its reference, uuid and disk."""
    vm = machine(here)
    vdi = disk(here.call)
    plugged(here.call, vm, vdi)
    here.write(vdi, 0, b"content")
    here.call("VM.start", vm, False, False)
    return vm, here.call("VM.get_uuid", vm), vdi


def wait(side: Side, condition: Callable[[], bool]) -> bool:
    return bool(side.xapi.pool.store.wait(condition, SECONDS))


@pytest.mark.parametrize("line", [True], indirect=True)
def test_an_answer_that_is_lost_is_asked_for_again(pools: tuple[Side, Side], line: Line) -> None:
    here, there = pools
    vm, uuid, _ = running(here)
    dest = there.receive()
    dest["xenops"] = line.through(dest["xenops"])
    threading.Thread(target=lambda: (line.refused.acquire(timeout=SECONDS), line.repaired.set()), daemon=True).start()
    arrived = here.call("VM.migrate_send", vm, dest, True, {}, vif_map(here, vm, there), {})
    assert there.call("VM.get_uuid", arrived) == uuid and there.call("VM.get_power_state", arrived) == "Running"
    assert here.call.error("VM.get_record", vm) == ["HANDLE_INVALID", "VM", vm]
    assert not list((here.xapi.settings.state / "moves").glob("*"))


@pytest.mark.parametrize("line", [False], indirect=True)
def test_a_question_that_is_lost_leaves_the_guest_here(pools: tuple[Side, Side], line: Line) -> None:
    here, there = pools
    vm, uuid, _ = running(here)
    before = there.inventory()
    dest = there.receive()
    dest["xenops"] = line.through(dest["xenops"])
    threading.Thread(target=lambda: (line.refused.acquire(timeout=SECONDS), line.repaired.set()), daemon=True).start()
    told = here.call.error("VM.migrate_send", vm, dest, True, {}, vif_map(here, vm, there), {})
    assert told[0] == "VM_MIGRATE_FAILED" and "did not take it" in told[4]
    assert here.call("VM.get_power_state", vm) == "Running" and not domain(here.xapi, vm).paused
    assert wait(there, lambda: there.inventory() == before)
    assert not list((here.xapi.settings.state / "moves").glob("*"))
    assert there.call.error("VM.get_by_uuid", uuid)[0] == "UUID_INVALID"


@pytest.mark.parametrize("line", [True, False], indirect=True)
@pytest.mark.parametrize("restart", [True, False])
def test_a_vm_in_doubt_stands_still_until_its_owner_is_known(
    pools: tuple[Side, Side], line: Line, restart: bool
) -> None:
    here, there = pools
    taken = line._forward
    vm, uuid, vdi = running(here)
    dest = there.receive()
    dest["xenops"] = line.through(dest["xenops"])
    told = here.call.error("VM.migrate_send", vm, dest, True, {}, vif_map(here, vm, there), {})
    assert told == ["VM_MIGRATE_FAILED", vm, here.host, there.host,
                    "the destination does not say whether it has the VM"]  # fmt: skip
    if restart:  # the doubt outlives the server
        here.xapi.restart()
        here.call = Caller(here.xapi.urls[0], password=here.xapi.password)
    assert list(here.call("VM.get_current_operations", vm).values()) == ["migrate_send"]
    assert domain(here.xapi, vm).paused, "the guest does not run in two places"
    line.repaired.set()
    store = here.xapi.pool.store
    if taken:
        assert wait(here, lambda: store.peek("VM", vm) is None)
        arrived = there.call("VM.get_by_uuid", uuid)
        assert there.call("VM.get_power_state", arrived) == "Running"
        assert wait(here, lambda: store.peek("VDI", vdi) is None), "the note goes before the disk"
    else:
        assert wait(here, lambda: not store.get("VM", vm)["current_operations"])
        assert here.call("VM.get_power_state", vm) == "Running" and not domain(here.xapi, vm).paused
        assert there.call.error("VM.get_by_uuid", uuid)[0] == "UUID_INVALID"
        here.call("VM.hard_shutdown", vm)
        assert here.content(vdi).startswith(b"content")
    assert not list((here.xapi.settings.state / "moves").glob("*"))
