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
"""The client on the embedded host: log-in, members, faults, restarts, and a cache that never holds a wrong picture."""

import random
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from xapikit.client import TlsPolicy, XapiClient, errors
from xapikit.host import EmbeddedHost
from xapikit.host.pytest_plugin import XapiFactory, xapi_factory, xapi_host, xapi_pool  # noqa: F401

WATCHED = ("pool", "host", "VM", "VDI", "network")


def client_of(xapi: EmbeddedHost, url: str = "", **settings: Any) -> XapiClient:
    given: dict[str, Any] = {"patience": 20.0, "call_timeout": 30.0, "cache_classes": WATCHED, **settings}
    return XapiClient(url or xapi.url, username=xapi.username, password=xapi.password, originator="tests", **given)


@pytest.fixture
def client(xapi_host: EmbeddedHost) -> Iterator[XapiClient]:  # noqa: F811
    with client_of(xapi_host) as connected:
        yield connected


def make(xapi: EmbeddedHost, cls: str, **fields: Any) -> str:
    with xapi.pool.store.transaction() as tx:
        ref: str = tx.create(cls, fields)
        return ref


def change(xapi: EmbeddedHost, cls: str, ref: str, **fields: Any) -> None:
    with xapi.pool.store.transaction() as tx:
        tx.update(cls, ref, **fields)


def remove(xapi: EmbeddedHost, cls: str, ref: str) -> None:
    with xapi.pool.store.transaction() as tx:
        tx.delete(cls, ref)


def test_a_pinned_fingerprint_opens_https(xapi_factory: XapiFactory) -> None:  # noqa: F811
    xapi = xapi_factory(https=True)
    assert xapi.url.startswith("https:")
    with pytest.raises(errors.CertificateRefused) as refusal:
        client_of(xapi).connect()
    assert refusal.value.fingerprint == xapi.fingerprint
    with client_of(xapi, tls=TlsPolicy(fingerprint=refusal.value.fingerprint)) as client:
        client.cache.start(20)
        assert client.call("pool.get_all")


def test_a_wrong_password_is_told(xapi_host: EmbeddedHost) -> None:  # noqa: F811
    client = XapiClient(xapi_host.url, username="root", password="no", originator="tests")
    with pytest.raises(errors.AuthenticationFailed):
        client.connect()
    client.close()


@pytest.mark.parametrize("https", [False, True])
def test_a_member_leads_to_the_coordinator(xapi_factory: XapiFactory, https: bool) -> None:  # noqa: F811
    xapi = xapi_factory(hosts=2, https=https)
    member = next(host.url for host in xapi.hosts if host.ref != xapi.pool.coordinator)
    tls = TlsPolicy(fingerprint=xapi.fingerprint) if https else None
    with client_of(xapi, member, tls=tls) as client:
        assert client.call("pool.get_all_records")
        assert client.endpoint == xapi.url


def test_every_failure_in_front_of_a_call_is_survived(xapi_host: EmbeddedHost, client: XapiClient) -> None:  # noqa: F811
    for kind in ("cut_before", "cut_after"):
        xapi_host.faults.add(kind, method="host.get_all", count=1)
        assert client.call("host.get_all")
    xapi_host.faults.add("error", method="host.get_all", error=["HOST_STILL_BOOTING"], count=2)
    assert client.call("host.get_all")
    xapi_host.faults.add("error", method="network.create", error=["SR_FULL", "1", "2"], count=1)
    with pytest.raises(errors.SrFull):
        client.call("network.create", {"name_label": "n"})


@pytest.mark.parametrize(("kind", "made"), [("cut_before", 0), ("cut_after", 1)])
def test_a_constructor_that_is_cut_off_is_not_repeated(
    xapi_host: EmbeddedHost,  # noqa: F811
    client: XapiClient,
    kind: Any,
    made: int,
) -> None:
    xapi_host.faults.add(kind, method="task.create", count=1)
    with pytest.raises(errors.MaybeSent):
        client.call("task.create", "cut", "")
    assert len(client.call("task.get_by_name_label", "cut")) == made


def test_no_constructor_has_its_effect_twice_whatever_is_cut_or_restarted(xapi_host: EmbeddedHost) -> None:  # noqa: F811
    for kind in ("cut_before", "cut_after"):
        xapi_host.faults.add(kind, method="network.create", probability=0.1, seed=3)
        xapi_host.faults.add(kind, method="network.get_all", probability=0.2, seed=4)
    xapi_host.faults.add("error", method="network.create", error=["HOST_STILL_BOOTING"], probability=0.05, seed=5)
    outcomes: dict[str, str] = {}

    def work(client: XapiClient, worker: int) -> None:
        for number in range(60):
            name = f"{worker}-{number}"
            record = {"name_label": name, "name_description": "", "MTU": 1500, "other_config": {}}
            try:
                client.call("network.create", record)
                outcomes[name] = "made"
            except errors.NotSent:
                outcomes[name] = "not sent"
            except errors.MaybeSent:
                outcomes[name] = "maybe"
            client.call("network.get_all")  # reads never fail for a cut

    with client_of(xapi_host) as client:
        workers = [threading.Thread(target=work, args=(client, number)) for number in range(4)]
        for worker in workers:
            worker.start()
        for _ in range(2):
            seen = len(outcomes)
            while len(outcomes) < seen + 60 and any(worker.is_alive() for worker in workers):
                workers[0].join(0.02)
            xapi_host.restart()
        for worker in workers:
            worker.join(60)
        xapi_host.faults.clear()
        names = [record["name_label"] for record in client.call("network.get_all_records").values()]
    assert len(outcomes) == 240
    for name, outcome in outcomes.items():
        made = names.count(name)
        assert {"made": made == 1, "not sent": made == 0, "maybe": made <= 1}[outcome], (name, outcome, made)
    kinds = set(outcomes.values())
    assert {"made", "maybe"} <= kinds


def test_another_coordinator_is_followed_and_no_call_is_lost_or_repeated(xapi_pool: EmbeddedHost) -> None:  # noqa: F811
    outcomes: dict[str, bool] = {}
    moved = threading.Event()

    def work(client: XapiClient, worker: int) -> None:
        after = 0
        while after < 20:
            name = f"{worker}-{len(outcomes)}"
            record = {"name_label": name, "name_description": "", "MTU": 1500, "other_config": {}}
            try:
                client.call("network.create", record)
                outcomes[name] = True
            except errors.MaybeSent:
                outcomes[name] = False
            after += moved.is_set()

    with client_of(xapi_pool) as client:
        client.cache.start(20)
        first = client.endpoint
        workers = [threading.Thread(target=work, args=(client, number)) for number in range(3)]
        for worker in workers:
            worker.start()
        member = next(host.ref for host in xapi_pool.hosts if host.ref != xapi_pool.pool.coordinator)
        try:
            client.call("pool.designate_new_master", member)
        except errors.MaybeSent:
            pass  # it restarts the toolstack, maybe before the answer is out
        moved.set()
        for worker in workers:
            worker.join(60)
        assert client.endpoint != first
        names = [record["name_label"] for record in client.call("network.get_all_records").values()]
        for name, made in outcomes.items():
            assert names.count(name) == 1 if made else names.count(name) <= 1, name
        # no more than the call that each worker had under way was cut
        assert list(outcomes.values()).count(False) <= len(workers)
        client.cache.wait_for(lambda cache: cache.in_step and cache.count("network") == len(names), 20)


def test_a_restart_of_the_toolstack_is_survived_by_calls_cache_and_waiters(
    xapi_host: EmbeddedHost,  # noqa: F811
    client: XapiClient,
) -> None:
    client.cache.start(20)
    kept = make(xapi_host, "network", name_label="kept")
    client.cache.wait_for(lambda cache: cache.get("network", kept), 10)
    waited: list[Any] = []
    thread = threading.Thread(
        target=lambda: waited.append(client.cache.wait_for(lambda cache: cache.find("network", name_label="after"), 30))
    )
    thread.start()
    xapi_host.restart()
    assert client.call("network.get_by_uuid", xapi_host.pool.store.get("network", kept)["uuid"]) == kept
    after = make(xapi_host, "network", name_label="after")
    thread.join(30)
    assert list(waited[0]) == [after]
    assert client.generation == 2
    client.cache.wait_in_step(20)


def test_an_async_call_ends_with_its_typed_error_and_leaves_no_task(
    xapi_host: EmbeddedHost,  # noqa: F811
    client: XapiClient,
) -> None:
    with pytest.raises(errors.HandleInvalid) as failure:
        client.run("VM.start", "OpaqueRef:nope", False, False, timeout=20)
    assert failure.value.task
    assert not client.call("task.get_by_name_label", "Async.VM.start")


SIZE = 4 << 20


@pytest.mark.parametrize("kind", ["error", "cut_before", "cut_after"])
@pytest.mark.parametrize("method", ["task.create", "put_import_raw_vdi", "task.destroy", "get_export_raw_vdi"])
def test_a_transfer_that_fails_anywhere_leaves_no_task_and_no_hold_on_the_disk(
    xapi_host: EmbeddedHost,  # noqa: F811
    method: str,
    kind: Any,
) -> None:
    content = random.Random(1).randbytes(SIZE)
    with client_of(xapi_host, cache_classes=["SR"]) as client:
        client.cache.start(20)
        sr = next(ref for ref, record in client.cache.records("SR").items() if record["type"] == "ext")
        record = {
            "SR": sr,
            "virtual_size": SIZE,
            "type": "user",
            "sharable": False,
            "read_only": False,
            "other_config": {},
        }
        vdi = client.call("VDI.create", record)
        xapi_host.faults.add(kind, method=method, count=1, error=["INTERNAL_ERROR", "injected"])
        outcome = "worked"
        try:
            client.import_vdi(vdi, [content[: SIZE // 2], content[SIZE // 2 :]], SIZE)
            with client.export_vdi(vdi) as chunks:
                assert b"".join(chunks) == content
        except errors.ClientError as error:
            outcome = type(error).__name__
        if method == "task.destroy" or (method == "task.create" and kind != "error"):
            assert outcome == "worked"
        left = client.call("task.get_all_records")
        if method == "task.destroy" and kind == "error":
            # the server refused to remove it: it has ended, and the server will purge it
            assert [task["status"] for task in left.values()] == ["success"]
        else:
            assert not left, outcome
        client.call("VDI.destroy", vdi)


EVENTLET = """
import eventlet
eventlet.monkey_patch()
import sys, threading
from xapikit.client import TlsPolicy, XapiClient
url, password, fingerprint = sys.argv[1:]
client = XapiClient(url, username="root", password=password, originator="green", cache_classes=["network"],
                    tls=TlsPolicy(fingerprint=fingerprint) if fingerprint else None)
with client:
    client.cache.start(20)
    refs = []
    for number in range(3):
        threads = [threading.Thread(target=lambda: refs.append(client.call("network.create", {
            "name_label": "green", "name_description": "", "MTU": 1500, "other_config": {}}))) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    client.cache.wait_for(lambda cache: len(cache.find("network", name_label="green")) == 12, 20)
    assert client.generation == 1
print("green", len(set(refs)))
"""


@pytest.mark.parametrize("https", [False, True])
def test_the_client_works_in_a_process_patched_by_eventlet(xapi_factory: XapiFactory, https: bool) -> None:  # noqa: F811
    pytest.importorskip("eventlet", reason="the process under test is one that eventlet has patched")
    xapi = xapi_factory(https=https)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", EVENTLET, xapi.url, xapi.password, xapi.fingerprint or ""],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout.strip() == "green 12", done.stderr[-2000:]
    # as connections are kept, not one per call
    counts = xapi.call_counts()
    assert counts["session.login_with_password"] == counts["session.logout"] == 1


def picture(xapi: EmbeddedHost, cls: str) -> dict[str, Any]:
    return {ref: row["name_label"] for ref, row in xapi.pool.store.all(cls).items()}


def cached(client: XapiClient, cls: str) -> dict[str, Any]:
    return {ref: record["name_label"] for ref, record in client.cache.records(cls).items()}


@pytest.mark.parametrize("seed", [1, 2])
def test_the_cache_equals_the_server_after_any_changes_cuts_and_restarts(
    xapi_host: EmbeddedHost,  # noqa: F811
    seed: int,
) -> None:
    chance = random.Random(seed)
    with client_of(xapi_host) as client:
        client.cache.start(20)
        mine: list[tuple[str, str]] = []
        events: list[tuple[str, str, str]] = []
        client.cache.subscribe(lambda event: events.append((event.cls, event.operation, event.ref)))
        for number in range(1500):
            what = chance.random()
            if what < 0.4 or not mine:
                cls = chance.choice(["VM", "VDI", "network"])
                mine.append((cls, make(xapi_host, cls, name_label=f"{number}")))
            elif what < 0.7:
                cls, ref = chance.choice(mine)
                change(xapi_host, cls, ref, name_label=f"changed {number}")
            else:
                cls, ref = mine.pop(chance.randrange(len(mine)))
                remove(xapi_host, cls, ref)
            if number % 500 == 250:
                # more deletions than a server remembers
                for cls, ref in mine[:-20]:
                    remove(xapi_host, cls, ref)
                del mine[:-20]
            if number % 300 == 299:
                xapi_host.faults.add("cut_after", method="event.from", count=1)
            if number % 700 == 699:
                xapi_host.restart()
            if number % 100 == 99:
                client.cache.wait_in_step(20)
                client.cache.catch_up(20)
                for cls in ("VM", "VDI", "network"):
                    assert cached(client, cls) == picture(xapi_host, cls)
        # what subscribers heard adds up to the same picture
        alive = {ref for cls, operation, ref in events if operation == "add"}
        alive -= {ref for cls, operation, ref in events if operation == "del"}
        assert alive == {ref for _, ref in mine}


def test_a_thousand_vms_are_loaded_by_one_call(xapi_host: EmbeddedHost) -> None:  # noqa: F811
    with xapi_host.pool.store.transaction() as tx:
        for number in range(1000):
            tx.create("VM", {"name_label": f"vm{number}"})
    with client_of(xapi_host) as client:
        xapi_host.faults.reset_counts()
        client.cache.start(30)
        assert client.cache.count("VM") >= 1000
        counts = xapi_host.call_counts()
        assert counts.pop("event.from") >= 1
        assert not counts
