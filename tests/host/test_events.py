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

import threading
import time

from xapi_caller import Caller
from xapikit.host import EmbeddedHost


def started(caller: Caller, classes: list[str]) -> str:
    token: str = caller("event.from", classes, "", 0.0)["token"]
    return token


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
    other = Caller(xapi_host.urls[0])
    other.session = call.session
    errors: list[list[str]] = []
    thread = threading.Thread(target=lambda: errors.append(other.error("event.from", ["vm"], "9,9", 60.0)))
    thread.start()
    session = call.session
    watched = xapi_host.pool.sessions
    deadline = time.monotonic() + 5
    while session not in watched._blocked and time.monotonic() < deadline:
        threading.Event().wait(0.005)
    call("session.logout")
    thread.join(5)
    assert errors == [["SESSION_INVALID", session]]


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
