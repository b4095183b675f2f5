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
"""Metadata alone: VMs described without their contents, rehearsed, and put back over disks that are still there."""

from archive_rig import Archives, document, members, objects
from transfer_rig import Answer


def described(archives: Archives, query: str) -> Answer:
    task = archives.task()
    answer = archives.send("GET", "/export_metadata", f"task_id={task}&{query}")
    assert archives.outcome(task) == ("success", "")
    assert answer.status == "HTTP/1.0 200 OK" and int(answer.headers["content-length"]) == len(answer.body)
    return answer


def test_a_description_has_the_snapshots_and_no_contents(archives: Archives) -> None:
    guest = archives.guest()
    archives.call("VM.snapshot", guest.vm, "before")
    body = described(archives, f"uuid={guest.uuid}").body
    assert [name for name, _ in members(body)] == ["ova.xml"]
    vm, snapshot = sorted(objects(body, "VM"), key=lambda row: bool(row["is_a_snapshot"]))
    assert snapshot["is_a_snapshot"] and snapshot["snapshot_of"].startswith("Ref:")
    assert vm["uuid"] == guest.uuid
    alone = described(archives, f"uuid={guest.uuid}&export_snapshots=false").body
    assert len(objects(alone, "VM")) == 1
    with_parents = described(archives, f"uuid={guest.uuid}&export_snapshots=false&include_vhd_parents=true").body
    assert len(objects(with_parents, "VDI")) == 2 and len(objects(alone, "VDI")) == 1


def test_all_vms_are_described_but_the_templates_that_every_host_has(archives: Archives) -> None:
    guests = {archives.guest(name).uuid for name in ("one", "two")}
    dom0 = {row["uuid"] for row in archives.store.all("VM").values() if row["is_control_domain"]}
    everything = described(archives, "all=true").body
    assert {vm["uuid"] for vm in objects(everything, "VM")} == guests | dom0
    assert len(objects(everything, "host")) == 2
    guests_only = described(archives, "all=true&include_dom0=false&excluded_device_types=VIF,VBD").body
    assert {vm["uuid"] for vm in objects(guests_only, "VM")} == guests
    assert {item["class"] for item in document(guests_only)["objects"]} == {"VM", "VM_metrics"}


def test_running_vms_are_described(archives: Archives) -> None:
    guest = archives.guest()
    archives.call("VM.start", guest.vm, False, False)
    (vm,) = objects(described(archives, f"ref={guest.vm}").body, "VM")
    assert vm["power_state"] == "Running" and vm["current_operations"] == {}


def test_what_cannot_be_described(archives: Archives) -> None:
    for query in ("all=perhaps", "uuid=nope", "", "all=true&excluded_device_types=VTOASTER"):
        assert archives.send("GET", "/export_metadata", query).status == "HTTP/1.1 500 Internal Error", query


def test_a_dry_run_changes_nothing(archives: Archives) -> None:
    guest = archives.guest()
    archives.call("VM.snapshot", guest.vm, "before")
    body = described(archives, f"uuid={guest.uuid}").body
    before = archives.everything()
    assert archives.imported(body, "dry_run=true", path="/import_metadata") == []
    assert archives.everything() == before


def test_vms_are_put_back_over_their_disks(archives: Archives) -> None:
    guest = archives.guest()
    snapshot = archives.call("VM.snapshot", guest.vm, "before")
    snapshot_uuid = archives.call("VM.get_uuid", snapshot)
    body = described(archives, f"uuid={guest.uuid}").body
    for vm in (snapshot, guest.vm):
        archives.call("VM.destroy", vm)
    (vm,) = archives.imported(body, "restore=true", path="/import_metadata")
    row = archives.store.get("VM", vm)
    assert row["uuid"] == guest.uuid and archives.disks(vm) == [guest.vdi]
    (again,) = row["snapshots"]
    assert archives.store.get("VM", again)["uuid"] == snapshot_uuid
    assert row["parent"] == again
    archives.call("VM.revert", again)
    assert archives.call("VM.start", vm, False, False) == ""


def test_disks_must_be_there_unless_forced_or_mapped(archives: Archives) -> None:
    guest = archives.guest()
    body = described(archives, f"uuid={guest.uuid}").body
    old = archives.store.get("VDI", guest.vdi)
    archives.call("VM.destroy", guest.vm)
    archives.call("VDI.destroy", guest.vdi)
    before = archives.everything()
    _, outcome = archives.take(body, path="/import_metadata")
    assert outcome == ("failure", ["VDI_LOCATION_MISSING", archives.sr, old["location"]])
    assert archives.everything() == before
    replacement = archives.create()
    uuid = archives.call("VDI.get_uuid", replacement)
    (vm,) = archives.imported(body, f"vdi:{old['uuid']}={uuid}", path="/import_metadata")
    assert archives.disks(vm) == [replacement]
    (vm,) = archives.imported(body, "force=true", path="/import_metadata")
    assert archives.disks(vm) == []


def test_templates_that_every_host_has_stand_for_themselves(archives: Archives) -> None:
    template = archives.template()
    uuid = archives.call("VM.get_uuid", template)
    before = archives.everything()
    body = described(archives, f"uuid={uuid}").body
    assert archives.imported(body, path="/import_metadata") == [template]
    after = archives.everything()
    assert after["VM"] == before["VM"]


def test_a_whole_pool_is_described_and_rehearsed(archives: Archives) -> None:
    """As a pool does that is asked to join another: every record, those of dom0 too, is understood."""
    archives.guest()
    body = described(archives, "all=true").body
    before = archives.everything()
    assert archives.imported(body, "dry_run=true", path="/import_metadata") == []
    assert archives.everything() == before
