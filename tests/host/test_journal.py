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
"""What was committed is found again: after a restart, after a torn write, after compaction; damage is named."""

from pathlib import Path

import pytest

from xapikit.host.store import FileJournal, JournalDamaged, StateInUse, Store


def opened(path: Path) -> tuple[Store, FileJournal]:
    journal = FileJournal(path / "db", "never")
    store, _ = Store.open(journal)
    return store, journal


def populate(store: Store) -> tuple[str, str]:
    with store.transaction() as tx:
        vm = tx.create("VM", {"name_label": "a", "other_config": {"k": "v"}})
        vbd = tx.create("VBD", {"VM": vm})
    with store.transaction() as tx:
        tx.update("VM", vm, name_label="b")
        gone = tx.create("VM", {"name_label": "gone"})
    with store.transaction() as tx:
        tx.delete("VM", gone)
    return vm, vbd


def test_rows_relations_and_stamps_survive_a_restart(tmp_path: Path) -> None:
    store, journal = opened(tmp_path)
    vm, vbd = populate(store)
    entry = store.entry("VM", vm)
    assert entry
    journal.close()
    again, journal = opened(tmp_path)
    found = again.entry("VM", vm)
    assert found and found.row == entry.row and found.modified == entry.modified
    assert again.get("VM", vm)["VBDs"] == [vbd] and again.count("VM") == 1
    assert again.generation >= store.generation
    journal.close()


def test_generations_never_come_again_though_tasks_are_not_kept(tmp_path: Path) -> None:
    store, journal = opened(tmp_path)
    for _ in range(20):
        with store.transaction() as tx:
            tx.create("task", {"name_label": "t"})
    used = store.generation
    journal.close()
    again, journal = opened(tmp_path)
    assert again.generation >= used and again.count("task") == 0
    journal.close()


@pytest.mark.parametrize("cut", [1, 5, 30])
def test_a_torn_last_record_is_dropped_and_writing_goes_on(tmp_path: Path, cut: int) -> None:
    store, journal = opened(tmp_path)
    vm, _ = populate(store)
    with store.transaction() as tx:
        tx.update("VM", vm, name_label="torn")
    journal.close()
    file = tmp_path / "db" / "journal-000000"
    file.write_bytes(file.read_bytes()[:-cut])
    again, journal = opened(tmp_path)
    assert again.get("VM", vm)["name_label"] == "b"
    with again.transaction() as tx:
        tx.update("VM", vm, name_label="c")
    journal.close()
    last, journal = opened(tmp_path)
    assert last.get("VM", vm)["name_label"] == "c"
    journal.close()


def test_damage_before_the_end_is_reported_with_its_place(tmp_path: Path) -> None:
    store, journal = opened(tmp_path)
    populate(store)
    journal.close()
    file = tmp_path / "db" / "journal-000000"
    data = bytearray(file.read_bytes())
    data[20] ^= 1
    file.write_bytes(bytes(data))
    with pytest.raises(JournalDamaged, match="byte 0 is damaged"):
        opened(tmp_path)


def test_compaction_keeps_everything_and_starts_a_new_journal(tmp_path: Path) -> None:
    store, journal = opened(tmp_path)
    vm, vbd = populate(store)
    journal.compact(store.generation)
    with store.transaction() as tx:
        tx.update("VM", vm, name_label="after")
    journal.close()
    assert sorted(path.name for path in (tmp_path / "db").iterdir()) == ["journal-000001", "lock", "snapshot-000001"]
    again, journal = opened(tmp_path)
    assert again.get("VM", vm)["name_label"] == "after" and again.get("VM", vm)["VBDs"] == [vbd]
    journal.close()


def test_an_interrupted_compaction_changes_nothing(tmp_path: Path) -> None:
    store, journal = opened(tmp_path)
    vm, _ = populate(store)
    journal.close()
    (tmp_path / "db" / "snapshot-000001.new").write_bytes(b"half")
    (tmp_path / "db" / "journal-000001").write_bytes(b"")
    again, journal = opened(tmp_path)
    assert again.get("VM", vm)["name_label"] == "b"
    journal.close()


def test_a_truncated_snapshot_is_damage(tmp_path: Path) -> None:
    store, journal = opened(tmp_path)
    populate(store)
    journal.compact(store.generation)
    journal.close()
    file = tmp_path / "db" / "snapshot-000001"
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join(lines[:-1]))
    with pytest.raises(JournalDamaged):
        opened(tmp_path)


def test_one_server_at_a_time(tmp_path: Path) -> None:
    _, journal = opened(tmp_path)
    with pytest.raises(StateInUse):
        FileJournal(tmp_path / "db")
    journal.close()


def test_a_commit_after_the_end_fails_and_is_not_there(tmp_path: Path) -> None:
    store, _ = opened(tmp_path)
    vm, _ = populate(store)
    store.close()
    with pytest.raises(OSError, match="closed"), store.transaction() as tx:
        tx.update("VM", vm, name_label="late")
    assert store.get("VM", vm)["name_label"] == "b"
    again, journal = opened(tmp_path)
    assert again.get("VM", vm)["name_label"] == "b"
    journal.close()
