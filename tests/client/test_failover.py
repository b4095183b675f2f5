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
"""The client while a pool loses its coordinator and gets another: each call happens once, or its caller is told."""

import json
import ssl
import threading
from http.client import HTTPSConnection
from pathlib import Path
from urllib.parse import urlsplit

from waiting import wait
from xapi_caller import Caller
from xapikit.client import TlsPolicy, XapiClient, errors
from xapikit.host import EmbeddedHost
from xapikit.host.pytest_plugin import XapiFactory, xapi_factory  # noqa: F401 - a fixture

RECORD = {"name_description": "", "MTU": 1500, "other_config": {}}


class Workers:
    """Threads that make networks with names of their own and note what they were told of each."""

    def __init__(self, client: XapiClient, prefix: str = "", count: int = 4) -> None:
        self.client = client
        self._prefix = prefix
        self.outcomes: dict[str, str] = {}
        self.failures: list[Exception] = []
        self._done = threading.Event()
        self._threads = [threading.Thread(target=self._work, args=(number,)) for number in range(count)]

    def __enter__(self) -> "Workers":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        for thread in self._threads:
            thread.join(60)
            assert not thread.is_alive()

    def _work(self, worker: int) -> None:
        number = 0
        while not self._done.is_set():
            number += 1
            name = f"{self._prefix}{worker}-{number}"
            try:
                self.client.call("network.create", {"name_label": name, **RECORD})
                self.outcomes[name] = "made"
                self.client.call("network.get_by_name_label", name)  # what only reads never fails
            except errors.NotSent:
                self.outcomes[name] = "not sent"
            except errors.MaybeSent:
                self.outcomes[name] = "maybe"
            except Exception as error:
                self.failures.append(error)
                return

    def advance(self, calls: int) -> None:
        """Wait until so many more calls were answered."""
        wanted = sum(outcome == "made" for outcome in list(self.outcomes.values())) + calls
        wait(lambda: bool(self.failures) or sum(o == "made" for o in list(self.outcomes.values())) >= wanted)

    def check(self, names: list[str]) -> None:
        assert not self.failures
        for name, outcome in self.outcomes.items():
            made = names.count(name)
            assert {"made": made == 1, "not sent": made == 0, "maybe": made <= 1}[outcome], (name, outcome, made)


def client_of(xapi: EmbeddedHost, url: str | None = None, pin: str | None = None) -> XapiClient:
    return XapiClient(
        url or xapi.url,
        username="root",
        password=xapi.password,
        originator="tests",
        cache_classes=["pool", "host", "network"],
        tls=TlsPolicy(fingerprint=pin) if pin else None,
    )


def take_over(xapi: EmbeddedHost, number: int) -> None:
    """What an administrator does at a member whose coordinator is lost."""
    old = xapi.pool
    admin = Caller(xapi.urls[number])
    admin.session = admin.bare("session.slave_local_login_with_password", "root", xapi.password)
    admin("pool.emergency_transition_to_master")
    wait(lambda: xapi.running and xapi.pool is not old)


def test_calls_follow_a_coordinator_that_is_lost_and_the_one_that_takes_over(xapi_factory: XapiFactory) -> None:  # noqa: F811
    xapi = xapi_factory(hosts=3)
    first, second, third = xapi.hosts
    with client_of(xapi) as client:
        client.cache.start(20)
        with Workers(client) as workers:
            workers.advance(30)
            xapi.lose_coordinator()
            # nobody answers for the pool now: calls wait
            take_over(xapi, 1)
            workers.advance(30)
            assert client.endpoint == second.url
            with client_of(xapi) as admin:
                assert admin.call("pool.recover_slaves") == [third.ref]
            xapi.power_on(first.ref)
            try:
                client.call("pool.designate_new_master", first.ref)
            except errors.MaybeSent:
                pass  # it restarts the toolstack, maybe before the answer is out
            workers.advance(30)
            assert client.endpoint == first.url
        names = [record["name_label"] for record in client.call("network.get_all_records").values()]
        workers.check(names)
        client.cache.wait_for(lambda cache: cache.in_step and cache.count("network") == len(names), 20)
        pool = client.cache.records("pool")
        assert [record["master"] for record in pool.values()] == [first.ref]


def test_calls_wait_for_a_coordinator_that_comes_back(xapi_factory: XapiFactory) -> None:  # noqa: F811
    xapi = xapi_factory(hosts=2)
    with client_of(xapi) as client:
        client.cache.start(20)
        for round_ in range(2):
            with Workers(client, f"{round_}-") as workers:
                workers.advance(10)
                lost = xapi.lose_coordinator()
                xapi.power_on(lost)
                workers.advance(10)
            workers.check([record["name_label"] for record in client.call("network.get_all_records").values()])


def test_a_call_that_meets_the_loss_itself_is_not_repeated(xapi_factory: XapiFactory) -> None:  # noqa: F811
    xapi = xapi_factory(hosts=2)
    with client_of(xapi) as client:
        client.cache.start(20)
        old = xapi.pool
        xapi.faults.add("coordinator_loss", method="network.create", count=1)
        outcome = "made"
        try:
            client.call("network.create", {"name_label": "once", **RECORD})
        except errors.MaybeSent:
            outcome = "maybe"
        assert outcome == "maybe"
        wait(lambda: xapi.running and xapi.pool is not old)
        take_over(xapi, 1)
        assert client.call("network.get_by_name_label", "once") == []
        # the feed moved on by itself: nobody called meanwhile
        client.cache.wait_in_step(20)


def test_the_cache_alone_finds_the_new_coordinator(xapi_factory: XapiFactory) -> None:  # noqa: F811
    xapi = xapi_factory(hosts=3)
    with client_of(xapi) as client:
        client.cache.start(20)
        xapi.lose_coordinator()
        take_over(xapi, 2)
        ref = xapi.hosts[2].ref
        client.cache.wait_for(
            lambda cache: cache.in_step and any(row["master"] == ref for row in cache.records("pool").values()), 30
        )
        assert client.endpoint == xapi.hosts[2].url


def test_calls_follow_a_pool_whose_hosts_are_different_servers(xapi_factory: XapiFactory, tmp_path: Path) -> None:  # noqa: F811
    pool = xapi_factory(state=tmp_path / "pool", names=["alpha"], https=True, http=False, password="secret")
    host = xapi_factory(state=tmp_path / "host", names=["beta"], https=True, http=False, password="other")
    with client_of(host, pin=host.fingerprint) as admin:
        admin.call("pool.join", urlsplit(pool.url).netloc, "root", "secret")
    wait(lambda: host.front is not None and host.front.connected)
    # the client knows the host that joined, and its certificate, alone
    with client_of(pool, host.urls[0], pin=host.fingerprint) as client:
        client.cache.start(20)
        assert client.endpoint == pool.url
        joined = next(ref for ref, row in client.cache.records("host").items() if row["name_label"] == "beta")
        with Workers(client) as workers:
            workers.advance(20)
            old = pool.pool
            try:
                client.call("pool.designate_new_master", joined)
            except errors.MaybeSent:
                pass  # it restarts the toolstack, maybe before the answer is out
            wait(lambda: pool.running and pool.pool is not old)
            workers.advance(20)
            assert client.endpoint == host.url
            # the coordinator's server dies; the other one takes over
            host.stop()
            wait(lambda: not pool.pool.machines.answers(joined))
            old = pool.pool
            local = XapiClient(pool.hosts[0].url, username="root", password="secret", originator="admin",
                               tls=TlsPolicy(fingerprint=pool.fingerprint))  # fmt: skip
            session = local.call("session.slave_local_login_with_password", "root", "secret")
            local.close()
            emergency(pool, session)
            wait(lambda: pool.running and pool.pool is not old)
            workers.advance(20)
            assert client.endpoint == pool.url
            host.start()
            wait(lambda: host.front is not None and host.front.connected)
        workers.check([record["name_label"] for record in client.call("network.get_all_records").values()])
        client.cache.wait_for(lambda cache: cache.in_step and len(cache.records("host")) == 2, 20)


def emergency(xapi: EmbeddedHost, session: str) -> None:
    """Let the first host of a pool take over, with a session of that host alone."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "pool.emergency_transition_to_master", "params": [session]})
    connection = HTTPSConnection(urlsplit(xapi.hosts[0].url).netloc, timeout=20, context=context)
    connection.request("POST", "/jsonrpc", body)
    assert "result" in json.loads(connection.getresponse().read())
    connection.close()
