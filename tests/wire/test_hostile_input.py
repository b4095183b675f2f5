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
"""No document can make a decoder expand, recurse, hang or raise anything but its own error."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xapikit.wire import MalformedRequest, MalformedResponse, jsonrpc, xmlrpc
from xapikit.wire.envelope import MAX_REQUEST_BYTES

BOMB = (
    b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>'
    b"<methodCall><methodName>a.b</methodName><params><param><value>&b;</value></param></params></methodCall>"
)
OUTSIDE = (
    b'<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]>'
    b"<methodCall><methodName>a.b</methodName><params><param><value>&e;</value></param></params></methodCall>"
)


def call(inner: str) -> bytes:
    return f"<methodCall><methodName>a.b</methodName><params><param>{inner}</param></params></methodCall>".encode()


@pytest.mark.parametrize(
    "document",
    [
        BOMB,
        OUTSIDE,
        b"",
        b"<x/>",
        b"<methodCall></methodCall>",
        b"<methodCall><methodName></methodName></methodCall>",
        b"<methodCall><params></params><methodName>a.b</methodName></methodCall>",
        call("<value>&#1;</value>"),
        call("<value>\x01</value>"),
        b"<methodCall><methodName>a\xff</methodName></methodCall>",
        call("<value><int>x</int></value>"),
        call("<value><int>" + "9" * 5000 + "</int></value>"),
        call("<value><double>x</double></value>"),
        call("<value><dateTime.iso8601></dateTime.iso8601></value>"),
        call("<value><struct><member><name></name><value/></member></struct></value>"),
        call("<value><struct><member><value/><name>a</name></member></struct></value>"),
        call("<value><struct><member><name>a</name></member></struct></value>"),
        call("<value>text<int>1</int></value>"),
        call("<value><int>1</int><int>2</int></value>"),
        call("<value><array><value>1</value></array></value>"),
        call("<value><surprise/></value>"),
        call("<value><base64>é</base64></value>"),
        call("text"),
        call("<value><array><data>" * 500 + "</data></array></value>" * 500),
    ],
    ids=range(24),
)
def test_bad_xml_is_refused(document: bytes) -> None:
    with pytest.raises(MalformedRequest):
        xmlrpc.decode_request(document)


def test_deep_json_is_refused() -> None:
    for deep in ("[" * 100_000, '{"a":' * 50_000):
        with pytest.raises(MalformedRequest):
            jsonrpc.decode_request(deep.encode())


def test_one_byte_above_the_limit_is_refused_and_the_limit_itself_is_read() -> None:
    fits = b'{"id":1,"method":"a.b"}'.ljust(MAX_REQUEST_BYTES)
    assert jsonrpc.decode_request(fits).method == "a.b"
    with pytest.raises(MalformedRequest):
        jsonrpc.decode_request(fits + b" ")
    document = call("<value></value>")
    fits = document.replace(b"<value></value>", b"<value>" + b"x" * (MAX_REQUEST_BYTES - len(document)) + b"</value>")
    assert len(xmlrpc.decode_request(fits).params[0]) == MAX_REQUEST_BYTES - len(document)
    with pytest.raises(MalformedRequest):
        xmlrpc.decode_request(fits + b" ")


@given(st.binary(max_size=400))
def test_arbitrary_bytes_raise_only_our_errors(noise: bytes) -> None:
    for codec in (xmlrpc, jsonrpc):
        with pytest.raises(MalformedRequest):
            codec.decode_request(noise)
        with pytest.raises(MalformedResponse):
            codec.decode_response(noise)


@given(st.binary(min_size=1, max_size=8), st.integers(min_value=0, max_value=120))
def test_a_damaged_call_is_refused_or_read_but_never_crashes(noise: bytes, where: int) -> None:
    good = xmlrpc.encode_request("VM.start", ["OpaqueRef:1", {"a": [1, True, 0.5]}])
    try:
        xmlrpc.decode_request(good[:where] + noise + good[where + len(noise) :])
    except MalformedRequest:
        pass


@pytest.mark.parametrize("reply", [b"{}", b"[]", b'{"error":{}}', b'{"error":[]}', b'{"error":[1]}', b"1"])
def test_a_json_reply_outside_the_envelopes_is_malformed(reply: bytes) -> None:
    with pytest.raises(MalformedResponse):
        jsonrpc.decode_response(reply)


def test_a_request_does_not_show_its_parameters() -> None:
    request = jsonrpc.decode_request(b'{"id":1,"method":"session.login_with_password","params":["root","s3cret"]}')
    assert "s3cret" not in repr(request)
