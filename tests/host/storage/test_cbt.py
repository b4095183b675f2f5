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
"""Changed blocks are tracked as on a host: logs beside the disks, their families, and what ends them."""

import base64
import subprocess
import threading
from collections.abc import Iterable
from pathlib import Path

import pytest

from host.storage.conftest import MIB, Sr
from xapi_caller import Caller
from xapikit.host import EmbeddedHost
from xapikit.host.errors import ApiError
from xapikit.host.storage import changes
from xapikit.host.storage.tracking import data_destroy

BLOCK = 64 << 10


def blocks(told: str) -> set[int]:
    """Numbers of the blocks of a bitmap, the highest bit of a byte first."""
    bitmap = base64.b64decode(told)
    return {number for number in range(len(bitmap) * 8) if bitmap[number // 8] & 0x80 >> number % 8}


def changed(sr: Sr, first: str, last: str) -> set[int]:
    return blocks(sr.call("VDI.list_changed_blocks", first, last))


def tracked(sr: Sr, size: int = 8 * MIB) -> str:
    vdi = sr.create(size)
    sr.call("VDI.enable_cbt", vdi)
    return vdi


def log(sr: Sr, vdi: str) -> changes.Log:
    return changes.read(sr.file(vdi).with_suffix(".cbtlog"))


def alerts(sr: Sr, vdi: str) -> list[str]:
    uuid = sr.row(vdi)["uuid"]
    return [row["name"] for row in sr.call("message.get_all_records").values() if row["obj_uuid"] == uuid]


def guest(uri: str | None, *commands: str) -> None:
    assert uri is not None
    line = ["qemu-io", "-f", "raw", *(word for command in commands for word in ("-c", command)), uri]
    done = subprocess.run(line, capture_output=True, text=True, timeout=30, check=False)
    assert "rror" not in done.stdout + done.stderr and "ailed" not in done.stdout + done.stderr


def test_blocks_written_between_snapshots_are_told(sr: Sr) -> None:
    vdi = tracked(sr)
    assert sr.row(vdi)["cbt_enabled"] and log(sr, vdi) == changes.Log(None, None, True, 8 * MIB)
    first = sr.call("VDI.snapshot", vdi)
    assert sr.row(first)["cbt_enabled"] and sr.row(vdi)["cbt_enabled"]
    for offset in (0, BLOCK * 9 + 5, 8 * MIB - 1):
        sr.write(vdi, offset, b"x")
    sr.write(vdi, BLOCK * 20 - 1, bytes(BLOCK + 2))
    second = sr.call("VDI.snapshot", vdi)
    sr.write(vdi, BLOCK * 64, b"y")
    third = sr.call("VDI.snapshot", vdi)
    assert changed(sr, first, second) == {0, 9, 127, 19, 20, 21}
    assert changed(sr, second, third) == {64}
    assert changed(sr, first, third) == {0, 9, 127, 19, 20, 21, 64}
    assert changed(sr, first, vdi) == changed(sr, first, third), "the disk itself ends the chain"
    assert len(base64.b64decode(sr.call("VDI.list_changed_blocks", first, second))) == 128 // 8
    assert sr.files().count(f"{sr.row(second)['uuid']}.cbtlog") == 1
    assert log(sr, second).parent == sr.row(first)["uuid"] and log(sr, second).child == sr.row(third)["uuid"]


def test_a_snapshot_of_a_snapshot_stands_before_it_in_the_chain(sr: Sr) -> None:
    vdi = tracked(sr)
    first = sr.call("VDI.snapshot", vdi)
    sr.write(vdi, 0, b"x")
    second = sr.call("VDI.snapshot", vdi)
    sr.write(vdi, BLOCK * 7, b"x")
    copy = sr.call("VDI.snapshot", second)
    assert changed(sr, first, copy) == changed(sr, first, second) == {0}
    assert changed(sr, copy, second) == set() and changed(sr, second, vdi) == changed(sr, copy, vdi) == {7}


def test_what_a_guest_writes_is_tracked_over_snapshots_and_until_it_is_off(sr: Sr) -> None:
    vdi = sr.create()
    use = sr.storage.attach(vdi, False, holder="vbd")
    sr.call("VDI.enable_cbt", vdi)
    assert not log(sr, vdi).consistent, "it is open for writing"
    guest(use.nbd_uri, "write -P 1 0 64k", "write -z 1M 128k", "flush")
    first = sr.call("VDI.snapshot", vdi)
    assert log(sr, first).consistent and not log(sr, vdi).consistent
    guest(use.nbd_uri, "write -P 2 4M 4k", "write -z 5M 64k")
    second = sr.call("VDI.snapshot", vdi)
    guest(use.nbd_uri, "write -P 2 7M 4k")
    assert changed(sr, first, second) == {64, 80}
    assert sr.call.error("VDI.list_changed_blocks", first, vdi) == ["VDI_IN_USE", vdi, "list_changed_blocks"]
    sr.storage.detach(vdi, holder="vbd")
    assert log(sr, vdi).consistent and changed(sr, second, vdi) == {112}


def test_a_data_path_that_dies_loses_no_block(sr: Sr) -> None:
    vdi = tracked(sr)
    first = sr.call("VDI.snapshot", vdi)
    use = sr.storage.attach(vdi, False, holder="vbd")
    restarted = threading.Event()
    sr.storage.on_data_path_ended(lambda *_: restarted.set())
    guest(use.nbd_uri, "write -P 2 4M 4k")
    assert use.data_path is not None
    subprocess.run(["kill", "-9", str(use.data_path.process.pid)], check=True)
    assert restarted.wait(20)
    guest(use.nbd_uri, "write -P 2 2M 4k")
    sr.storage.detach(vdi, holder="vbd")
    assert changed(sr, first, vdi) == {64, 32} and alerts(sr, vdi) == []


def test_imports_and_copies_onto_a_disk_are_tracked(sr: Sr) -> None:
    vdi, source = tracked(sr), sr.create()
    first = sr.call("VDI.snapshot", vdi)
    sr.write(source, MIB, b"data")
    sr.call("VDI.copy", source, sr.ref, "OpaqueRef:NULL", vdi)
    assert 16 in changed(sr, first, vdi)
    clone, copy = sr.call("VDI.clone", vdi), sr.call("VDI.copy", vdi, sr.ref)
    assert not sr.row(clone)["cbt_enabled"] and not sr.row(copy)["cbt_enabled"] and sr.row(vdi)["cbt_enabled"]


def test_the_data_of_a_snapshot_goes_and_its_log_stays(sr: Sr) -> None:
    vdi = tracked(sr)
    first = sr.call("VDI.snapshot", vdi)
    sr.write(vdi, 0, b"x")
    second = sr.call("VDI.snapshot", vdi)
    before = sr.call("SR.get_virtual_allocation", sr.ref)
    sr.call("VDI.data_destroy", first)
    sr.call("VDI.data_destroy", first)
    row = sr.row(first)
    assert row["type"] == "cbt_metadata" and row["cbt_enabled"] and row["is_a_snapshot"] and row["snapshot_of"] == vdi
    assert row["physical_utilisation"] == 0 and row["virtual_size"] == 8 * MIB and "vhd-parent" not in row["sm_config"]
    assert not sr.file(first).exists() and sr.call("SR.get_virtual_allocation", sr.ref) == before - 8 * MIB
    sr.collected()
    for method in ("SR.scan", "VDI.update"):
        sr.call(method, sr.ref if method.startswith("SR") else first)
        assert sr.row(first) | {"VBDs": []} == row, method
    assert changed(sr, first, second) == {0}
    assert sr.call.error("VDI.clone", first) == ["VDI_INCOMPATIBLE_TYPE", first, "CBT metadata"]
    assert sr.call.error("VDI.data_destroy", vdi) == ["OPERATION_NOT_ALLOWED", f"VDI is not a snapshot: {vdi}"]
    sr.call("VDI.destroy", first)
    sr.call("VDI.destroy", second)
    sr.call("VDI.destroy", vdi)
    assert sr.collected() == [] and sr.files() == []


def test_data_is_not_destroyed_before_its_vbds_are_gone(sr: Sr) -> None:
    snapshot = sr.call("VDI.snapshot", tracked(sr))
    store = sr.storage.store
    with store.transaction() as tx:
        vbd = tx.create("VBD", {"VDI": snapshot, "type": "Disk", "mode": "RO", "userdevice": "0"})
    with pytest.raises(ApiError) as refused:
        data_destroy(sr.storage, snapshot, patience=0.1)
    assert refused.value.description == ["VDI_IN_USE", snapshot, "data_destroy"]
    assert sr.row(snapshot)["type"] == "user" and sr.file(snapshot).exists()

    def unplug() -> None:
        store.wait(lambda: store.get("VDI", snapshot)["type"] == "cbt_metadata", 20)
        with store.transaction() as tx:
            tx.delete("VBD", vbd)

    thread = threading.Thread(target=unplug)
    thread.start()
    sr.call("VDI.data_destroy", snapshot)
    thread.join()
    assert not sr.file(snapshot).exists()


def test_a_snapshot_that_goes_leaves_its_blocks_to_the_next(sr: Sr) -> None:
    vdi = tracked(sr)
    first = sr.call("VDI.snapshot", vdi)
    sr.write(vdi, 0, b"x")
    second = sr.call("VDI.snapshot", vdi)
    use = sr.storage.attach(vdi, False, holder="vbd")
    guest(use.nbd_uri, "write -P 2 4M 4k")
    sr.call("VDI.destroy", second)
    guest(use.nbd_uri, "write -P 2 5M 4k")
    sr.storage.detach(vdi, holder="vbd")
    assert changed(sr, first, vdi) == {0, 64, 80}
    sr.collected()
    assert changed(sr, first, vdi) == {0, 64, 80}, "coalescing changes no block"
    assert log(sr, vdi).parent == sr.row(first)["uuid"] and log(sr, first).child == sr.row(vdi)["uuid"]


def test_a_disk_that_grew_has_a_longer_bitmap(sr: Sr) -> None:
    vdi = tracked(sr)
    first = sr.call("VDI.snapshot", vdi)
    sr.write(vdi, 0, b"x")
    sr.call("VDI.resize", vdi, 12 * MIB)
    sr.write(vdi, 10 * MIB, b"x")
    assert changed(sr, first, vdi) == {0, 160} and log(sr, vdi).size == 12 * MIB


def test_tracking_ends_on_request_and_begins_anew(sr: Sr) -> None:
    vdi = tracked(sr)
    first = sr.call("VDI.snapshot", vdi)
    sr.call("VDI.enable_cbt", vdi)
    sr.call("VDI.disable_cbt", vdi)
    sr.call("VDI.disable_cbt", vdi)
    assert not sr.row(vdi)["cbt_enabled"] and sr.row(first)["cbt_enabled"] and log(sr, first).child is None
    assert f"{sr.row(vdi)['uuid']}.cbtlog" not in sr.files()
    sr.call("VDI.enable_cbt", vdi)
    assert sr.call.error("VDI.list_changed_blocks", first, vdi)[0] == "SR_BACKEND_FAILURE_460"
    assert sr.call.error("VDI.list_changed_blocks", vdi, vdi)[0] == "SR_BACKEND_FAILURE_460"
    assert sr.call.error("VDI.list_changed_blocks", vdi, sr.create())[0] == "SR_BACKEND_FAILURE_460"


def test_a_log_that_was_not_closed_is_believed_only_when_the_machine_ran_on(sr: Sr) -> None:
    vdi = tracked(sr)
    changes.set_consistent(sr.file(vdi).with_suffix(".cbtlog"), False)
    sr.write(vdi, 0, b"x")
    assert not sr.row(vdi)["cbt_enabled"] and alerts(sr, vdi) == ["VDI_CBT_METADATA_INCONSISTENT"]
    assert f"{sr.row(vdi)['uuid']}.cbtlog" not in sr.files()


@pytest.mark.parametrize("content", [b"", b"short", bytes(48), bytes(40) + (1 << 40).to_bytes(8, "little")])
def test_a_damaged_log_ends_tracking_and_nothing_else(sr: Sr, content: bytes) -> None:
    vdi = tracked(sr)
    first = sr.call("VDI.snapshot", vdi)
    sr.file(vdi).with_suffix(".cbtlog").write_bytes(content)
    assert sr.call.error("VDI.list_changed_blocks", first, vdi)[0] in (
        "SR_BACKEND_FAILURE_459", "SR_BACKEND_FAILURE_460"
    )  # fmt: skip
    sr.call("SR.scan", sr.ref)
    sr.write(vdi, 0, b"x")
    assert sr.read(vdi, 0, 1) == b"x" and not sr.row(vdi)["cbt_enabled"]


def test_a_scan_knows_logs_with_and_without_their_disks(sr: Sr) -> None:
    vdi = sr.create()
    changes.create(sr.file(vdi).with_suffix(".cbtlog"), 8 * MIB, consistent=True)
    alone = "12345678-0000-4000-8000-000000000001"
    changes.create(sr.directory / f"{alone}.cbtlog", 6 * MIB, consistent=True)
    (sr.directory / "no-uuid.cbtlog").write_bytes(b"")
    sr.call("SR.scan", sr.ref)
    assert sr.row(vdi)["cbt_enabled"]
    row = sr.row(sr.call("VDI.get_by_uuid", alone))
    assert row["type"] == "cbt_metadata" and row["cbt_enabled"] and row["virtual_size"] == 6 * MIB
    (sr.directory / f"{alone}.cbtlog").unlink()
    sr.call("SR.scan", sr.ref)
    assert sr.call.error("VDI.get_by_uuid", alone)[0] == "UUID_INVALID"


@pytest.mark.parametrize("cut", ["before", "between", "after"])
def test_a_snapshot_cut_short_loses_no_block(tmp_path: Path, cut: str) -> None:
    leaf, first, new = (f"12345678-0000-4000-8000-00000000000{number}" for number in (1, 2, 3))
    changes.create(changes.log_path(tmp_path, leaf), 8 * MIB, consistent=True)
    changes.snapshot(tmp_path, leaf, first, consistent=True)
    mark(tmp_path, leaf, [3])
    kept = changes.log_path(tmp_path, leaf).read_bytes()
    if cut != "before":
        changes.snapshot(tmp_path, leaf, new, consistent=True)
    if cut == "between":
        changes.log_path(tmp_path, leaf).write_bytes(kept)
    elif cut == "after":
        mark(tmp_path, leaf, [5])
    changes.remove(tmp_path, new)
    told = changes.changed_blocks(tmp_path, first, leaf)
    assert told is not None
    assert blocks(base64.b64encode(told).decode()) == ({3, 5} if cut == "after" else {3})
    assert sorted(path.stem for path in tmp_path.iterdir()) == [leaf, first]


def mark(directory: Path, uuid: str, numbers: Iterable[int]) -> None:
    tracker = changes.ChangeTracker(changes.log_path(directory, uuid))
    for number in numbers:
        tracker.mark(number * BLOCK, 1)
    tracker.close()


def test_a_killed_server_knows_what_was_written(tmp_path: Path) -> None:
    with EmbeddedHost(tmp_path / "s") as xapi:
        sr = Sr(xapi, Caller(xapi.urls[0], password=xapi.password))
        vdi = tracked(sr)
        first = sr.call("VDI.snapshot", vdi)
        sr.write(vdi, MIB, b"x")
        changes.set_consistent(sr.file(vdi).with_suffix(".cbtlog"), False)  # as a transfer under way leaves it
        sr.call.close()
    with EmbeddedHost(tmp_path / "s", password=xapi.password) as again:
        sr = Sr(again, Caller(again.urls[0], password=xapi.password))
        sr.write(vdi, 0, b"x")
        assert changed(sr, first, vdi) == {0, 16} and alerts(sr, vdi) == []
        sr.call.close()
