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
"""The store keeps its promises: all or nothing, both ends of relations, stamps for events, immutable snapshots."""

import threading
from collections.abc import Mapping

import pytest

from xapikit.host.errors import ApiError
from xapikit.host.store import Commit, Store, View
from xapikit.model import NULL_REF


def a_vm(store: Store, **fields: object) -> str:
    with store.transaction() as tx:
        return tx.create("VM", {"name_label": "a", **fields})


def test_a_new_row_has_every_field_of_the_data_model_a_reference_and_a_uuid() -> None:
    store = Store()
    vm = a_vm(store, memory_static_max=1 << 30)
    row = store.get("VM", vm)
    assert vm.startswith("OpaqueRef:") and len(row["uuid"]) == 36
    assert row["memory_static_max"] == 1 << 30 and row["affinity"] == NULL_REF and row["VBDs"] == []
    assert store.by_uuid("VM", row["uuid"]) == vm


def test_a_failed_transaction_leaves_nothing_behind() -> None:
    store = Store()
    vm = a_vm(store)
    before = store.generation
    with pytest.raises(RuntimeError), store.transaction() as tx:
        tx.create("VBD", {"VM": vm})
        tx.update("VM", vm, name_label="changed")
        raise RuntimeError
    assert store.generation == before and store.count("VBD") == 0
    assert store.get("VM", vm)["name_label"] == "a" and store.get("VM", vm)["VBDs"] == []


def test_an_inner_transaction_that_fails_undoes_only_itself() -> None:
    store = Store()
    with store.transaction() as tx:
        vm = tx.create("VM", {"name_label": "outer"})
        with pytest.raises(ApiError), store.transaction() as inner:
            inner.update("VM", vm, name_label="inner")
            inner.get("VM", "OpaqueRef:none")
        assert tx.get("VM", vm)["name_label"] == "outer"
    assert store.get("VM", vm)["name_label"] == "outer"


def test_both_ends_of_a_relation_follow_the_end_that_is_set() -> None:
    store = Store()
    first, second = a_vm(store), a_vm(store)
    with store.transaction() as tx:
        vbd = tx.create("VBD", {"VM": first})
    assert store.get("VM", first)["VBDs"] == [vbd]
    with store.transaction() as tx:
        tx.update("VBD", vbd, VM=second)
    assert store.get("VM", first)["VBDs"] == [] and store.get("VM", second)["VBDs"] == [vbd]
    with store.transaction() as tx:
        tx.delete("VBD", vbd)
    assert store.get("VM", second)["VBDs"] == []


def test_deleting_the_target_leaves_the_dangling_reference() -> None:
    store = Store()
    vm = a_vm(store)
    with store.transaction() as tx:
        vbd = tx.create("VBD", {"VM": vm})
        tx.delete("VM", vm)
    assert store.get("VBD", vbd)["VM"] == vm


def test_equal_values_do_not_count_as_a_change() -> None:
    store = Store()
    vm = a_vm(store)
    before = store.generation
    with store.transaction() as tx:
        tx.update("VM", vm, name_label="a", tags=[], other_config={})
    with store.transaction() as tx:
        tx.update("VM", vm, name_label="b")
        tx.update("VM", vm, name_label="a")
    assert store.generation == before


def test_a_snapshot_never_changes_under_its_reader() -> None:
    store = Store()
    vm = a_vm(store, other_config={"a": "1"})
    row = store.get("VM", vm)
    with store.transaction() as tx:
        tx.update("VM", vm, other_config={"a": "2"}, name_label="b")
    assert row["other_config"] == {"a": "1"} and row["name_label"] == "a"


@pytest.mark.parametrize("values", [{"name_label": 1}, {"is_a_template": 1}, {"tags": [1]}, {"nonsense": ""}])
def test_a_value_that_does_not_fit_its_field_is_refused(values: dict[str, object]) -> None:
    store = Store()
    with pytest.raises(TypeError), store.transaction() as tx:
        tx.create("VM", values)


def test_derived_fields_follow_the_rows_they_depend_on() -> None:
    store = Store()

    def operations(view: View, ref: str, row: object) -> list[str]:
        attached = [v for v in view.find("VBD", VDI=ref).values() if v["currently_attached"]]
        return [] if attached else ["destroy"]

    store.derive("VDI", "allowed_operations", operations, via={"VBD": "VDI"})
    with store.transaction() as tx:
        vdi = tx.create("VDI", {})
        vbd = tx.create("VBD", {"VDI": vdi})
    assert store.get("VDI", vdi)["allowed_operations"] == ["destroy"]
    with store.transaction() as tx:
        tx.update("VBD", vbd, currently_attached=True)
    assert store.get("VDI", vdi)["allowed_operations"] == []


def test_all_computed_fields_are_computed_again_by_one_visit_of_each_row() -> None:
    store = Store()
    vms = [a_vm(store) for _ in range(3)]
    visited: list[str] = []

    def operations(view: View, ref: str, row: Mapping[str, object]) -> list[str]:
        visited.append(ref)
        return ["start"] if row["power_state"] == "Halted" else []

    store.derive("VM", "allowed_operations", operations)
    heard: list[Commit] = []
    store.on_commit(heard.append)
    store.rederive()
    assert visited == vms
    assert [store.get("VM", vm)["allowed_operations"] for vm in vms] == [["start"]] * 3
    assert [change.ref for commit in heard for change in commit.changes] == vms
    with store.transaction() as tx:
        tx.update("VM", vms[0], power_state="Running")
    assert store.get("VM", vms[0])["allowed_operations"] == []


def test_changes_since_a_generation_are_found_and_deletions_of_rows_known_then() -> None:
    store = Store()
    old = a_vm(store)
    then = store.generation
    new = a_vm(store)
    with store.transaction() as tx:
        tx.delete("VM", old)
        passing = tx.create("VM", {})
    with store.transaction() as tx:
        tx.delete("VM", passing)
    with store.frozen() as tables:
        assert [ref for ref, _ in tables["VM"].changed_since(then)] == [new]
        assert [d.ref for d in tables["VM"].deleted_since(then)] == [old]


def test_a_listener_hears_each_commit_once_with_both_states() -> None:
    store = Store()
    heard: list[Commit] = []
    store.on_commit(heard.append)
    vm = a_vm(store)
    with store.transaction() as tx:
        tx.update("VM", vm, name_label="b")
    assert [len(c.changes) for c in heard] == [1, 1]
    change = heard[1].changes[0]
    assert change.before and change.after
    assert (change.before["name_label"], change.after["name_label"]) == ("a", "b")


def test_a_waiter_wakes_when_its_predicate_becomes_true() -> None:
    store = Store()
    vm = a_vm(store)
    threading.Timer(0.02, lambda: _rename(store, vm)).start()
    assert store.wait(lambda: store.get("VM", vm)["name_label"] == "b", timeout=5)
    assert not store.wait(lambda: False, timeout=0.01)


def _rename(store: Store, vm: str) -> None:
    with store.transaction() as tx:
        tx.update("VM", vm, name_label="b")


def test_a_watch_wakes_for_its_classes_only() -> None:
    store = Store()
    with store.watch(["VDI"]) as watch:
        a_vm(store)
        assert not watch.wait(0)
        with store.transaction() as tx:
            tx.create("VDI", {})
        assert watch.wait(0) and not watch.wait(0)
