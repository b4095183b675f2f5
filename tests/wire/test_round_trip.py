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
"""What one side encodes the other side decodes to the same values, over both protocols."""

import math
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from xapikit.model import parse_type
from xapikit.wire import DateTime, Failure, Int32, coerce, jsonrpc, xmlrpc
from xapikit.wire.envelope import Request

texts = st.text(
    st.characters(exclude_categories=("Cs",), exclude_characters="".join(map(chr, range(32))) + "\ufffe\uffff")
    | st.sampled_from("\t\n\r<>&\"' ]"),
    max_size=20,
)
ints = st.integers(-(2**63), 2**63 - 1)
floats = st.floats(allow_nan=True, allow_infinity=True)
dates = st.datetimes().map(DateTime.from_datetime)
keys = texts.filter(bool)

TYPED: dict[str, st.SearchStrategy[Any]] = {
    "string": texts,
    "int": ints,
    "float": floats,
    "bool": st.booleans(),
    "datetime": dates,
    "set(string)": st.lists(texts, max_size=4),
    "set(int)": st.lists(ints, max_size=4),
    "map(string,string)": st.dictionaries(keys, texts, max_size=4),
    "map(int,float)": st.dictionaries(ints, floats, max_size=4),
    "map(string,set(bool))": st.dictionaries(keys, st.lists(st.booleans(), max_size=3), max_size=3),
    "option(string)": st.lists(texts, max_size=1),
}
typed_values = st.sampled_from(sorted(TYPED)).flatmap(lambda name: st.tuples(st.just(name), TYPED[name]))


def same(left: Any, right: Any) -> bool:
    if isinstance(left, float) and isinstance(right, float):
        return left == right or (math.isnan(left) and math.isnan(right))
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(same, left, right))
    return type(left) is type(right) and left == right


@given(typed_values)
def test_arguments_arrive_as_they_were_given(pair: tuple[str, Any]) -> None:
    name, value = pair
    for codec in (xmlrpc, jsonrpc):
        request = codec.decode_request(codec.encode_request("VM.probe", ["OpaqueRef:s", value], 7))
        assert request.method == "VM.probe"
        assert request.params[0] == "OpaqueRef:s"
        assert same(coerce(parse_type(name), request.params[1]), value), codec.__name__


@given(typed_values, st.sampled_from(["json1", "json2"]))
def test_results_arrive_as_they_were_given(pair: tuple[str, Any], version: Any) -> None:
    name, value = pair
    raw = xmlrpc.decode_response(xmlrpc.encode_success(Request("VM.probe", []), value))
    assert same(coerce(parse_type(name), raw), value)
    raw = jsonrpc.decode_response(jsonrpc.encode_success(Request("VM.probe", [], 3, version), value))
    assert same(coerce(parse_type(name), raw), value)
    assert same(coerce(parse_type(name), xmlrpc.decode_fragment(xmlrpc.encode_fragment(value))), value)


@given(st.lists(texts, min_size=1, max_size=4).filter(lambda error: bool(error[0])))
def test_failures_arrive_as_they_were_given(error: list[str]) -> None:
    for codec, version in ((xmlrpc, "xmlrpc"), (jsonrpc, "json1"), (jsonrpc, "json2")):
        reply = codec.encode_failure(Request("VM.probe", [], "id", version), error)  # type: ignore[attr-defined]
        try:
            codec.decode_response(reply)  # type: ignore[attr-defined]
        except Failure as failure:
            assert failure.error == error
        else:
            raise AssertionError("a failure decoded as a value")


def test_void_is_the_empty_string_and_counters_are_i4() -> None:
    assert xmlrpc.decode_response(xmlrpc.encode_success(Request("VM.start", []), None)) == ""
    assert jsonrpc.decode_response(jsonrpc.encode_success(Request("VM.start", [], 1, "json2"), None)) == ""
    assert b"<value><i4>5</i4></value>" in xmlrpc.encode_success(Request("event.from", []), {"vm": Int32(5)})


def test_what_xml_cannot_carry_never_makes_a_reply_ill_formed() -> None:
    reply = xmlrpc.encode_success(Request("VM.get_other_config", []), {"a\x01<&": "b\x00\ud800"})
    assert xmlrpc.decode_response(reply) == {"a\ufffd<&": "b\ufffd\ufffd"}
