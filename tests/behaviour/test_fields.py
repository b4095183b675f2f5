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
"""Promises about fields: setters, maps, sets, filters."""

import pytest

from behaviour.conftest import Caller, Maker


def test_maps_refuse_a_key_twice_and_forgive_its_absence(xapi: Caller, make: Maker) -> None:
    vm = make.vm()
    xapi("VM.set_other_config", vm, {"a": "1"})
    xapi("VM.add_to_other_config", vm, "b", "2")
    assert xapi.error("VM.add_to_other_config", vm, "a", "9") == ["MAP_DUPLICATE_KEY", "VM", "other_config", vm, "a"]
    xapi("VM.remove_from_other_config", vm, "never")
    xapi("VM.remove_from_other_config", vm, "a")
    assert xapi("VM.get_other_config", vm) == {"b": "2"}


def test_nested_field_names_are_spelled_with_two_underscores_in_errors(xapi: Caller, make: Maker) -> None:
    vm = make.vm()
    assert xapi.error("VM.add_to_HVM_boot_params", vm, "order", "n")[:3] == [
        "MAP_DUPLICATE_KEY",
        "VM",
        "HVM__boot_params",
    ]


def test_sets_keep_their_order_and_take_new_elements_at_the_front(xapi: Caller, make: Maker) -> None:
    vm = make.vm()
    xapi("VM.set_tags", vm, ["b", "a", "a"])
    xapi("VM.add_tags", vm, "c")
    xapi("VM.add_tags", vm, "c")
    assert xapi("VM.get_tags", vm) == ["c", "b", "a", "a"]
    xapi("VM.remove_tags", vm, "a")
    assert xapi("VM.get_tags", vm) == ["c", "b"]


def test_enum_words_match_in_any_case_and_are_stored_in_their_own(xapi: Caller, make: Maker) -> None:
    vm = make.vm()
    xapi("VM.set_actions_after_crash", vm, "Preserve")
    assert xapi("VM.get_actions_after_crash", vm) == "preserve"


def test_references_are_stored_unchecked(xapi: Caller, make: Maker) -> None:
    vm = make.vm()
    for text in ("OpaqueRef:nope", "", "OpaqueRef:NULL"):
        xapi("VM.set_affinity", vm, text)
        assert xapi("VM.get_affinity", vm) == text


def test_the_first_missing_member_of_a_constructor_is_named(xapi: Caller) -> None:
    code, text = xapi.error("VBD.create", {})
    assert code == "INTERNAL_ERROR" and '"VM"' in text


@pytest.mark.parametrize(
    ("expression", "matches"),
    [
        ('field "name__label" = "{name}"', True),
        ('field "name__label" = "{name}" and field "is_a_template" = "false"', True),
        ('field "name__label" = "{name}" and not field "power_state" = "Halted"', False),
        ('(field "name__label" = "{name}") and (field "VCPUs__max" = "1")', True),
        ('field "name__label" = "{name}" and field "tags" = "t"', False),
        ("false", False),
    ],
)
def test_filters_compare_columns_with_text(xapi: Caller, make: Maker, expression: str, matches: bool) -> None:
    vm = make.vm("behaviour-filter", tags=["t"])
    found = xapi("VM.get_all_where", expression.format(name="behaviour-filter"))
    assert (vm in found) is matches
    records = xapi("VM.get_all_records_where", expression.format(name="behaviour-filter"))
    assert set(records) == set(found)


def test_bad_filters_are_refused(xapi: Caller) -> None:
    assert xapi.error("VM.get_all_where", 'field "name_label" = "x"')[:3] == [
        "INTERNAL_ERROR",
        "missing field",
        "name_label",
    ]
    for expression in ("", "field 'uuid' = 'x'", 'field "uuid" != "a"', "((true)"):
        assert xapi.error("VM.get_all_where", expression)[:2] == ["INVALID_VALUE", expression]


def test_relations_are_kept_on_both_ends(xapi: Caller, make: Maker) -> None:
    vm, network = make.vm(), make.network()
    vif = make.vif(vm, network)
    assert xapi("VM.get_VIFs", vm) == [vif]
    assert xapi("network.get_VIFs", network) == [vif]
    xapi("VIF.destroy", vif)
    assert xapi("VM.get_VIFs", vm) == [] and xapi("network.get_VIFs", network) == []
