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
"""Calls are found, checked and answered as a host does: order of checks, derived calls, sessions, tasks, members."""

import inspect

import pytest

from xapi_caller import Caller, CallFailed
from xapikit.host import EmbeddedHost
from xapikit.host.classes import load_all
from xapikit.host.registry import calls
from xapikit.model import MODEL


def test_a_session_opens_is_readable_and_dies(call: Caller) -> None:
    record = call("session.get_record", call.session)
    assert record["originator"] == "tests" and record["is_local_superuser"]
    call("session.logout")
    assert call.error("VM.get_all") == ["SESSION_INVALID", call.session]


def test_a_wrong_password_and_an_unknown_user_are_told_apart(xapi_host: EmbeddedHost) -> None:
    caller = Caller(xapi_host.urls[0])
    for user, reason in (
        ("root", "Authentication failure"),
        ("who", "User not known to the underlying authentication module"),
    ):
        with pytest.raises(CallFailed) as caught:
            caller.bare("session.login_with_password", user, "wrong")
        assert caught.value.error == ["SESSION_AUTHENTICATION_FAILED", user, reason]


@pytest.mark.parametrize(
    ("method", "params", "error"),
    [
        ("VM.get_uuid", (), ["MESSAGE_PARAMETER_COUNT_MISMATCH", "VM.get_uuid", "1", "0"]),
        ("VM.start", ("a",), ["MESSAGE_PARAMETER_COUNT_MISMATCH", "VM.start", "3", "1"]),
        ("VM.nope", ("a",), ["MESSAGE_METHOD_UNKNOWN", "VM.nope"]),
        ("VM.set_power_state", ("a", "b"), ["MESSAGE_METHOD_UNKNOWN", "VM.set_power_state"]),
        ("VM.get_uuid", ("",), ["HANDLE_INVALID", "VM", ""]),
        ("VM.get_by_uuid", ("x",), ["UUID_INVALID", "VM", "x"]),
        ("VBD.get_metrics", ("x",), ["MESSAGE_REMOVED"]),
        ("VM.set_name_label", ("x", 5), ["INTERNAL_ERROR", "Failure(\"Expected string, got 'I(5)'\")"]),
        ("Async.VM.get_uuid", ("x",), ["Fault", "No async mode for this operation (rpc: VM.get_uuid)"]),
    ],
)
def test_the_order_of_checks(call: Caller, method: str, params: tuple[object, ...], error: list[str]) -> None:
    assert call.error(method, *params) == error


def test_maps_and_sets_change_as_on_a_host(call: Caller) -> None:
    host = call("host.get_all")[0]
    call("host.set_other_config", host, {"a": "1"})
    call("host.add_to_other_config", host, "b", "2")
    assert call.error("host.add_to_other_config", host, "a", "9") == [
        "MAP_DUPLICATE_KEY", "host", "other_config", host, "a",
    ]  # fmt: skip
    call("host.remove_from_other_config", host, "never")
    assert call("host.get_other_config", host) == {"a": "1", "b": "2"}
    call("host.set_tags", host, ["b", "a", "a"])
    call("host.add_tags", host, "c")
    call("host.remove_tags", host, "a")
    assert call("host.get_tags", host) == ["c", "b"]


def test_a_filter_selects_rows_by_column(call: Caller) -> None:
    expression = 'field "name__label" = "host1" and not field "enabled" = "false"'
    assert list(call("host.get_all_records_where", expression)) == call("host.get_all")
    assert call.error("host.get_all_where", 'field "name_label" = "a"') == [
        "INTERNAL_ERROR", "missing field", "name_label", "",
    ]  # fmt: skip
    assert call.error("host.get_all_where", "((true)")[0] == "INVALID_VALUE"


def test_an_async_call_ends_in_its_task(call: Caller) -> None:
    host = call("host.get_all")[0]
    task = call("Async.host.disable", host)
    batch = call("event.from", [f"task/{task}"], "", 5.0)
    while not batch["events"] or batch["events"][-1]["snapshot"]["status"] == "pending":
        batch = call("event.from", [f"task/{task}"], batch["token"], 5.0)
    record = batch["events"][-1]["snapshot"]
    assert (record["status"], record["result"], record["progress"]) == ("success", "<value></value>", 1.0)
    assert call("host.get_enabled", host) is False


def test_a_bad_reference_in_an_async_call_surfaces_in_the_task(call: Caller) -> None:
    task = call("Async.host.enable", "OpaqueRef:nope")
    record = call("task.get_record", task)
    while record["status"] == "pending":
        call("event.from", [f"task/{task}"], "", 1.0)
        record = call("task.get_record", task)
    assert (record["status"], record["error_info"]) == ("failure", ["HANDLE_INVALID", "host", "OpaqueRef:nope"])


def test_a_member_names_the_coordinator(xapi_pool: EmbeddedHost) -> None:
    coordinator = Caller(xapi_pool.urls[0], password=xapi_pool.password)
    member = Caller(xapi_pool.urls[1])
    for method, *params in (
        ("session.login_with_password", "root", "bad"),
        ("pool.get_all", coordinator.session),
        ("VM.nope", coordinator.session),
    ):
        with pytest.raises(CallFailed) as caught:
            member.bare(method, *params)
        assert caught.value.error == ["HOST_IS_SLAVE", "127.0.0.1"]
    local = member.bare("session.slave_local_login_with_password", "root", xapi_pool.password)
    assert member.bare("pool.get_all", local) == coordinator("pool.get_all")


def test_every_call_of_the_data_model_is_answered(call: Caller) -> None:
    methods = call("system.listMethods")
    assert len(methods) > 2000 and "VM.start" in methods and "VM.get_all_records" in methods


def test_each_implementation_takes_what_the_data_model_says() -> None:
    load_all()
    for method, function in calls().items():
        _, message = MODEL.message(method)
        signature = inspect.signature(function)
        try:
            signature.bind(*range(1 + len(message.params)))
        except TypeError as error:
            pytest.fail(f"{method}{signature} against {[p.name for p in message.params]}: {error}")
