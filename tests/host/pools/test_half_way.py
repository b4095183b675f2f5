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
"""Joining and ejecting that are cut off half-way: a host is in one pool or in the other, never in both or in none.

The kills are slow (``-m slow``); ``XAPI_JOIN_ROUNDS=50`` makes more of them.
"""

import http.client
import json
import os
import random
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from waiting import wait
from xapi_caller import Caller, CallFailed
from xapikit.host import EmbeddedHost
from xapikit.host.members import carrying, leaving, link
from xapikit.host.pytest_plugin import XapiFactory

ROUNDS = int(os.environ.get("XAPI_JOIN_ROUNDS", "6"))


@pytest.fixture
def pools(xapi_factory: XapiFactory, tmp_path: Path) -> tuple[EmbeddedHost, EmbeddedHost]:
    pool = xapi_factory(state=tmp_path / "pool", names=["alpha"], password="secret")
    return pool, xapi_factory(state=tmp_path / "host", names=["beta"], password="secret")


def join(pool: EmbeddedHost, host: EmbeddedHost) -> None:
    Caller(host.url, password="secret")("pool.join", urlsplit(pool.url).netloc, "root", "secret")
    wait(lambda: host.front is not None and host.front.connected)


def refusal(url: str) -> list[str]:
    with pytest.raises(CallFailed) as caught:
        Caller(url, password="secret")
    return caught.value.error


def test_a_host_that_died_before_it_heard_that_it_was_taken_in_is_a_member(
    pools: tuple[EmbeddedHost, EmbeddedHost],
) -> None:
    pool, host = pools
    join(pool, host)
    host.stop()
    (host.settings.state / link.MEMBER).rename(host.settings.state / link.JOINING)
    host.start()
    wait(lambda: host.front is not None and host.front.connected)
    assert refusal(host.url)[0] == "HOST_IS_SLAVE"


def test_a_host_that_died_before_it_was_taken_in_has_its_own_pool_once_that_is_known(
    pools: tuple[EmbeddedHost, EmbeddedHost],
) -> None:
    pool, host = pools
    (uuid,) = [one.uuid for one in host.hosts]
    host.stop()
    attempt = link.Link(str(pool.settings.state), uuid, "an attempt")
    attempt.write(host.settings.state, link.JOINING)
    pool.stop()
    host.start()
    # only the pool knows, and it does not run
    assert refusal(host.url) == ["HOST_STILL_BOOTING"]
    pool.start()
    wait(lambda: host.running)
    assert Caller(host.url, password="secret")("host.get_by_uuid", uuid)
    assert len(Caller(pool.url, password="secret")("host.get_all")) == 1
    assert not (host.settings.state / link.JOINING).exists()


def test_an_attempt_that_was_given_up_is_not_taken_any_more(pools: tuple[EmbeddedHost, EmbeddedHost]) -> None:
    pool, host = pools
    home, (uuid,) = str(pool.settings.state), [one.uuid for one in host.hosts]
    attempt = link.Link(home, uuid, "late")
    assert link.ask(home, {"purpose": "settle", "host": uuid, "join": "late"}) == {"taken": False}
    attempt.write(host.settings.state, link.JOINING)
    caller = Caller(pool.url, password="secret")
    bundle = carrying.pick(host.pool.store, host.pool.coordinator)
    places = {"address": "127.0.0.1", "http_port": 1, "https_port": None, "certificate": ""}
    message = {"purpose": "join", "join": "late", "session": caller.session, "bundle": bundle, **places}
    said = link.ask(home, {**message, "state": str(host.settings.state)})
    assert said == {"taken": False, "error": ["OPERATION_NOT_ALLOWED", "the host has given this attempt up"]}
    assert not link.ask(home, {**message, "session": "OpaqueRef:no", "state": str(host.settings.state)})["taken"]
    link.withdraw(host.settings.state)
    # nor is one that comes from a directory which the server cannot see
    assert not link.ask(home, {**message, "join": "x", "state": str(host.settings.state)})["taken"]
    assert len(caller("host.get_all")) == 1


def test_a_pool_that_is_gone_for_good_keeps_no_host_from_its_own(pools: tuple[EmbeddedHost, EmbeddedHost]) -> None:
    pool, host = pools
    (uuid,) = [one.uuid for one in host.hosts]
    host.stop()
    pool.stop()
    link.Link(str(pool.settings.state), uuid, "an attempt").write(host.settings.state, link.JOINING)
    shutil.rmtree(pool.settings.state)
    host.start()
    wait(lambda: host.running)
    assert host.hosts[0].uuid == uuid


def test_an_eject_that_was_cut_off_before_its_commit_has_not_happened(
    xapi_factory: XapiFactory, tmp_path: Path
) -> None:
    xapi = xapi_factory(state=tmp_path / "pool", hosts=2)
    member = xapi.hosts[1].ref
    xapi.pool.machines.change(member, ejected=True, name="x", wipe=("sr",))
    xapi.restart()
    assert not xapi.pool.machines.of(member).ejected and len(xapi.hosts) == 2 and not xapi.ejected


def test_an_eject_that_was_cut_off_after_its_commit_is_finished(xapi_factory: XapiFactory, tmp_path: Path) -> None:
    xapi = xapi_factory(state=tmp_path / "pool", hosts=2, password="secret")
    member = xapi.hosts[1]
    row = next(r for r in xapi.pool.store.all("SR").values() if r["type"] == "ext" and
               xapi.pool.store.get("PBD", r["PBDs"][0])["host"] == member.ref)  # fmt: skip
    files = xapi.settings.state / "sr" / row["uuid"]
    assert files.is_dir()
    leaving.put_out(xapi.pool, member.ref)
    xapi.restart()
    assert not files.exists()
    (child,) = xapi.ejected
    assert child.url == member.url and len(Caller(child.url, password="secret")("host.get_all")) == 1


def test_a_host_that_died_while_it_was_wiped_is_fresh_at_its_next_start(
    pools: tuple[EmbeddedHost, EmbeddedHost],
) -> None:
    pool, host = pools
    join(pool, host)
    caller = Caller(pool.url, password="secret")
    member = next(ref for ref, row in caller("host.get_all_records").items() if row["name_label"] == "beta")
    host.stop()
    # it hears of it when it is back
    leaving.put_out(pool.pool, member)
    host.start()
    wait(lambda: host.running)
    (uuid,) = [one.uuid for one in host.hosts]
    host.stop()
    (host.settings.state / link.EJECTED).write_text("{}")
    host.start()
    assert host.running and host.hosts[0].uuid != uuid
    assert not (host.settings.state / link.EJECTED).exists()


# kills -------------------------------------------------------------------------------------------------------------


class Server:
    """``xapi-host serve`` in a process of its own, on a port that stays."""

    def __init__(self, state: Path, port: str = "0") -> None:
        self.state = state
        command = [sys.executable, "-m", "xapikit.host.cli", "serve", "--state", str(state), "--json"]
        command += ["--http", f"127.0.0.1:{port}", "--name", state.name]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout
        self.ready: dict[str, Any] = json.loads(self.process.stdout.readline())
        self.url = str(self.ready["urls"][0])
        self.password = Path(self.ready["password_file"]).read_text().strip()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(20)
        if self.process.stdout:
            self.process.stdout.close()

    def again(self) -> "Server":
        return Server(self.state, str(urlsplit(self.url).port))


def says(server: Server, password: str) -> list[str]:
    """What a log-in is told; empty when it succeeds."""
    try:
        Caller(server.url, password=password).close()
    except CallFailed as error:
        return error.error
    except (OSError, http.client.HTTPException):
        return ["nothing"]
    return []


@pytest.mark.slow
@pytest.mark.timeout(60 + 60 * ROUNDS)
@pytest.mark.parametrize("action", ["join", "eject"])
def test_a_kill_in_the_middle_leaves_the_host_in_one_pool(tmp_path: Path, action: str) -> None:
    choose = random.Random(ROUNDS)
    for round_ in range(ROUNDS):
        _one_kill(tmp_path / str(round_), action, choose.uniform(0.0, 0.25), ("host", "pool", "both")[round_ % 3])


def _one_kill(directory: Path, action: str, seconds: float, victim: str) -> None:
    pool, host = Server(directory / "pool"), Server(directory / "host")
    try:
        uuid = host.ready["hosts"][0]["uuid"]
        caller = Caller(host.url, password=host.password)
        call = ["pool.join", urlsplit(pool.url).netloc, "root", pool.password]
        if action == "eject":
            caller(*call)
            wait(lambda: _settled(pool, host) == "member")
            caller = Caller(pool.url, password=pool.password)
            call = ["pool.eject", caller("host.get_by_uuid", uuid)]

        def attempt() -> None:
            try:
                caller(*call)
            except (OSError, http.client.HTTPException, CallFailed):
                return  # killed, or told so because the other one was

        acting = threading.Thread(target=attempt)
        acting.start()
        threading.Event().wait(seconds)
        for name, server in (("host", host), ("pool", pool)):
            if victim in (name, "both"):
                server.kill()
        acting.join(30)
        pool = pool.again() if victim in ("pool", "both") else pool
        host = host.again() if victim in ("host", "both") else host
        member = wait(lambda: _agreed(pool, host, uuid)) == "member"
        if not member:
            (own,) = Caller(host.url, password=host.password)("host.get_all_records").values()
            assert (own["uuid"] == uuid) is (action == "join")  # who was put out is somebody new
    finally:
        pool.kill()
        host.kill()


def _agreed(pool: Server, host: Server, uuid: str) -> str:
    """What both say by now, once they say the same."""
    settled = _settled(pool, host)
    if not settled:
        return ""
    rows = Caller(pool.url, password=pool.password)("host.get_all_records").values()
    return settled if (uuid in [row["uuid"] for row in rows]) is (settled == "member") else ""


def _settled(pool: Server, host: Server) -> str:
    if says(pool, pool.password):
        return ""
    if not says(host, host.password):
        return "alone" if not (host.state / link.JOINING).exists() else ""
    return "member" if says(host, pool.password)[:1] == ["HOST_IS_SLAVE"] else ""
