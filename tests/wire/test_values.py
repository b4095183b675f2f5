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
"""Dates, integers and the rules of reading arguments."""

import datetime as dt

import pytest

from xapikit.model import parse_type
from xapikit.wire import EPOCH, CoercionError, DateTime, coerce
from xapikit.wire.coerce import parse_int


@pytest.mark.parametrize(
    ("text", "utc"),
    [
        ("20260901T12:30:05Z", "20260901T12:30:05Z"),
        ("2026-09-01T12:30:05Z", "20260901T12:30:05Z"),
        ("20260901T12:30:05", "20260901T12:30:05Z"),
        ("20260901T12:30:05.123Z", "20260901T12:30:05Z"),
        ("2026-09-01T12:30:05+02:00", "20260901T10:30:05Z"),
        ("20260901T00:30:05-0130", "20260901T02:00:05Z"),
    ],
)
def test_dates_are_read_in_every_form_the_server_reads(text: str, utc: str) -> None:
    assert DateTime.parse(text) == utc
    assert DateTime.from_datetime(DateTime.parse(text).to_datetime()) == utc


@pytest.mark.parametrize("text", ["", "20260901", "1577934245", "garbage", "20261301T00:00:00Z", "2026-0901T00:00:00Z"])
def test_other_texts_are_no_dates(text: str) -> None:
    with pytest.raises(ValueError, match=r"date|month|year|day"):
        DateTime.parse(text)


def test_the_epoch_means_never() -> None:
    assert EPOCH.never
    assert not DateTime.now().never
    assert EPOCH.to_datetime() == dt.datetime(1970, 1, 1, tzinfo=dt.timezone.utc)
    assert DateTime.from_timestamp(0) == EPOCH


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("-5", -5), ("+5", 5), ("007", 7), ("0x1F", 31), ("0b101", 5), ("0o17", 15), ("1_000", 1000),
        ("9223372036854775807", 2**63 - 1), ("-9223372036854775808", -(2**63)), ("0xffffffffffffffff", -1),
    ],
)  # fmt: skip
def test_integers_are_read_as_the_server_reads_them(text: str, number: int) -> None:
    assert parse_int(text) == number
    assert coerce(parse_type("int"), text) == number


@pytest.mark.parametrize("text", ["", " 8 ", "1.0", "abc", "9223372036854775808", "0x", "_1", "٣", "9" * 5000])
def test_other_texts_are_no_integers(text: str) -> None:
    with pytest.raises(CoercionError):
        coerce(parse_type("int"), text)


def test_booleans_are_no_numbers_and_numbers_no_booleans() -> None:
    for name, raw in [("int", True), ("float", False), ("bool", 1), ("bool", "true"), ("string", 5), ("string", None)]:
        with pytest.raises(CoercionError):
            coerce(parse_type(name), raw)


def test_enum_words_match_in_any_case_and_are_stored_in_their_own() -> None:
    after_crash = parse_type("enum:on_crash_behaviour")
    assert coerce(after_crash, "Preserve") == "preserve"
    with pytest.raises(CoercionError):
        coerce(after_crash, "bogus")


def test_a_constructor_record_keeps_only_what_a_constructor_sets() -> None:
    network = coerce(
        parse_type("record:network"),
        {"name_label": "n", "MTU": "1500", "other_config": {}, "uuid": "ignored", "nonsense": 1, "VIFs": ["x"]},
    )
    assert network["MTU"] == 1500
    assert "uuid" not in network and "nonsense" not in network and "VIFs" not in network


def test_text_that_the_database_cannot_hold_is_refused() -> None:
    with pytest.raises(CoercionError, match=r"Db_exn\.Invalid_value"):
        coerce(parse_type("string"), "a\x01b")
    assert coerce(parse_type("string"), "tab\tnewline\n😀") == "tab\tnewline\n😀"


def test_an_error_shows_a_hostile_value_only_in_part() -> None:
    deep: list[object] = []
    for _ in range(5000):
        deep = [deep]
    with pytest.raises(CoercionError) as refusal:
        coerce(parse_type("string"), deep)
    assert len(str(refusal.value)) < 400
