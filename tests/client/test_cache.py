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
"""The event cache never holds a wrong picture for long, and says when it may."""

import threading
import time
from typing import Any

import pytest

from client.small_pool import running
from xapikit.client import CacheEvent, errors
from xapikit.wire import Failure


def test_everything_is_loaded_at_start_and_changes_follow() -> None:
    with running() as (pool, client):
        refs = [pool.put("VM", name_label=f"vm{number}") for number in range(5)]
        client.cache.start(10)
        assert client.cache.in_step
        assert set(client.cache.records("VM")) == set(refs)
        pool.put("VM", refs[0], power_state="Running")
        found = client.cache.wait_for(lambda cache: cache.find("VM", power_state="Running"), 5)
        assert list(found) == [refs[0]]
        assert client.cache.by_uuid("VM", refs[1][-36:]) == (refs[1], client.cache.get("VM", refs[1]))
        pool.delete("VM", refs[2])
        client.cache.wait_for(lambda cache: cache.get("VM", refs[2]) is None, 5)
        assert client.cache.by_uuid("VM", refs[2][-36:]) is None
        assert client.cache.find("VM", name_label="vm3", uuid=refs[3][-36:])
        assert not client.cache.find("VM", name_label="vm4", uuid=refs[3][-36:])


def test_reading_and_waiting_cost_no_calls() -> None:
    with running() as (pool, client):
        ref = pool.put("VM", power_state="Halted")
        client.cache.start(10)
        before = pool.server.calls.copy()
        threading.Timer(0.1, pool.put, ("VM", ref), {"power_state": "Running"}).start()
        client.cache.wait_for(lambda cache: (cache.get("VM", ref) or {})["power_state"] == "Running", 5)
        for _ in range(100):
            client.cache.find("VM", power_state="Running")
        made = pool.server.calls - before
        del made["event.from"]
        assert not made


def test_waiting_in_vain_times_out_and_a_predicate_that_fails_is_heard() -> None:
    with running() as (_, client):
        client.cache.start(10)
        with pytest.raises(errors.WaitTimeout):
            client.cache.wait_for(lambda cache: cache.count("VM") == 99, 0.1)
        with pytest.raises(ZeroDivisionError):
            client.cache.wait_for(lambda cache: 1 // cache.count("VM"), 1)


def test_a_deletion_that_the_server_forgot_is_found_by_the_counters() -> None:
    with running() as (pool, client):
        kept, lost = pool.put("VM", n="kept"), pool.put("VM", n="lost")
        client.cache.start(10)
        events: list[CacheEvent] = []
        client.cache.subscribe(events.append)
        pool.delete("VM", lost, remembered=False)
        pool.put("VM", kept, n="changed")  # something that makes the server answer
        client.cache.wait_for(lambda cache: cache.get("VM", lost) is None, 5)
        assert pool.server.calls["VM.get_all_records"] == 1
        assert ("del", lost) in [(event.operation, event.ref) for event in events]


def test_reading_again_may_fail_and_no_change_goes_untold() -> None:
    with running() as (pool, client):
        kept, lost = pool.put("VM", n="kept"), pool.put("VM", n="lost")
        client.cache.start(10)
        events: list[tuple[str, str]] = []
        client.cache.subscribe(lambda event: events.append((event.operation, event.ref)))
        failures = iter([["INTERNAL_ERROR", "x"], ["INTERNAL_ERROR", "y"]])

        def fail(method: str, params: list[Any]) -> Any:
            if method == "VM.get_all_records":
                for error in failures:
                    raise Failure(error)
            return pool.answer(method, params)

        pool.server.handler = fail
        with pool.condition:
            pool.delete("VM", lost, remembered=False)
            pool.put("VM", kept, n="changed")
        client.cache.wait_for(lambda cache: cache.in_step and cache.get("VM", lost) is None, 10)
        client.cache.catch_up(10)
        assert sorted(events) == [("del", lost), ("mod", kept)]


def test_a_server_that_counts_otherwise_is_not_asked_again_and_again() -> None:
    with running() as (pool, client):
        ref = pool.put("VM", n=0)
        pool.miscount = 1
        client.cache.start(10)
        for number in range(1, 10):
            pool.put("VM", ref, n=number)
            client.cache.wait_for(lambda cache, number=number: cache.find("VM", n=number), 5)  # type: ignore[misc]
        assert pool.server.calls["VM.get_all_records"] <= 2


def test_subscribers_get_old_and_new_and_deletions_last() -> None:
    with running() as (pool, client):
        first, second = pool.put("VM", n=1), pool.put("VM", n=2)
        client.cache.start(10)
        events: list[CacheEvent] = []
        done = threading.Event()

        def listen(event: CacheEvent) -> None:
            events.append(event)
            if event.operation == "del":
                done.set()

        def fail(event: CacheEvent) -> None:
            raise RuntimeError("a broken subscriber disturbs nobody")

        client.cache.subscribe(fail)
        cancel = client.cache.subscribe(listen)
        with pool.condition:
            pool.delete("VM", first)
            pool.put("VM", second, n=3)
            third = pool.put("VM", n=4)
        assert done.wait(5)
        assert [(e.operation, e.ref) for e in events] == [("add", third), ("mod", second), ("del", first)]
        assert (events[1].old or {})["n"] == 2 and (events[1].new or {})["n"] == 3
        assert events[0].old is None and events[2].new is None and events[0].cls == "VM"
        cancel()
        pool.put("VM", second, n=5)
        client.cache.wait_for(lambda cache: cache.find("VM", n=5), 5)
        assert len(events) == 3


def test_out_of_step_is_told_and_healed_after_a_restart_of_the_server() -> None:
    with running() as (pool, client):
        gone, stays = pool.put("VM", n="gone"), pool.put("VM", n="stays")
        client.cache.start(10)
        events: list[CacheEvent] = []
        client.cache.subscribe(events.append)
        pool.server.stop()
        client.cache.wait_for(lambda cache: not cache.in_step, 5)
        assert client.cache.get("VM", gone) is not None  # the past stays readable, marked as such
        pool.server.sessions.clear()
        pool.delete("VM", gone, remembered=False)
        new = pool.put("VM", n="new")
        pool.generation = 1000  # tokens of before mean nothing
        pool.server.start()
        client.cache.wait_in_step(10)
        assert set(client.cache.records("VM")) == {stays, new}
        assert [(e.operation, e.ref) for e in events] == [("add", new), ("del", gone)]
        assert client.generation == 2


def test_a_cut_stream_goes_on_from_its_token() -> None:
    with running() as (pool, client):
        ref = pool.put("VM", n=0)
        client.cache.start(10)
        pool.server.close_connections()
        pool.put("VM", ref, n=1)
        client.cache.wait_for(lambda cache: cache.find("VM", n=1) and cache.in_step, 5)
        assert pool.server.calls["session.login_with_password"] == 1


def test_a_reply_that_makes_no_sense_is_survived() -> None:
    with running() as (pool, client):
        ref = pool.put("VM", n=0)
        client.cache.start(10)
        pool.garbage = True
        pool.put("VM", ref, n=1)
        client.cache.wait_for(lambda cache: not cache.in_step, 5)
        pool.garbage = False
        client.cache.wait_for(lambda cache: cache.in_step and cache.find("VM", n=1), 10)


def test_the_session_lost_under_a_waiting_stream_is_renewed() -> None:
    with running() as (pool, client):
        client.cache.start(10)
        pool.server.sessions.clear()
        new = pool.put("VM", n=1)
        client.cache.wait_for(lambda cache: cache.get("VM", new) and cache.in_step, 10)
        assert client.generation == 2


def test_a_class_without_objects_does_not_hold_up_the_start() -> None:
    with running(cache_classes=["VBD"]) as (pool, client):
        started = time.monotonic()
        client.cache.start(10)
        assert time.monotonic() - started < 3
        ref = pool.put("VBD", device="xvda")
        client.cache.wait_for(lambda cache: cache.get("VBD", ref), 5)


def test_start_tells_why_it_failed() -> None:
    with running() as (pool, client):
        pool.awake = False
        with pytest.raises(errors.WaitTimeout) as failure:
            client.cache.start(0.5)
        assert isinstance(failure.value.__cause__, errors.TransportError)
        pool.awake = True


def test_stopping_wakes_whoever_waits() -> None:
    with running() as (_, client):
        client.cache.start(10)
        caught: list[Any] = []

        def wait() -> None:
            try:
                client.cache.wait_for(lambda cache: False, 30)
            except errors.ClientClosed as error:
                caught.append(error)

        thread = threading.Thread(target=wait)
        thread.start()
        started = time.monotonic()
        client.close()
        thread.join(5)
        assert len(caught) == 1
        assert time.monotonic() - started < 4


def test_catching_up_costs_one_call_and_shows_what_went_before() -> None:
    with running() as (pool, client):
        ref = pool.put("VM", n=0)
        client.cache.start(10)
        for number in range(1, 20):
            pool.put("VM", ref, n=number)
            client.cache.catch_up(5)
            assert (client.cache.get("VM", ref) or {})["n"] == number
        assert pool.server.calls["event.inject"] == 19


def test_a_thousand_objects_are_followed() -> None:
    with running() as (pool, client):
        refs = [pool.put("VM", n=0, name_label=f"vm {number}", other_config={"k": "v"}) for number in range(1000)]
        client.cache.start(10)
        assert client.cache.count("VM") == 1000
        for ref in refs[::2]:
            pool.put("VM", ref, n=1)
        for ref in refs[1::4]:
            pool.delete("VM", ref)
        client.cache.wait_for(lambda cache: cache.count("VM") == 750 and len(cache.find("VM", n=1)) == 500, 10)
        assert pool.server.calls["VM.get_all_records"] == 0


def test_classes_without_events_are_refused() -> None:
    with pytest.raises(ValueError, match="session"), running(cache_classes=["session"]):
        pass
