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
"""Our encoders and decoders produce and read the very bytes recorded from a running server."""

import re
from typing import Any

import pytest

from reference import load_reference
from xapikit.model import MODEL
from xapikit.wire import CoercionError, Failure, MalformedRequest, Request, coerce, jsonrpc, xmlrpc


def literal_exchanges() -> list[tuple[str, str]]:
    pairs = []
    for group in ("login", "database", "misc", "plugins", "tasks"):
        for scenario in load_reference(f"observed/{group}.json")["scenarios"]:
            for step in scenario["steps"]:
                if "wire_request" in step:
                    pairs.append((step["wire_request"], step["wire_response"]))
    return pairs


def body(message: str) -> str:
    return re.split(r"\r?\n\r?\n", message, maxsplit=1)[1]


def test_every_recorded_reply_is_encoded_byte_for_byte() -> None:
    seen = 0
    for request_text, response_text in literal_exchanges():
        codec: Any = jsonrpc if request_text.startswith("POST /jsonrpc") else xmlrpc
        request = codec.decode_request(body(request_text).encode())
        reply = body(response_text)
        if "<name>k<&></name>" in reply:
            continue  # the server's own ill-formed reply: we escape member names
        try:
            value = codec.decode_response(reply.encode())
        except Failure as failure:
            encoded = codec.encode_failure(request, failure.error)
        else:
            encoded = codec.encode_success(request, value)
        assert encoded.decode() == reply
        seen += 1
    assert seen >= 50


def test_every_recorded_argument_form_is_accepted_or_refused_as_recorded() -> None:
    steps = [
        step
        for scenario in load_reference("observed/database.json")["scenarios"]
        for step in scenario["steps"]
        if "xmlrpc_values" in step
    ]
    assert len(steps) >= 40
    for step in steps:
        method, *values = step["xmlrpc_values"]
        params = "".join(f"<param><value>{value}</value></param>" for value in values)
        document = f"<methodCall><methodName>{method}</methodName><params>{params}</params></methodCall>"
        recorded = step["response_body"]
        _, message = MODEL.message(method)
        try:
            request = xmlrpc.decode_request(document.encode())
            for parameter, raw in zip(message.params, request.params[1:], strict=True):
                coerce(parameter.type, raw)
        except MalformedRequest as error:
            assert "HTTP 500" in recorded, (step, error)
            page_end = recorded.split("</h1>")[-1].removesuffix("</body></html>").replace("&quot;", '"')
            assert str(error) == page_end
        except CoercionError as error:
            encoded = xmlrpc.encode_failure(request, ["INTERNAL_ERROR", str(error)])
            assert encoded.decode() == recorded, step
        else:
            assert "<value>Success</value>" in recorded, step


def test_wrong_json_arguments_get_the_recorded_error() -> None:
    scenarios = load_reference("observed/database.json")["scenarios"]
    steps = next(s["steps"] for s in scenarios if s["name"] == "wrong_argument_types")
    checked = 0
    for step in steps:
        _, message = MODEL.message(step["call"])
        error = step["outcome"].get("error")
        if not error or error[0] != "INTERNAL_ERROR":
            continue
        with pytest.raises(CoercionError) as refusal:
            for parameter, raw in zip(message.params, step["params"], strict=False):
                coerce(parameter.type, raw)
        assert str(refusal.value) == error[1]
        checked += 1
    assert checked >= 10


def test_the_first_missing_constructor_member_is_named() -> None:
    scenarios = load_reference("observed/database.json")["scenarios"]
    steps = next(s["steps"] for s in scenarios if s["name"] == "constructor_missing_members")
    checked = 0
    for step in steps:
        error = step["outcome"].get("error")
        if not error or error[0] != "INTERNAL_ERROR" or "FieldNotFound" not in error[1]:
            continue
        _, message = MODEL.message(step["call"])
        with pytest.raises(CoercionError) as refusal:
            coerce(message.params[0].type, step["params"][0])
        assert str(refusal.value) == error[1], step["call"]
        checked += 1
    assert checked >= 3


@pytest.mark.parametrize(
    ("document", "page_end"),
    [
        ("{", None),
        ("[]", 'Jsonrpc.Malformed_method_request("Invalid request body")'),
        ('{"method":"a.b","params":[]}', "Jsonrpc.Malformed_method_request(\"Invalid field 'id' in request body\")"),
        ('{"id":null,"method":"a.b"}', "Jsonrpc.Malformed_method_request(\"Invalid field 'id' in request body\")"),
        ('{"id":[1],"method":"a.b"}', "Jsonrpc.Malformed_method_request(\"Invalid field 'id' in request body\")"),
        ('{"id":1}', "Jsonrpc.Malformed_method_request(\"Invalid field 'method' in request body\")"),
        (
            '{"jsonrpc":"3.0","id":1,"method":"a.b"}',
            "Jsonrpc.Malformed_method_request(\"Invalid field 'jsonrpc' in request body\")",
        ),
        ("", 'Yojson__Common.Json_error("Line 1, bytes 0-0:\\nUnexpected end of input")'),
        ("\x00", None),
        ('{"id":1,"method":"\\ud800"}', None),
    ],
)
def test_a_json_body_that_is_no_call_is_malformed(document: str, page_end: str | None) -> None:
    with pytest.raises(MalformedRequest) as refusal:
        jsonrpc.decode_request(document.encode())
    if page_end:
        assert str(refusal.value) == page_end


def test_json_parameters_may_be_absent_or_one_object() -> None:
    assert jsonrpc.decode_request(b'{"id":1,"method":"a.b"}') == Request("a.b", [], 1, "json1")
    request = jsonrpc.decode_request(b'{"jsonrpc":"2.0","id":"x","method":"a.b","params":{"k":1},"extra":0}')
    assert request == Request("a.b", [{"k": 1}], "x", "json2")


def test_list_methods_has_no_envelope_in_xml() -> None:
    request = xmlrpc.decode_request(b"<methodCall><methodName>system.listMethods</methodName></methodCall>")
    assert request.params == []
    reply = xmlrpc.encode_success(request, ["VM.start"])
    assert b"Status" not in reply
    assert xmlrpc.decode_response(reply) == ["VM.start"]
