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
"""Clients that follow events see what happened: batches, deletions, tokens, blocking, the old queue."""

import contextlib
import http.client
import threading
import time
from collections.abc import Callable
from typing import Any

from xapi_caller import Caller, CallFailed
from xapikit.host import EmbeddedHost
from xapikit.host.events import BATCH_SECONDS, NEXT_BATCH_SECONDS, QUEUE_LIMIT
from xapikit.model import MODEL


def started(caller: Caller, classes: list[str]) -> str:
    token: str = caller("event.from", classes, "", 0.0)["token"]
    return token


def blocked(xapi: EmbeddedHost, session: str, method: str, *params: Any) -> Callable[[], list[list[str]]]:
    """Make a call that blocks, from another connection; the function joins it and tells its errors."""
    other = Caller(xapi.urls[0])
    other.session = session
    errors: list[list[str]] = []
    xapi.faults.reset_counts()
    thread = threading.Thread(target=lambda: errors.append(other.error(method, *params)))
    thread.start()
    assert xapi.faults.wait_for_calls(method, timeout=10)

    def join() -> list[list[str]]:
        thread.join(10)
        other.close()
        return errors

    return join


def test_several_changes_of_one_object_are_one_event_with_the_latest_snapshot(call: Caller) -> None:
    token = started(call, ["host"])
    host = call("host.get_all")[0]
    call("host.set_name_label", host, "a")
    call("host.set_name_label", host, "b")
    batch = call("event.from", ["host"], token, 1.0)
    assert [(e["operation"], e["ref"], e["snapshot"]["name_label"]) for e in batch["events"]] == [("mod", host, "b")]
    assert call("event.from", ["host"], batch["token"], 0.0)["events"] == []


def test_a_batch_names_additions_then_changes_then_deletions(call: Caller) -> None:
    first, second = (call("VM_appliance.create", {"name_label": name}) for name in "ab")
    token = started(call, ["vm_appliance"])
    call("VM_appliance.destroy", first)
    call("VM_appliance.set_name_label", second, "c")
    third = call("VM_appliance.create", {"name_label": "d"})
    batch = call("event.from", ["VM_appliance"], token, 1.0)
    assert [(e["operation"], e["ref"]) for e in batch["events"]] == [("add", third), ("mod", second), ("del", first)]
    assert "snapshot" not in batch["events"][-1] and batch["valid_ref_counts"]["vm_appliance"] == 2
    repeated = call("event.from", ["VM_appliance"], token, 1.0)
    assert repeated["events"][-1]["ref"] == first


def test_what_came_and_went_between_two_calls_is_no_event(call: Caller) -> None:
    token = call("event.inject", "pool", call("pool.get_all")[0])
    call("VM_appliance.destroy", call("VM_appliance.create", {"name_label": "x"}))
    assert call("event.from", ["vm_appliance"], token, 0.0)["events"] == []


def test_inject_returns_a_token_just_before_the_touch(call: Caller) -> None:
    pool = call("pool.get_all")[0]
    token = call("event.inject", "pool", pool)
    assert [e["ref"] for e in call("event.from", ["pool"], token, 1.0)["events"]] == [pool]
    assert call.error("event.inject", "Pool", pool) == ["HANDLE_INVALID", "Pool", pool]


def test_a_blocked_client_wakes_for_what_it_watches_and_only_then(xapi_host: EmbeddedHost, call: Caller) -> None:
    other = Caller(xapi_host.urls[0], password=xapi_host.password)
    token = started(call, ["vm_appliance"])
    found: list[tuple[float, int]] = []

    def follow() -> None:
        begun = time.monotonic()
        batch = other("event.from", ["vm_appliance"], token, 20.0)
        found.append((time.monotonic() - begun, len(batch["events"])))

    thread = threading.Thread(target=follow)
    thread.start()
    call("pool.set_name_label", call("pool.get_all")[0], "irrelevant")
    call("VM_appliance.create", {"name_label": "x"})
    thread.join(10)
    assert found and found[0][0] < 5 and found[0][1] == 1


def test_logout_wakes_what_the_session_blocks(xapi_host: EmbeddedHost, call: Caller) -> None:
    session = call.session
    join = blocked(xapi_host, session, "event.from", ["vm"], "9,9", 60.0)
    call("session.logout")
    assert join() == [["SESSION_INVALID", session]]


def test_bad_tokens_are_named(call: Caller) -> None:
    for token in ("bad", "1", "a,b", "1,2,3", ",", "99999999999999999999,0"):
        assert call.error("event.from", ["vm"], token, 0.0) == ["EVENT_FROM_TOKEN_PARSE_FAILURE", token]


def test_the_old_queue_delivers_every_change_in_order(call: Caller) -> None:
    assert call.error("event.next")[0] == "SESSION_NOT_REGISTERED"
    call("event.register", ["vm_appliance"])
    made = call("VM_appliance.create", {"name_label": "x"})
    call("VM_appliance.set_name_label", made, "y")
    events = call("event.next")
    assert [(e["operation"], e["snapshot"]["name_label"], e["id"]) for e in events] == [
        ("add", "x", "0"),
        ("mod", "y", "1"),
    ]


def test_messages_come_first_and_are_not_counted(call: Caller) -> None:
    token = started(call, ["message", "pool"])
    pool = call("pool.get_all")[0]
    call("pool.set_name_label", pool, "x")
    message = call("message.create", "TEST", 3, "Pool", call("pool.get_uuid", pool), "body")
    batch = call("event.from", ["message", "pool"], token, 1.0)
    assert [(e["class"], e["operation"]) for e in batch["events"]] == [("message", "add"), ("pool", "mod")]
    assert batch["events"][0]["ref"] == message and batch["valid_ref_counts"]["message"] == 0


def test_logout_wakes_the_old_queue_too(xapi_host: EmbeddedHost, call: Caller) -> None:
    session = call.session
    call("event.register", ["vm_appliance"])
    join = blocked(xapi_host, session, "event.next")
    call("session.logout")
    assert join() == [["SESSION_INVALID", session]]


def test_a_stop_of_the_toolstack_ends_what_blocks(xapi_host: EmbeddedHost, call: Caller) -> None:
    other = Caller(xapi_host.urls[0], password=xapi_host.password)
    ended = threading.Event()

    def follow() -> None:
        with contextlib.suppress(OSError, http.client.HTTPException, CallFailed):
            other("event.from", ["vm_appliance"], "9999999,0", 60.0)
        ended.set()

    xapi_host.faults.reset_counts()
    threading.Thread(target=follow, daemon=True).start()
    assert xapi_host.faults.wait_for_calls("event.from", timeout=10)
    xapi_host.restart()
    assert ended.wait(10)


def test_a_queue_that_nobody_reads_says_once_that_events_were_lost(xapi_host: EmbeddedHost, call: Caller) -> None:
    call("event.register", ["vm_appliance"])
    made = call("VM_appliance.create", {"name_label": "x"})
    store = xapi_host.pool.store
    for number in range(QUEUE_LIMIT + 1):
        with store.transaction() as tx:
            tx.update("VM_appliance", made, name_label=str(number))
    assert call.error("event.next") == ["EVENTS_LOST"]
    # the registration goes on, with what happens from now on
    call("VM_appliance.set_name_label", made, "after")
    assert [event["snapshot"]["name_label"] for event in call("event.next")] == ["after"]
    # event.from knows no such thing
    assert call("event.from", ["vm_appliance"], "", 0.0)["events"][0]["snapshot"]["name_label"] == "after"


def test_what_is_unregistered_is_told_no_more(call: Caller) -> None:
    call("event.register", ["vm_appliance", "network"])
    call("event.unregister", ["vm_appliance"])
    call("VM_appliance.create", {"name_label": "x"})
    network = call("network.create", {"name_label": "n", "other_config": {}})
    assert {event["ref"] for event in call("event.next")} == {network}


def test_counters_cover_every_class_and_betray_deletions_that_were_forgotten(
    xapi_host: EmbeddedHost, call: Caller
) -> None:
    refs = [call("VM_appliance.create", {"name_label": "kept"})]
    store = xapi_host.pool.store
    with store.transaction() as tx:
        refs += [tx.create("VM_appliance", {"name_label": str(number)}) for number in range(700)]
    token = started(call, ["vm_appliance"])
    for ref in refs[1:]:
        with store.transaction() as tx:
            tx.delete("VM_appliance", ref)
    batch = call("event.from", ["vm_appliance"], token, 0.0)
    assert set(batch["valid_ref_counts"]) == {name.lower() for name in MODEL.classes}
    assert batch["valid_ref_counts"]["vm_appliance"] == 1
    assert batch["valid_ref_counts"]["session"] == store.count("session")
    gone = [event["ref"] for event in batch["events"]]
    assert 256 <= len(gone) <= 512 and set(gone) <= set(refs[1:])


def test_one_object_is_watched_by_its_reference_alone(call: Caller) -> None:
    one, other = (call("VM_appliance.create", {"name_label": name}) for name in "ab")
    uuid = call("VM_appliance.get_uuid", one)
    token = started(call, ["vm_appliance"])
    for ref in (one, other):
        call("VM_appliance.set_name_label", ref, "changed")
    for words in ([f"VM_appliance/{one}"], [f"vm_APPLIANCE/{one}", "nonsense"]):
        assert [event["ref"] for event in call("event.from", words, token, 1.0)["events"]] == [one]
    for words in ([], [""], ["/"], ["vm_appliance/"], [f"vm_appliance/{uuid}"], [f"vm_appliance/{one}/x"]):
        nothing = call("event.from", words, "", 0.0)
        assert nothing["events"] == [] and nothing["token"] == f"{0:020d},{0:020d}"


def test_changes_within_the_batching_delay_are_one_batch_and_tasks_have_none(
    xapi_host: EmbeddedHost, call: Caller
) -> None:
    store = xapi_host.pool.store
    token = started(call, ["vm_appliance"])
    made = call("VM_appliance.create", {"name_label": "0"})
    begun = time.monotonic()
    batch = call("event.from", ["vm_appliance"], token, 5.0)
    assert time.monotonic() - begun >= BATCH_SECONDS
    join = Caller(xapi_host.urls[0], password=xapi_host.password)
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(join("event.from", ["vm_appliance"], batch["token"], 20.0)))
    thread.start()
    for number in range(5):  # commits are far closer together than the delay
        with store.transaction() as tx:
            tx.update("VM_appliance", made, name_label=str(number))
    thread.join(20)
    last = found[0]["events"][-1]["snapshot"]["name_label"]
    assert [event["ref"] for event in found[0]["events"]] == [made] and last == "4"
    task = call("task.create", "t", "")
    took = []
    for _ in range(5):  # the quickest of a few, since other programs run here as well
        begun = time.monotonic()
        assert call("event.from", ["task"], "", 5.0)["events"]
        took.append(time.monotonic() - begun)
    assert min(took) < BATCH_SECONDS
    call("task.destroy", task)
    call("event.register", ["vm_appliance"])
    call("VM_appliance.set_name_label", made, "old queue")
    begun = time.monotonic()
    assert call("event.next")
    assert time.monotonic() - begun >= NEXT_BATCH_SECONDS


def test_a_negative_time_out_blocks(xapi_host: EmbeddedHost, call: Caller) -> None:
    session = call.session
    join = blocked(xapi_host, session, "event.from", ["vm_appliance"], "9999999,0", -1.0)
    call("session.logout")
    assert join() == [["SESSION_INVALID", session]]


def test_injecting_what_is_not_there_or_misspelt_is_refused(call: Caller) -> None:
    pool = call("pool.get_all")[0]
    for name, ref in (("VM", pool), ("pool", "OpaqueRef:nope"), ("POOL", pool), ("nonsense", pool)):
        assert call.error("event.inject", name, ref) == ["HANDLE_INVALID", name, ref]


def test_both_ends_of_a_link_change(call: Caller) -> None:
    vm, network = call("VM.get_all")[0], call("network.create", {"name_label": "n", "other_config": {}})
    token = call("event.inject", "pool", call("pool.get_all")[0])
    vif = {"device": "0", "network": network, "VM": vm, "MAC": "02:00:00:00:00:01", "MTU": "1500", "other_config": {}}
    made = call("VIF.create", {**vif, "qos_algorithm_type": "", "qos_algorithm_params": {}})
    events = call("event.from", ["vif", "vm", "network"], token, 1.0)["events"]
    assert {(event["operation"], event["ref"]) for event in events} >= {("add", made), ("mod", vm), ("mod", network)}
