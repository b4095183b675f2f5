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
"""Promises about VDIs, VBDs and the transfer of disk contents."""

import random
from uuid import uuid4

import pytest

from behaviour.conftest import MIB, Caller, Maker, Target
from xapikit.client import NULL_REF, XapiClient, errors

CONTENT = random.Random(7).randbytes(MIB) + bytes(2 * MIB) + random.Random(8).randbytes(MIB)


def test_a_fresh_disk_has_its_size_and_is_managed(xapi: Caller, make: Maker) -> None:
    record = xapi("VDI.get_record", make.disk(8 * MIB))
    assert record["virtual_size"] == 8 * MIB
    assert record["managed"] and not record["read_only"] and not record["is_a_snapshot"]
    assert record["VBDs"] == [] and record["location"] == record["uuid"]


def test_raw_contents_come_back_as_they_went_in(make: Maker, client: XapiClient) -> None:
    vdi = make.disk(len(CONTENT))
    client.import_vdi(vdi, [CONTENT[:100_001], CONTENT[100_001:]], len(CONTENT))
    with client.export_vdi(vdi) as chunks:
        assert b"".join(chunks) == CONTENT


def test_a_vhd_can_be_carried_from_disk_to_disk(make: Maker, client: XapiClient) -> None:
    source, target = make.disk(len(CONTENT)), make.disk(len(CONTENT))
    client.import_vdi(source, [CONTENT], len(CONTENT))
    with client.export_vdi(source, format="vhd") as chunks:
        client.import_vdi(target, chunks, None, format="vhd")
    with client.export_vdi(target) as chunks:
        assert b"".join(chunks) == CONTENT


def test_a_transfer_is_redirected_to_the_host_that_has_the_disk(
    xapi: Caller, make: Maker, client: XapiClient, target: Target
) -> None:
    if target.embedded is None:
        pytest.skip("certificates of other hosts are not known to this run")
    (pool,) = client.cache.records("pool").values()
    elsewhere = [
        ref
        for ref, record in client.cache.records("SR").items()
        if record["type"] in ("ext", "nfs")
        and record["PBDs"]
        and pool["master"] not in [xapi("PBD.get_host", pbd) for pbd in record["PBDs"]]
    ]
    if not elsewhere:
        pytest.skip("no disk SR that the coordinator does not have")
    vdi = make.disk(len(CONTENT), SR=elsewhere[0])
    client.import_vdi(vdi, [CONTENT], len(CONTENT))
    with client.export_vdi(vdi) as chunks:
        assert b"".join(chunks) == CONTENT


def test_contents_longer_than_the_disk_fail_in_the_task(make: Maker, client: XapiClient) -> None:
    vdi = make.disk(MIB)
    with pytest.raises(errors.VdiIoError):
        client.import_vdi(vdi, [bytes(MIB)] * 3, 3 * MIB)


def test_what_is_no_vhd_fails_in_the_task(make: Maker, client: XapiClient) -> None:
    vdi = make.disk(MIB)
    with pytest.raises(errors.XapiError):
        client.import_vdi(vdi, [b"not a disk image" * 64], 1024, format="vhd")


def test_a_clone_is_independent_of_its_source(xapi: Caller, make: Maker, client: XapiClient) -> None:
    source = make.disk(len(CONTENT))
    client.import_vdi(source, [CONTENT], len(CONTENT))
    clone = xapi("VDI.clone", source, {})
    make.later("VDI.destroy", clone)
    assert clone != source
    client.import_vdi(clone, [bytes(MIB)], MIB)
    with client.export_vdi(source) as chunks:
        assert b"".join(chunks) == CONTENT
    with client.export_vdi(clone) as chunks:
        assert b"".join(chunks) == bytes(MIB) + CONTENT[MIB:]


def test_a_snapshot_keeps_the_contents_of_its_moment(xapi: Caller, make: Maker, client: XapiClient) -> None:
    vdi = make.disk(len(CONTENT))
    client.import_vdi(vdi, [CONTENT], len(CONTENT))
    snapshot = xapi("VDI.snapshot", vdi, {})
    make.later("VDI.destroy", snapshot)
    client.import_vdi(vdi, [bytes(MIB)], MIB)
    record = xapi("VDI.get_record", snapshot)
    assert record["is_a_snapshot"] and record["snapshot_of"] == vdi
    with client.export_vdi(snapshot) as chunks:
        assert b"".join(chunks) == CONTENT


def test_a_disk_grows(xapi: Caller, make: Maker, client: XapiClient) -> None:
    vdi = make.disk(len(CONTENT))
    client.import_vdi(vdi, [CONTENT], len(CONTENT))
    xapi("VDI.resize", vdi, 2 * len(CONTENT))
    assert xapi("VDI.get_virtual_size", vdi) == 2 * len(CONTENT)
    with client.export_vdi(vdi) as chunks:
        assert b"".join(chunks) == CONTENT + bytes(len(CONTENT))


@pytest.mark.usefixtures("runs_vms")
def test_a_device_position_is_taken_once(xapi: Caller, make: Maker) -> None:
    vm = make.vm()
    make.vbd(vm, make.disk())
    assert "0" not in xapi("VM.get_allowed_VBD_devices", vm)
    with pytest.raises(errors.DeviceAlreadyExists):
        make.vbd(vm, make.disk())


@pytest.mark.usefixtures("runs_vms")
def test_a_disk_is_plugged_while_its_vm_runs(xapi: Caller, make: Maker) -> None:
    vm, vdi = make.vm(), make.disk()
    vbd = make.vbd(vm, vdi)
    assert xapi("VBD.get_currently_attached", vbd) is False
    xapi("VM.start", vm, False, False)
    assert xapi("VBD.get_currently_attached", vbd) is True
    assert xapi("VBD.get_device", vbd) == "xvda"
    assert xapi.error("VDI.destroy", vdi)[0] == "VDI_IN_USE"
    xapi("VM.hard_shutdown", vm)
    assert xapi("VBD.get_currently_attached", vbd) is False


@pytest.mark.usefixtures("runs_vms")
def test_destroying_a_vm_keeps_its_disks_and_removes_its_vbds(xapi: Caller, make: Maker) -> None:
    vm, vdi = make.vm(), make.disk()
    vbd = make.vbd(vm, vdi)
    xapi("VM.destroy", vm)
    assert xapi.error("VBD.get_record", vbd) == ["HANDLE_INVALID", "VBD", vbd]
    assert xapi("VDI.get_VBDs", vdi) == []


@pytest.mark.usefixtures("runs_vms")
def test_an_empty_drive_has_no_disk(xapi: Caller, make: Maker) -> None:
    vbd = make.vbd(make.vm(), NULL_REF, "3", type="CD", mode="RO", empty=True)
    record = xapi("VBD.get_record", vbd)
    assert record["empty"] and record["VDI"] == NULL_REF and record["type"] == "CD"


@pytest.mark.usefixtures("runs_vms")
@pytest.mark.parametrize("same", ["1", "xvdb", "hdb", "sdb1"])
def test_a_position_has_several_names(xapi: Caller, make: Maker, same: str) -> None:
    vm, vdi = make.vm(), make.disk()
    make.vbd(vm, vdi, "1")
    with pytest.raises(errors.DeviceAlreadyExists):
        make.vbd(vm, vdi, same)
    assert xapi("VBD.get_userdevice", make.vbd(vm, vdi, "autodetect")) == "0"


@pytest.mark.usefixtures("runs_vms")
def test_what_makes_no_disk_or_drive_is_refused(xapi: Caller, make: Maker) -> None:
    vm, vdi = make.vm(), make.disk()
    with pytest.raises(errors.VbdCdsMustBeReadonly):
        make.vbd(vm, NULL_REF, type="CD", mode="RW")
    with pytest.raises(errors.VbdNotRemovableMedia):
        make.vbd(vm, NULL_REF, type="Disk")
    with pytest.raises(errors.HandleInvalid):
        make.vbd(vm, NULL_REF, type="Disk", empty=False)
    with pytest.raises(errors.InvalidDevice):
        make.vbd(vm, vdi, "cdrom")
    assert xapi("VM.get_VBDs", vm) == []


@pytest.mark.usefixtures("runs_vms")
def test_a_drive_takes_and_gives_a_disk_while_its_vm_is_off(xapi: Caller, make: Maker) -> None:
    vm, vdi = make.vm(), make.disk()
    drive = make.vbd(vm, NULL_REF, "3", type="CD", mode="RO")
    assert xapi.error("VBD.eject", drive) == ["VBD_IS_EMPTY", drive]
    xapi("VBD.insert", drive, vdi)
    assert xapi.error("VBD.insert", drive, vdi) == ["VBD_NOT_EMPTY", drive]
    assert (xapi("VBD.get_VDI", drive), xapi("VBD.get_empty", drive)) == (vdi, False)
    assert "eject" in xapi("VBD.get_allowed_operations", drive)
    xapi("VBD.eject", drive)
    assert (xapi("VBD.get_VDI", drive), xapi("VBD.get_empty", drive)) == (NULL_REF, True)


@pytest.mark.usefixtures("runs_vms")
def test_devices_of_a_vm_that_is_off_are_not_plugged(xapi: Caller, make: Maker) -> None:
    vm = make.vm()
    vbd = make.vbd(vm, make.disk())
    for operation in ("plug", "unplug", "unplug_force"):
        assert xapi.error(f"VBD.{operation}", vbd) == ["VM_BAD_POWER_STATE", vm, "running", "halted"]
    assert xapi.error("VBD.insert", vbd, NULL_REF) == ["VBD_NOT_REMOVABLE_MEDIA", vbd]


@pytest.mark.usefixtures("runs_vms")
def test_a_written_disk_is_not_given_to_a_second_running_vm(xapi: Caller, make: Maker) -> None:
    one, two, vdi = make.vm(), make.vm(), make.disk()
    make.vbd(one, vdi)
    make.vbd(two, vdi, mode="RO")
    xapi("VM.start", one, False, False)
    assert xapi.error("VM.start", two, False, False) == ["VDI_IN_USE", vdi]
    assert xapi("VM.get_power_state", two) == "Halted"
    xapi("VM.hard_shutdown", one)


@pytest.mark.usefixtures("runs_vms")
def test_how_a_disk_is_attached_changes_only_while_its_vm_is_off(xapi: Caller, make: Maker) -> None:
    vm = make.vm()
    vbd = make.vbd(vm, make.disk())
    xapi("VBD.set_mode", vbd, "RO")
    assert xapi("VBD.get_mode", vbd) == "RO"
    xapi("VBD.set_mode", vbd, "RW")
    xapi("VM.start", vm, False, False)
    assert xapi.error("VBD.set_mode", vbd, "RO") == ["VM_BAD_POWER_STATE", vm, "halted", "running"]
    xapi("VM.hard_shutdown", vm)


def test_the_control_domain_has_a_disk_for_a_while(xapi: Caller, make: Maker) -> None:
    records = xapi.client.cache.records
    vdi = make.disk()
    hosts = [xapi("PBD.get_host", pbd) for pbd in xapi("SR.get_PBDs", xapi("VDI.get_SR", vdi))]
    vm = next(ref for ref, vm in records("VM").items() if vm["is_control_domain"] and vm["resident_on"] in hosts)
    vbd = make.vbd(vm, vdi, "autodetect", bootable=False)
    make.later("VBD.unplug", vbd)
    xapi("VBD.plug", vbd)
    assert xapi("VBD.get_currently_attached", vbd) is True
    assert xapi.error("VDI.destroy", vdi)[0] == "VDI_IN_USE"
    xapi("VBD.unplug", vbd)
    assert xapi("VBD.get_currently_attached", vbd) is False


def test_an_sr_without_hosts_is_only_a_record(xapi: Caller, make: Maker) -> None:
    uuid = str(uuid4())
    sr = xapi("SR.introduce", uuid, "behaviour-sr", "", "nfs", "user", True, {})
    make.later("SR.forget", sr)
    assert xapi("SR.get_record", sr)["PBDs"] == []
    assert xapi.error("SR.scan", sr) == ["SR_HAS_NO_PBDS", sr]
    assert xapi.error("SR.introduce", uuid, "second", "", "nfs", "user", True, {}) == ["SR_UUID_EXISTS", uuid]
    xapi("SR.forget", sr)
    assert xapi.error("SR.get_record", sr) == ["HANDLE_INVALID", "SR", sr]


def test_an_sr_that_cannot_be_made_leaves_nothing(xapi: Caller, make: Maker) -> None:
    (pool,) = xapi.client.cache.records("pool").values()
    given = (0, "behaviour-sr", "", "nfs", "user", True, {})
    before = set(xapi("SR.get_all"))
    assert xapi.error("SR.create", pool["master"], {}, *given)[0] == "SR_BACKEND_FAILURE_102"
    missing_path = xapi.error("SR.create", pool["master"], {"server": "192.0.2.1"}, *given)
    assert missing_path[0] == "SR_BACKEND_FAILURE_101"
    assert set(xapi("SR.get_all")) == before
    error = xapi.error("SR.create", pool["master"], {}, 0, "behaviour-sr", "", "no-such-type", "", False, {})
    assert error == ["SR_UNKNOWN_DRIVER", "no-such-type"]


def test_the_configuration_of_a_pbd_is_fixed(xapi: Caller, make: Maker) -> None:
    pbd = xapi("SR.get_PBDs", make.sr())[0]
    assert xapi.error("PBD.set_device_config", pbd, {})[0] == "PERMISSION_DENIED"
    assert xapi.error("PBD.destroy", pbd) == ["OPERATION_NOT_ALLOWED", "PBD is currently attached"]
