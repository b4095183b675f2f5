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
"""One service of a pool holds the import of an image at a time, and neither a crash nor a late riser breaks that."""

import json
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

from nova_xapi.image import marks
from nova_xapi.image.lock import ImportLock

IMAGE = "7b2c5a63-5a2e-4b43-9d5d-6b7a2dfb5d1c"
LONG = 60.0


def lock_of(service: Any, lease: float = LONG) -> ImportLock:
    return ImportLock(service.client, service.name, service.run, lease)


def keys(service: Any) -> dict[str, str]:
    config = service.client.call("SR.get_other_config", service.sr())
    return {key: value for key, value in config.items() if key.startswith((marks.LOCK, marks.BEAT))}


def nothing() -> None:
    return None


def leave_lock(service: Any, name: str, run: str, generation: int = 1) -> None:
    """What a service leaves that is killed while it holds the lock."""
    value = json.dumps({"service": name, "run": run, "number": 1, "since": 0})
    service.client.call("SR.add_to_other_config", service.sr(), f"{marks.LOCK}{IMAGE}:{generation}", value)
    service.client.cache.catch_up()


def test_holding_and_releasing_cost_two_calls_and_leave_nothing(service: Any, xapi: Any) -> None:
    a = service("a")
    before = sum(count for name, count in xapi.call_counts().items() if name != "event.from")
    with lock_of(a).held(IMAGE, a.sr(), nothing) as outcome:
        assert outcome.held is not None and outcome.found is None and not outcome.held.lost
        assert list(keys(a)) == [f"{marks.LOCK}{IMAGE}:1"]
    assert keys(a) == {}
    after = sum(count for name, count in xapi.call_counts().items() if name != "event.from")
    assert after - before == 2 + 2  # two of them looked


def test_what_is_ready_is_taken_without_a_lock(service: Any) -> None:
    a = service("a")
    with lock_of(a).held(IMAGE, a.sr(), lambda: "base") as outcome:
        assert outcome.held is None and outcome.found == "base"
        assert keys(a) == {}


def test_another_service_waits_and_takes_what_was_made(service: Any) -> None:
    a, b = service("a"), service("b")
    made = threading.Event()
    ready = lambda: "base" if made.is_set() else None  # noqa: E731

    def second() -> str | None:
        with lock_of(b).held(IMAGE, b.sr(), ready) as outcome:
            assert outcome.held is None
            return outcome.found

    with ThreadPoolExecutor() as threads:
        with lock_of(a).held(IMAGE, a.sr(), ready) as outcome:
            assert outcome.held is not None
            waiting = threads.submit(second)
            assert pending(waiting)
            made.set()
        assert waiting.result(20) == "base"
    assert keys(a) == {}


def pending(future: "Future[Any]", seconds: float = 0.5) -> bool:
    try:
        future.result(seconds)
    except TimeoutError:
        return True
    return False


def test_another_service_takes_over_after_a_failure(service: Any) -> None:
    a, b = service("a"), service("b")

    def second() -> int:
        with lock_of(b).held(IMAGE, b.sr(), nothing) as outcome:
            assert outcome.held is not None
            return outcome.held.generation

    with ThreadPoolExecutor() as threads:
        with pytest.raises(RuntimeError), lock_of(a).held(IMAGE, a.sr(), nothing):
            waiting = threads.submit(second)
            assert pending(waiting)
            raise RuntimeError("no image")
        assert waiting.result(20) == 1
    assert keys(a) == {}


def test_an_earlier_run_of_the_same_service_is_outdone_at_once(service: Any) -> None:
    a = service("a")
    leave_lock(a, "a", "an earlier run")
    with lock_of(a).held(IMAGE, a.sr(), nothing) as outcome:
        assert outcome.held is not None and outcome.held.generation == 2
    assert keys(a) == {}


@pytest.mark.parametrize("value", ["dead", "not of ours"])
def test_a_dead_service_is_outdone_after_the_lease(service: Any, value: str) -> None:
    a = service("a")
    if value == "dead":
        leave_lock(a, "b", "killed")
    else:
        a.client.call("SR.add_to_other_config", a.sr(), f"{marks.LOCK}{IMAGE}:1", value)
    with lock_of(a, lease=0.3).held(IMAGE, a.sr(), nothing) as outcome:
        assert outcome.held is not None and outcome.held.generation == 2
    assert keys(a) == {}


def test_signs_of_life_keep_the_lock(service: Any) -> None:
    a, b = service("a"), service("b")

    def second() -> int:
        with lock_of(b, lease=0.5).held(IMAGE, b.sr(), nothing) as outcome:
            assert outcome.held is not None
            return outcome.held.generation

    with ThreadPoolExecutor() as threads:
        with lock_of(a, lease=0.5).held(IMAGE, a.sr(), nothing) as outcome:
            waiting = threads.submit(second)
            assert pending(waiting, 2.0), "four leases long"
            assert outcome.held is not None and not outcome.held.lost
        assert waiting.result(20) == 1
    assert keys(a) == {}


def test_an_owner_that_was_outdone_knows_and_does_no_harm(service: Any) -> None:
    a, b = service("a"), service("b")
    with lock_of(a).held(IMAGE, a.sr(), nothing) as late:
        assert late.held is not None
        # b sees no sign of life (the lease of a is long) and takes over
        with lock_of(b, lease=0.3).held(IMAGE, b.sr(), nothing) as outcome:
            assert outcome.held is not None and outcome.held.generation == 2
            a.client.cache.catch_up()
            assert late.held.lost and not outcome.held.lost
    assert keys(a) == {}


def test_a_late_owner_never_removes_the_lock_of_another(service: Any) -> None:
    a, b = service("a"), service("b")
    with lock_of(b, lease=0.3).held(IMAGE, b.sr(), nothing) as mine:
        assert mine.held is not None
        leave_lock(a, "c", "came later", generation=2)
    assert list(keys(a)) == [f"{marks.LOCK}{IMAGE}:2"]


def test_images_and_srs_are_locked_apart(service: Any) -> None:
    a = service("a")
    lock = lock_of(a)
    with (
        lock.held(IMAGE, a.sr(0), nothing) as one,
        lock.held(IMAGE, a.sr(1), nothing) as two,
        lock.held("another", a.sr(0), nothing) as three,
    ):
        assert one.held and two.held and three.held


def test_only_one_of_many_holds_it(service: Any) -> None:
    services = [service(name) for name in "abcd"]
    inside, most, turns = 0, 0, 0
    guard = threading.Lock()

    def work(number: int) -> None:
        nonlocal inside, most, turns
        one = services[number % len(services)]
        with lock_of(one).held(IMAGE, services[0].sr(), nothing) as outcome:
            assert outcome.held is not None
            with guard:
                inside += 1
                most, turns = max(most, inside), turns + 1
            one.client.call("SR.get_uuid", services[0].sr())
            with guard:
                inside -= 1

    with ThreadPoolExecutor(12) as threads:
        list(threads.map(work, range(12)))
    assert (most, turns) == (1, 12)
    assert keys(services[0]) == {}


@pytest.mark.parametrize("kind", ["cut_after", "cut_before"])
def test_a_lost_answer_to_the_lock_is_found_out(service: Any, xapi: Any, kind: Any) -> None:
    a = service("a")
    xapi.faults.add(kind, method="SR.add_to_other_config", count=1)
    with lock_of(a).held(IMAGE, a.sr(), nothing) as outcome:
        assert outcome.held is not None
    assert keys(a) == {}


def test_a_start_removes_the_locks_of_earlier_runs_of_the_service_only(service: Any) -> None:
    a = service("a")
    leave_lock(a, "a", "earlier", generation=1)
    leave_lock(a, "b", "somebody else", generation=2)
    assert lock_of(a).reap() == 1
    assert list(keys(a)) == [f"{marks.LOCK}{IMAGE}:2"]
