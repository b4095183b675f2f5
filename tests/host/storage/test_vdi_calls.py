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
"""VDI and SR calls work on real VHD files, as on a host with an ext SR."""

import hashlib
import queue
import subprocess
import xmlrpc.client
from pathlib import Path

import pytest

from host.storage.conftest import MIB, Sr
from xapikit import vhd
from xapikit.host.storage.attachments import Attachment


def test_a_disk_is_a_vhd_named_by_its_uuid_with_a_rounded_size(sr: Sr) -> None:
    vdi = sr.create(3 * MIB + 1, name_label="a b & <c>", other_config={"a": "b"})
    row = sr.row(vdi)
    assert row["virtual_size"] == 4 * MIB and row["location"] == row["uuid"] and row["managed"]
    assert row["name_label"] == "a b & <c>" and row["other_config"] == {"a": "b"}
    info = vhd.info(sr.file(vdi))
    assert info.virtual_size == 4 * MIB and not info.hidden
    sr.call("VDI.destroy", vdi)
    assert sr.files() == []


def test_the_local_sr_of_a_fresh_host_is_plugged_and_has_room(sr: Sr) -> None:
    record = sr.call("SR.get_record", sr.ref)
    assert record["name_label"] == "Local storage" and record["other_config"]["i18n-key"] == "local-storage"
    assert record["physical_size"] > record["physical_utilisation"] >= 0
    (pbd,) = record["PBDs"]
    assert sr.call("PBD.get_currently_attached", pbd)


@pytest.mark.parametrize("size", [-1, vhd.MAX_VIRTUAL_SIZE + 1])
def test_a_size_that_no_vhd_has_is_refused(sr: Sr, size: int) -> None:
    error = sr.call.error(
        "VDI.create",
        {"SR": sr.ref, "virtual_size": size, "type": "user", "sharable": False, "read_only": False, "other_config": {}},
    )
    assert error[0] == "SR_BACKEND_FAILURE_79" and sr.files() == []


def test_types_that_only_the_host_makes_are_refused(sr: Sr) -> None:
    record = {"SR": sr.ref, "virtual_size": MIB, "type": "cbt_metadata", "sharable": False, "read_only": False}
    error = sr.call.error("VDI.create", {**record, "other_config": {}})
    assert error == ["VDI_INCOMPATIBLE_TYPE", "", "CBT metadata"]
    log = sr.create(type="redo_log")
    assert sr.call.error("VDI.open_database", log) == ["VDI_INCOMPATIBLE_TYPE", log, "Redo log"]


def test_a_snapshot_makes_a_hidden_base_with_two_children(sr: Sr) -> None:
    vdi = sr.create(name_label="n1", tags=["a"], other_config={"x": "y"})
    sr.write(vdi, 0, b"before" * 100)
    snapshot = sr.call("VDI.snapshot", vdi, {})
    sr.write(vdi, 0, b"after!" * 100)
    row, leaf = sr.row(snapshot), sr.row(vdi)
    assert row["is_a_snapshot"] and row["snapshot_of"] == vdi and row["snapshot_time"] != "19700101T00:00:00Z"
    assert (row["name_label"], row["tags"], row["other_config"]) == ("n1", ["a"], {"x": "y"})
    parent = row["sm_config"]["vhd-parent"]
    assert leaf["sm_config"]["vhd-parent"] == parent
    base = sr.row(sr.call("VDI.get_by_uuid", parent))
    assert base["name_label"] == "base copy" and not base["managed"] and base["read_only"]
    assert base["allowed_operations"] == []
    assert vhd.info(sr.directory / f"{parent}.vhd").hidden
    assert sr.read(snapshot, 0, 600) == b"before" * 100 and sr.read(vdi, 0, 600) == b"after!" * 100
    assert sr.call("VDI.get_snapshots", vdi) == [snapshot]


def test_a_disk_without_blocks_of_its_own_gets_siblings_not_another_base(sr: Sr) -> None:
    vdi = sr.create()
    clones = [sr.call("VDI.clone", vdi) for _ in range(3)]
    parents = {sr.row(ref)["sm_config"]["vhd-parent"] for ref in [vdi, *clones]}
    assert len(parents) == 1 and len(sr.collected()) == 5


def test_other_tools_read_the_chain(sr: Sr, tmp_path: Path) -> None:
    vdi = sr.create()
    sr.write(vdi, MIB, b"\x11" * 4096)
    sr.call("VDI.snapshot", vdi)
    sr.write(vdi, 2 * MIB, b"\x22" * 4096)
    flat = tmp_path / "flat.vhd"
    with vhd.open_chain(sr.file(vdi)) as disk:
        raw = disk.pread(0, disk.size)
    flat.write_bytes(b"".join(bytes(part) for part in vhd.stream.from_chain(sr.file(vdi))))
    out = tmp_path / "out.raw"
    subprocess.run(["qemu-img", "convert", "-f", "vpc", "-O", "raw", flat, out], check=True, timeout=60)
    assert out.read_bytes()[: len(raw)] == raw


def test_destroying_snapshots_shortens_the_chain_and_keeps_uuids_and_bytes(sr: Sr) -> None:
    vdi = sr.create()
    snapshots = []
    for number in range(4):
        sr.write(vdi, number * MIB, bytes([number + 1]) * 4096)
        snapshots.append(sr.call("VDI.snapshot", vdi))
    uuid = sr.row(vdi)["uuid"]
    kept = snapshots.pop(2)
    for snapshot in snapshots:
        sr.call("VDI.destroy", snapshot)
    rows = sr.collected()
    assert [row["name_label"] for row in rows if not row["managed"]] == ["base copy"]
    assert sr.read(kept, 0, 4096) == b"\1" * 4096 and sr.read(kept, 3 * MIB, 4096) == bytes(4096)
    sr.call("VDI.destroy", kept)
    (row,) = sr.collected()
    assert row["uuid"] == uuid and "vhd-parent" not in row["sm_config"] and sr.files() == [f"{uuid}.vhd"]
    for number in range(4):
        assert sr.read(vdi, number * MIB, 4096) == bytes([number + 1]) * 4096


def test_leaf_coalesce_can_be_forbidden(sr: Sr) -> None:
    vdi = sr.create(other_config={"leaf-coalesce": "false"})
    sr.write(vdi, 0, b"1" * 512)
    snapshot = sr.call("VDI.snapshot", vdi)
    sr.call("VDI.destroy", snapshot)
    assert len(sr.collected()) == 2


def test_an_attached_disk_is_snapshot_and_coalesced_under_its_guest(sr: Sr) -> None:
    vdi = sr.create()
    use = sr.storage.attach(vdi, False, holder="vbd")
    assert use.nbd_uri is not None

    def guest(command: str) -> str:
        line = ["qemu-io", "-f", "raw", "-c", command, use.nbd_uri]
        done = subprocess.run(line, capture_output=True, text=True, timeout=30, check=False)
        return done.stdout + done.stderr

    assert "rror" not in guest("write -P 1 0 1M")
    assert sr.row(vdi)["sm_config"][f"host_{sr.host}"] == "RW"
    assert sr.row(vdi)["allowed_operations"] == ["clone", "disable_cbt", "enable_cbt", "snapshot"]
    assert sr.call.error("VDI.destroy", vdi) == ["VDI_IN_USE", vdi, "destroy"]
    snapshot = sr.call("VDI.snapshot", vdi)
    assert "rror" not in guest("write -P 2 0 64k")
    assert sr.read(snapshot, 0, 4096) == b"\1" * 4096
    sr.call("VDI.destroy", snapshot)
    assert [row["uuid"] for row in sr.collected()] == [sr.row(vdi)["uuid"]], "coalesced live"
    said = guest("read -P 2 0 64k") + guest("read -P 1 64k 64k")
    assert "failed" not in said and "rror" not in said
    sr.storage.detach(vdi, holder="vbd")
    assert sr.read(vdi, 0, 8) == b"\2" * 8 and sr.row(vdi)["sm_config"] == {"vdi_type": "vhd"}


def test_a_data_path_that_dies_is_started_again_on_its_socket(sr: Sr) -> None:
    vdi = sr.create()
    use = sr.storage.attach(vdi, False, holder="vbd")
    assert use.data_path is not None
    socket = use.socket
    told: queue.Queue[tuple[Attachment, bool]] = queue.Queue()
    sr.storage.on_data_path_ended(lambda attachment, restarted: told.put((attachment, restarted)))
    use.data_path.process.end()
    assert told.get(timeout=20) == (use, True)
    assert use.socket == socket and use.data_path.status()["clients"] == 0
    sr.storage.detach(vdi, holder="vbd")


def test_disks_grow_and_never_shrink(sr: Sr) -> None:
    vdi = sr.create()
    sr.call("VDI.resize", vdi, 16 * MIB)
    assert sr.row(vdi)["virtual_size"] == 16 * MIB and vhd.info(sr.file(vdi)).virtual_size == 16 * MIB
    assert sr.call.error("VDI.resize", vdi, 8 * MIB)[0] == "SR_BACKEND_FAILURE_79"


def test_a_copy_holds_the_bytes_and_a_content_id(sr: Sr) -> None:
    vdi = sr.create(name_label="n", other_config={"x": "y"})
    sr.write(vdi, 3 * MIB, b"data" * 1024)
    copy = sr.call("VDI.copy", vdi, sr.ref)
    row = sr.row(copy)
    assert row["name_label"] == "n" and set(row["other_config"]) == {"content_id", "x"}
    assert "vhd-parent" not in row["sm_config"] and sr.read(copy, 3 * MIB, 4096) == b"data" * 1024
    target = sr.create(16 * MIB)
    sr.write(target, 0, b"old" * 100)
    assert sr.call("VDI.copy", vdi, sr.ref, "OpaqueRef:NULL", target) == target
    assert sr.read(target, 0, 300) == bytes(300) and sr.read(target, 3 * MIB, 4) == b"data"
    small = sr.create(4 * MIB)
    assert sr.call.error("VDI.copy", vdi, sr.ref, "OpaqueRef:NULL", small) == ["VDI_TOO_SMALL", small, str(8 * MIB)]


def test_the_config_to_attach_a_disk_without_the_toolstack(sr: Sr) -> None:
    vdi = sr.create()
    (request,), method = xmlrpc.client.loads(sr.call("VDI.generate_config", sr.host, vdi))
    assert method == "vdi_attach_from_config"
    assert request == {
        "command": method, "vdi_uuid": sr.row(vdi)["uuid"], "sr_uuid": sr.call("SR.get_uuid", sr.ref),
        "device_config": sr.call("PBD.get_device_config", sr.call("SR.get_PBDs", sr.ref)[0]),
    }  # fmt: skip


def test_the_checksum_is_that_of_the_contents(sr: Sr) -> None:
    vdi = sr.create()
    sr.write(vdi, MIB, b"data" * 100)
    expected = hashlib.md5(sr.read(vdi, 0, 8 * MIB), usedforsecurity=False).hexdigest()
    assert sr.call("VDI.checksum", vdi) == expected


def test_a_scan_finds_new_files_and_forgets_lost_ones(sr: Sr) -> None:
    lost, kept = sr.create(), sr.create(name_label="mine")
    sr.file(lost).unlink()
    uuid = "12345678-0000-4000-8000-000000000001"
    vhd.create(sr.directory / f"{uuid}.vhd", 6 * MIB)
    (sr.directory / "notes.txt").write_text("not a disk")
    sr.call("SR.scan", sr.ref)
    assert sr.call.error("VDI.get_uuid", lost) == ["HANDLE_INVALID", "VDI", lost]
    found = sr.row(sr.call("VDI.get_by_uuid", uuid))
    assert found["virtual_size"] == 6 * MIB and found["name_label"] == "" and found["managed"]
    assert sr.row(kept)["name_label"] == "mine"
    assert sr.call("SR.get_virtual_allocation", sr.ref) == 14 * MIB


def test_a_broken_file_stops_the_scan_and_nothing_else(sr: Sr) -> None:
    vdi = sr.create()
    uuid = "12345678-0000-4000-8000-000000000002"
    broken = sr.directory / f"{uuid}.vhd"
    broken.write_bytes(b"conectix" + bytes(100_000))
    error = sr.call.error("SR.scan", sr.ref)
    assert error[0] == "SR_BACKEND_FAILURE_40" and f"[opterr=uuid={uuid}]" in error[2]
    snapshot = sr.call("VDI.snapshot", vdi)
    sr.call("VDI.destroy", snapshot)
    other = sr.create()
    broken.unlink()
    sr.call("SR.scan", sr.ref)
    assert {row["uuid"] for row in sr.collected()} == {sr.row(vdi)["uuid"], sr.row(other)["uuid"]}


def test_a_file_whose_parent_is_missing_stops_the_scan(sr: Sr) -> None:
    parent = sr.directory / "12345678-0000-4000-8000-000000000003.vhd"
    child = sr.directory / "12345678-0000-4000-8000-000000000004.vhd"
    vhd.create(parent, 4 * MIB)
    vhd.create(child, parent=parent)
    parent.unlink()
    assert sr.call.error("SR.scan", sr.ref)[0] == "SR_BACKEND_FAILURE_40"


def test_a_full_sr_makes_no_new_disks(sr: Sr) -> None:
    vdi = sr.create()
    sr.storage.set_limit(sr.ref, MIB)
    record = {"SR": sr.ref, "virtual_size": MIB, "type": "user", "sharable": False, "read_only": False}
    error = sr.call.error("VDI.create", {**record, "other_config": {}})
    assert error == ["SR_BACKEND_FAILURE_44", "", "There is insufficient space", ""]
    assert sr.call.error("VDI.snapshot", vdi)[0] == "SR_BACKEND_FAILURE_44"
    assert sr.call("SR.get_physical_size", sr.ref) == MIB
    assert sr.files() == [".limit", sr.file(vdi).name]


def test_an_sr_that_fills_up_on_the_way_keeps_nothing_of_what_failed(sr: Sr) -> None:
    vdi = sr.create(16 * MIB)
    sr.write(vdi, 0, b"x" * (12 * MIB))
    snapshot = sr.call("VDI.snapshot", vdi)
    sr.collected()
    before = sr.files(), sr.call("SR.get_VDIs", sr.ref), sr.call("SR.get_virtual_allocation", sr.ref)
    sr.storage.set_limit(sr.ref, sr.call("SR.get_physical_utilisation", sr.ref) + 6 * MIB)
    assert sr.call.error("VDI.copy", vdi, sr.ref)[0] in ("SR_BACKEND_FAILURE_44", "VDI_IO_ERROR")
    sr.storage.set_limit(sr.ref, 0)
    assert sr.call.error("VDI.clone", snapshot)[0] == "SR_BACKEND_FAILURE_44"
    assert sr.call.error("VDI.copy", snapshot, sr.ref)[0] == "SR_BACKEND_FAILURE_44"
    assert sr.call.error("VDI.enable_cbt", vdi)[0] == "SR_BACKEND_FAILURE_457"
    sr.storage.set_limit(sr.ref, None)
    sr.call("SR.scan", sr.ref)
    sr.collected()
    assert (sr.files(), sr.call("SR.get_VDIs", sr.ref), sr.call("SR.get_virtual_allocation", sr.ref)) == before
    assert sr.row(vdi)["virtual_size"] == 16 * MIB and not sr.row(vdi)["cbt_enabled"]


def test_without_a_plugged_pbd_nothing_is_done(sr: Sr) -> None:
    vdi = sr.create()
    (pbd,) = sr.call("SR.get_PBDs", sr.ref)
    sr.call("PBD.unplug", pbd)
    refused = ["SR_HAS_NO_PBDS", sr.ref]
    for method, *arguments in (
        ("VDI.snapshot",), ("VDI.clone",), ("VDI.copy", sr.ref), ("VDI.resize", 16 * MIB), ("VDI.destroy",),
        ("VDI.update",), ("VDI.enable_cbt",), ("VDI.disable_cbt",), ("VDI.data_destroy",), ("VDI.set_on_boot", "reset"),
        ("VDI.generate_config",), ("VDI.checksum",), ("VDI.resize_online", 16 * MIB),
    ):  # fmt: skip
        given = [sr.host, vdi] if method == "VDI.generate_config" else [vdi, *arguments]
        assert sr.call.error(method, *given) == refused, method
    record = {"SR": sr.ref, "virtual_size": MIB, "type": "user", "sharable": False, "read_only": False}
    assert sr.call.error("VDI.create", {**record, "other_config": {}}) == refused
    assert sr.call.error("SR.scan", sr.ref) == refused and sr.call("VDI.get_nbd_info", vdi) == []
    sr.call("PBD.plug", pbd)
    sr.call("VDI.destroy", vdi)


def test_chains_end_at_depth_thirty(sr: Sr) -> None:
    vdi = sr.create()
    for number in range(29):
        sr.write(vdi, 0, bytes([number]) * 512)
        sr.call("VDI.snapshot", vdi)
    sr.write(vdi, 0, b"x" * 512)
    assert sr.call.error("VDI.snapshot", vdi)[0] == "SR_BACKEND_FAILURE_109"
    assert len(sr.files()) == 29 * 2 + 1


def test_a_forgotten_disk_comes_back_with_a_scan_or_an_introduction(sr: Sr) -> None:
    vdi = sr.create(name_label="n")
    uuid = sr.row(vdi)["uuid"]
    sr.call("VDI.forget", vdi)
    arguments = (uuid, "again", "d", sr.ref, "user", False, False, {"o": "c"}, uuid)
    second = sr.call("VDI.introduce", *arguments)
    assert sr.row(second)["name_label"] == "again" and sr.row(second)["virtual_size"] == 8 * MIB
    assert sr.call.error("VDI.introduce", *arguments) == ["LOCATION_NOT_UNIQUE", sr.ref, uuid]
    sr.call("VDI.forget", second)
    sr.call("SR.scan", sr.ref)
    assert sr.row(sr.call("VDI.get_by_uuid", uuid))["name_label"] == ""


def test_locations_never_lead_out_of_the_sr(sr: Sr) -> None:
    for location in ("../../etc/passwd", "/etc/passwd", "", "..", "x" * 300):
        error = sr.call.error("VDI.introduce", "u", "n", "d", sr.ref, "user", False, False, {}, location)
        assert error[0] == "SR_BACKEND_FAILURE_46"
