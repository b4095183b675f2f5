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
"""Promises about calls: names, arity, types, order of checks, both protocols."""

from typing import Any

import pytest

from behaviour.conftest import Caller, Maker, Wire
from xapikit.client import XapiClient
from xapikit.model import MODEL
from xapikit.wire import Failure, coerce, xmlrpc


@pytest.mark.parametrize(
    ("method", "params", "error"),
    [
        ("VM.get_uuid", (), ["MESSAGE_PARAMETER_COUNT_MISMATCH", "VM.get_uuid", "1", "0"]),
        ("VM.get_all", ("x",), ["MESSAGE_PARAMETER_COUNT_MISMATCH", "VM.get_all", "0", "1"]),
        ("VM.start", ("x",), ["MESSAGE_PARAMETER_COUNT_MISMATCH", "VM.start", "3", "1"]),
        ("VM.no_such_call", ("x",), ["MESSAGE_METHOD_UNKNOWN", "VM.no_such_call"]),
        ("vm.get_all", (), ["MESSAGE_METHOD_UNKNOWN", "vm.get_all"]),
        ("VM.set_power_state", ("x", "Running"), ["MESSAGE_METHOD_UNKNOWN", "VM.set_power_state"]),
        ("VM.get_uuid", ("OpaqueRef:nope",), ["HANDLE_INVALID", "VM", "OpaqueRef:nope"]),
        ("VM.get_record", ("",), ["HANDLE_INVALID", "VM", ""]),
        ("VM.get_by_uuid", ("nope",), ["UUID_INVALID", "VM", "nope"]),
        ("VMPP.get_all", (), ["MESSAGE_REMOVED"]),
        ("Async.VM.get_uuid", ("x",), ["Fault", "No async mode for this operation (rpc: VM.get_uuid)"]),
        ("Async.VM.start", ("x",), ["MESSAGE_PARAMETER_COUNT_MISMATCH", "VM.start", "3", "1"]),
    ],
)
def test_what_is_wrong_with_a_call_is_told_in_the_documented_order(
    xapi: Caller, method: str, params: tuple[Any, ...], error: list[str]
) -> None:
    assert xapi.error(method, *params) == error


def test_arity_is_checked_before_the_session(wire: Wire) -> None:
    with pytest.raises(Failure) as refusal:
        wire.json("VM.get_uuid", "nope")
    assert refusal.value.error == ["MESSAGE_PARAMETER_COUNT_MISMATCH", "VM.get_uuid", "1", "0"]


@pytest.mark.parametrize(
    ("method", "value"),
    [
        ("VM.set_name_label", 5),
        ("VM.set_name_label", True),
        ("VM.set_name_label", None),
        ("VM.set_is_a_template", "true"),
        ("VM.set_is_a_template", 1),
        ("VM.set_user_version", "abc"),
        ("VM.set_user_version", 7.5),
        ("VM.set_other_config", {"k": 5}),
        ("VM.set_other_config", []),
        ("VM.set_tags", {}),
        ("VM.set_actions_after_crash", "bogus"),
        ("VM.set_name_label", "a\x01b"),
    ],
)
def test_an_argument_of_another_type_is_an_internal_error(xapi: Caller, make: Maker, method: str, value: Any) -> None:
    assert xapi.error(method, make.vm(), value)[0] == "INTERNAL_ERROR"


def test_numbers_may_be_given_as_text(xapi: Caller, make: Maker) -> None:
    vm = make.vm()
    for text, number in (("7", 7), ("0x1F", 31), ("-5", -5), ("1_000", 1000)):
        xapi("VM.set_user_version", vm, text)
        assert xapi("VM.get_user_version", vm) == number


def test_text_is_kept_to_the_letter(xapi: Caller, make: Maker) -> None:
    vm = make.vm()
    for text in ("<&>\"'\n\tž", " blanks ", "", "😀 中", "x" * 10_000):
        xapi("VM.set_name_label", vm, text)
        assert xapi("VM.get_name_label", vm) == text


@pytest.mark.usefixtures("runs_vms")
def test_both_protocols_give_the_same_records(xapi: Caller, make: Maker, wire: Wire, client: XapiClient) -> None:
    vm = make.vm(other_config={"k<&>": 'v"\n'}, tags=["b", "a", "a"])
    for cls, ref in (("VM", vm), ("VM_metrics", xapi("VM.get_metrics", vm)), ("host", xapi("host.get_all")[0])):
        as_json = wire.json(f"{cls}.get_record", client.session(), ref)
        as_xml = wire.xml(f"{cls}.get_record", client.session(), ref)
        # XML has no integers: read them by their declared types
        fields = MODEL.classes[cls].wire_fields
        assert as_xml.keys() == as_json.keys()
        for name, value in as_xml.items():
            if name in fields:
                assert coerce(fields[name].type, value) == coerce(fields[name].type, as_json[name]), f"{cls}.{name}"


def test_the_list_of_methods_is_a_bare_array_in_xml(wire: Wire) -> None:
    status, headers, body = wire.post("/", xmlrpc.encode_request("system.listMethods", []))
    assert status == 200 and headers["content-type"] == "text/xml"
    assert b"Status" not in body
    methods = xmlrpc.decode_response(body)
    assert {"VM.start", "VM.get_all_records", "event.from", "session.login_with_password"} <= set(methods)


def test_json_replies_carry_exactly_this_content_type(wire: Wire) -> None:
    _, headers, _ = wire.post("/jsonrpc", b'{"jsonrpc":"2.0","id":1,"method":"system.listMethods","params":[]}')
    assert headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/", b""),
        ("/", b"<x/>"),
        (
            "/",
            b"<methodCall><methodName>a.b</methodName><params><param><value>&#1;</value></param></params></methodCall>",
        ),
        ("/jsonrpc", b"{"),
        ("/jsonrpc", b"[]"),
        ("/jsonrpc", b'{"method":"pool.get_all","params":[]}'),
        ("/jsonrpc", b'{"jsonrpc":"3.0","id":1,"method":"pool.get_all","params":[]}'),
    ],
)
def test_a_body_that_is_no_call_is_answered_with_500(wire: Wire, path: str, body: bytes) -> None:
    status, headers, _ = wire.post(path, body)
    assert status == 500
    assert headers["content-type"] == "text/html"
