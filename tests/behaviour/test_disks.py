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
