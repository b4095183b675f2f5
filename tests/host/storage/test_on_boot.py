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
"""Disks with on_boot=reset start as they were when that was set, each time."""

from __future__ import annotations

import pytest

from host.storage.conftest import MIB, Sr
from host.test_vm_power import RECORD, plugged


@pytest.fixture
def vm(sr: Sr) -> str:
    made: str = sr.call("VM.create", {**RECORD, "actions_after_reboot": "restart"})
    return made


def reset_disk(sr: Sr, vm: str) -> str:
    vdi = sr.create()
    sr.write(vdi, 0, b"golden")
    plugged(sr.call, vm, vdi)
    sr.call("VDI.set_on_boot", vdi, "reset")
    return vdi


def leaf(sr: Sr, vdi: str) -> int:
    """Blocks that the disk holds beyond its base copy."""
    return sr.storage.vhd_repository(sr.ref).node(sr.row(vdi)["uuid"]).allocated_blocks


def test_a_start_and_a_reboot_drop_what_was_written(sr: Sr, vm: str) -> None:
    vdi = reset_disk(sr, vm)
    assert len(sr.collected()) == 2, "the leaf stays apart from its base copy"
    for action in ("VM.start", "VM.hard_reboot"):
        if action == "VM.hard_reboot":
            sr.storage.detach(vdi, holder=sr.row(vdi)["VBDs"][0])  # the guest wrote something
        sr.write(vdi, 0, b"written")
        assert leaf(sr, vdi) == 1
        sr.call(action, vm, *([False, False] if action == "VM.start" else []))
        assert leaf(sr, vdi) == 0, action
    sr.call("VM.hard_shutdown", vm)
    assert sr.read(vdi, 0, 8) == b"golden\0\0"


def test_a_resume_goes_on_with_the_disk_as_it_is(sr: Sr, vm: str) -> None:
    vdi = reset_disk(sr, vm)
    sr.call("VM.start", vm, False, False)
    assert sr.call.error("VM.suspend", vm) == ["VDI_ON_BOOT_MODE_INCOMPATIBLE_WITH_OPERATION"]
    assert sr.call.error("VM.snapshot", vm, "s") == ["VDI_ON_BOOT_MODE_INCOMPATIBLE_WITH_OPERATION"]
    assert sr.call.error("VDI.set_on_boot", vdi, "persist") == ["VM_BAD_POWER_STATE", vm, "halted", "running"]


def test_a_disk_that_persists_again_is_coalesced(sr: Sr, vm: str) -> None:
    vdi = reset_disk(sr, vm)
    sr.write(vdi, MIB, b"more")
    copy = sr.call("VDI.copy", vdi, sr.ref)
    assert sr.row(copy)["on_boot"] == "reset" and sr.read(copy, MIB, 4) == b"more"
    assert sr.call.error("VDI.copy", vdi, sr.ref, "", sr.create(read_only=True))[0] == "VDI_READONLY"
    for row in sr.collected():
        if row["managed"] and row["uuid"] != sr.row(vdi)["uuid"]:
            sr.call("VDI.destroy", sr.call("VDI.get_by_uuid", row["uuid"]))
    sr.call("VDI.set_on_boot", vdi, "persist")
    assert [row["uuid"] for row in sr.collected()] == [sr.row(vdi)["uuid"]]
    assert sr.read(vdi, 0, 6) == b"golden" and sr.read(vdi, MIB, 4) == b"more"
    sr.call("VM.start", vm, False, False)
    sr.call("VM.hard_shutdown", vm)
    assert sr.read(vdi, MIB, 4) == b"more"


def test_tracking_and_resetting_exclude_each_other(sr: Sr, vm: str) -> None:
    vdi = reset_disk(sr, vm)
    refused = ["VDI_ON_BOOT_MODE_INCOMPATIBLE_WITH_OPERATION"]
    assert sr.call.error("VDI.enable_cbt", vdi) == refused and sr.call.error("VDI.snapshot", vdi) == refused
    tracked = sr.create()
    sr.call("VDI.enable_cbt", tracked)
    assert sr.call.error("VDI.set_on_boot", tracked, "reset") == ["VDI_CBT_ENABLED", tracked]
    assert sr.call.error("VDI.resize_online", vdi, 16 * MIB) == ["SR_OPERATION_NOT_SUPPORTED", sr.ref]


def test_a_full_sr_cannot_promise_a_reset(sr: Sr) -> None:
    vdi = sr.create()
    sr.storage.set_limit(sr.ref, 0)
    assert sr.call.error("VDI.set_on_boot", vdi, "reset")[0] == "SR_BACKEND_FAILURE_44"
    assert sr.row(vdi)["on_boot"] == "persist" and len(sr.files()) == 2, "the limit is a file, too"
