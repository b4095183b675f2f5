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
"""The declarations say what the published data model says."""

from typing import Any

import pytest

from reference import load_reference
from xapikit.model import MISSING, MODEL, Kind, parse_type


@pytest.fixture(scope="module")
def reference() -> dict[str, Any]:
    return load_reference("xenapi-datamodel.json")  # type: ignore[no-any-return]


def test_there_are_73_classes() -> None:
    assert len(MODEL.classes) == 73


def test_every_type_names_something_that_exists() -> None:
    def check(kind_of: Any) -> None:
        if kind_of.kind is Kind.ENUM:
            assert kind_of.name in MODEL.enums
        elif kind_of.kind in (Kind.REF, Kind.RECORD) and kind_of.name != "*":  # an event carries any record
            assert kind_of.name in MODEL.classes
        for arg in kind_of.args:
            check(arg)

    for spec in MODEL.classes.values():
        for field in spec.fields.values():
            check(field.type)
        for message in spec.messages.values():
            for param in message.params:
                check(param.type)
            if message.result:
                check(message.result)


def test_both_ends_of_every_relation_exist() -> None:
    for relation in MODEL.relations:
        assert relation.left_field in MODEL.classes[relation.left_class].fields
        assert relation.right_field in MODEL.classes[relation.right_class].fields


def test_fields_equal_the_reference(reference: dict[str, Any]) -> None:
    for name, wanted in reference["classes"].items():
        spec = MODEL.classes[name]
        assert list(spec.fields) == [f[0] for f in wanted["fields"]], name
        for field_name, type_, qualifier, life, extra in wanted["fields"]:
            field = spec.fields[field_name]
            assert str(field.type) == type_
            assert field.qualifier.value == qualifier
            assert [field.life.state, *field.life.history] == life
            assert field.default == extra.get("default", MISSING)
            assert field.internal_only == extra.get("internal_only", False)
            assert field.persist == extra.get("persist", True)
            assert field.write_role == extra.get("write_role", "")
            assert field.read_role == extra.get("read_role", "")
            assert field.key_roles == extra.get("key_roles", {})


def test_calls_equal_the_reference(reference: dict[str, Any]) -> None:
    for name, wanted in reference["classes"].items():
        spec = MODEL.classes[name]
        assert [m.name for m in spec.declared_messages] == list(wanted["messages"]), name
        for message_name, facts in wanted["messages"].items():
            message = spec.messages[message_name]
            params = [[p.name, str(p.type)] + ([] if p.default is MISSING else [p.default]) for p in message.params]
            assert params == facts["params"]
            assert (str(message.result) if message.result else None) == facts.get("result")
            assert list(message.errors) == facts.get("errors", [])
            assert [message.life.state, *message.life.history] == facts["life"]
            assert message.role == facts.get("role", "")
            flags = {
                "async": message.is_async,
                "no_session": message.no_session,
                "pool_internal": message.pool_internal,
                "hidden": message.hidden,
                "secret": message.secret,
            }
            assert flags == {flag: facts.get(flag, False) for flag in flags}


def test_derived_calls_equal_the_reference(reference: dict[str, Any]) -> None:
    for name, wanted in reference["classes"].items():
        derived = {m.name for m in MODEL.classes[name].messages.values() if m.derived}
        assert derived == set(wanted["implicit"]), name


def test_tables_equal_the_reference(reference: dict[str, Any]) -> None:
    assert {k: list(v) for k, v in MODEL.enums.items()} == reference["enums"]
    assert {k: None if v is None else list(v) for k, v in MODEL.errors.items()} == reference["errors"]
    relations = [[r.left_class, r.left_field, r.right_class, r.right_field] for r in MODEL.relations]
    assert relations == reference["relations"]
    handlers = [[h.action, h.method, h.path, list(h.args), h.role] for h in MODEL.http_handlers]
    assert handlers == reference["http_handlers"]
    assert set(reference["emergency_calls"]) == MODEL.emergency_calls
    assert list(MODEL.api_version) == reference["api_version"]


@pytest.mark.parametrize("text", ["map(string)x", "ref", "string:x", "nothing", "set(string"])
def test_a_malformed_type_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_type(text)


def test_both_spellings_find_a_call() -> None:
    assert MODEL.message("VM_metrics.get_record") == MODEL.message("VM_metrics_get_record")
    with pytest.raises(KeyError):
        MODEL.message("VM.fly")
