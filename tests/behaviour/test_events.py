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
"""Promises about event.from and event.inject."""

import time
from typing import Any

import pytest

from behaviour.conftest import Caller, Maker


def poll(xapi: Caller, classes: list[str], token: str = "", timeout: float = 0.0) -> tuple[list[dict[str, Any]], str]:
    reply = xapi("event.from", classes, token, timeout)
    return reply["events"], reply["token"]


def short(events: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(event["operation"], event["ref"]) for event in events]


def test_an_object_is_added_changed_and_deleted(xapi: Caller, make: Maker) -> None:
    vm = make.vm()
    events, token = poll(xapi, [f"vm/{vm}"])
    assert short(events) == [("add", vm)]
    assert events[0]["class"] == "vm" and events[0]["timestamp"] == "0.0"
    assert events[0]["snapshot"] == xapi("VM.get_record", vm)

    xapi("VM.set_name_label", vm, "behaviour-changed")
    events, changed = poll(xapi, [f"vm/{vm}"], token, 5.0)
    assert short(events) == [("mod", vm)]
    assert events[0]["snapshot"]["name_label"] == "behaviour-changed"
    assert changed > token

    xapi("VM.destroy", vm)
    events, _ = poll(xapi, [f"vm/{vm}"], changed, 5.0)
    assert short(events) == [("del", vm)] and "snapshot" not in events[0]
    assert short(poll(xapi, [f"vm/{vm}"], changed)[0]) == [("del", vm)], "an old token tells its deletions again"
    assert poll(xapi, [f"vm/{vm}"])[0] == [], "a new listener never knew it"


def test_setting_an_equal_value_is_no_event(xapi: Caller, make: Maker) -> None:
    vm = make.vm()
    _, token = poll(xapi, [f"vm/{vm}"])
    xapi("VM.set_name_label", vm, "behaviour-vm")
    assert poll(xapi, [f"vm/{vm}"], token, 0.3)[0] == []


def test_several_changes_are_one_event_with_the_last_state(xapi: Caller, make: Maker) -> None:
    vm = make.vm()
    _, token = poll(xapi, [f"vm/{vm}"])
    for text in ("a", "b", "c"):
        xapi("VM.set_name_description", vm, text)
    events, _ = poll(xapi, [f"vm/{vm}"], token, 5.0)
    assert short(events) == [("mod", vm)] and events[0]["snapshot"]["name_description"] == "c"


def test_what_came_and_went_between_two_calls_is_not_told(xapi: Caller) -> None:
    _, token = poll(xapi, ["network"])
    network = xapi(
        "network.create", {"name_label": "behaviour-brief", "name_description": "", "MTU": 1500, "other_config": {}}
    )
    xapi("network.destroy", network)
    events, _ = poll(xapi, ["network"], token, 0.3)
    assert network not in [event["ref"] for event in events]


def test_a_batch_has_additions_then_changes_then_deletions(xapi: Caller, make: Maker) -> None:
    gone, kept = make.network("behaviour-1"), make.network("behaviour-2")
    _, token = poll(xapi, ["network"])
    xapi("network.destroy", gone)
    xapi("network.set_name_label", kept, "behaviour-2b")
    new = make.network("behaviour-3")
    mine = [pair for pair in short(poll(xapi, ["network"], token, 5.0)[0]) if pair[1] in (gone, kept, new)]
    assert mine == [("add", new), ("mod", kept), ("del", gone)]


def test_both_ends_of_a_relation_change(xapi: Caller, make: Maker) -> None:
    vm, network = make.vm(), make.network()
    classes = [f"vm/{vm}", f"network/{network}", "vif"]
    _, token = poll(xapi, classes)
    vif = make.vif(vm, network)
    told = short(poll(xapi, classes, token, 5.0)[0])
    assert {("add", vif), ("mod", vm), ("mod", network)} <= set(told)


@pytest.mark.parametrize("spelling", ["vm", "VM", "Vm"])
def test_classes_match_in_any_case(xapi: Caller, make: Maker, spelling: str) -> None:
    vm = make.vm()
    assert vm in [event["ref"] for event in poll(xapi, [spelling])[0]]
    assert short(poll(xapi, [f"{spelling}/{vm}"])[0]) == [("add", vm)]


def test_unknown_classes_match_nothing(xapi: Caller) -> None:
    assert poll(xapi, ["nosuch", "", "vm/", "/"])[0] == []


@pytest.mark.parametrize("token", ["bad", "1", "a,b", "1,2,3", ",", "99999999999999999999,0"])
def test_what_is_no_token_is_refused(xapi: Caller, token: str) -> None:
    assert xapi.error("event.from", ["vm"], token, 0.0) == ["EVENT_FROM_TOKEN_PARSE_FAILURE", token]


def test_a_call_without_news_ends_after_its_time_out(xapi: Caller, make: Maker) -> None:
    vm = make.vm()
    _, token = poll(xapi, [f"vm/{vm}"])
    started = time.monotonic()
    assert poll(xapi, [f"vm/{vm}"], token, 0.5)[0] == []
    assert 0.4 <= time.monotonic() - started < 5


def test_counters_tell_how_many_objects_there_are(xapi: Caller, make: Maker) -> None:
    make.vm()
    counts = xapi("event.from", ["vm"], "", 0.0)["valid_ref_counts"]
    assert counts["vm"] == len(xapi("VM.get_all"))
    assert counts["network"] == len(xapi("network.get_all"))


def test_an_injected_event_is_found_after_its_token(xapi: Caller, make: Maker) -> None:
    vm = make.vm()
    token = xapi("event.inject", "VM", vm)
    assert ("mod", vm) in short(poll(xapi, ["vm"], token, 5.0)[0])
    assert xapi.error("event.inject", "VM", "OpaqueRef:nope") == ["HANDLE_INVALID", "VM", "OpaqueRef:nope"]
    assert xapi.error("event.inject", "vm", vm) == ["HANDLE_INVALID", "vm", vm]
