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
"""Promises about clones, copies and snapshots of VMs with their disks."""

import random
from typing import Any

import pytest

from behaviour.conftest import MIB, Caller, Maker
from xapikit.client import NULL_REF, XapiClient

pytestmark = pytest.mark.usefixtures("runs_vms")
SIZE = 2 * MIB  # a whole VHD block: smaller disks are rounded up
CONTENT = random.Random(11).randbytes(SIZE)


def read(client: XapiClient, vdi: str) -> bytes:
    with client.export_vdi(vdi) as chunks:
        return b"".join(chunks)


def disk_of(xapi: Caller, vm: str) -> str:
    (vbd,) = xapi("VM.get_VBDs", vm)
    vdi: str = xapi("VBD.get_VDI", vbd)
    return vdi


def remove(make: Maker, xapi: Caller, vm: str) -> str:
    """Undo for a VM that a call made: its disk, then the VM itself is destroyed first (last in, first out)."""
    vdi = disk_of(xapi, vm)
    make.later("VDI.destroy", vdi)
    make.later("VM.destroy", vm)
    return vdi


@pytest.fixture
def source(xapi: Caller, make: Maker, client: XapiClient) -> tuple[str, str]:
    """A halted VM with one disk that has contents."""
    vm, vdi = make.vm("behaviour-source", other_config={"mine": "yes"}), make.disk(SIZE)
    client.import_vdi(vdi, [CONTENT], SIZE)
    make.vbd(vm, vdi)
    return vm, vdi


@pytest.mark.parametrize(("method", "more"), [("VM.clone", ()), ("VM.copy", (NULL_REF,))])
def test_a_copy_is_a_vm_of_its_own_with_disks_of_its_own(
    xapi: Caller, make: Maker, client: XapiClient, source: tuple[str, str], method: str, more: tuple[Any, ...]
) -> None:
    vm, vdi = source
    made = xapi(method, vm, "behaviour-copy", *more)
    copied = remove(make, xapi, made)
    record, original = xapi("VM.get_record", made), xapi("VM.get_record", vm)
    assert (record["name_label"], record["power_state"]) == ("behaviour-copy", "Halted")
    assert record["uuid"] != original["uuid"] and record["other_config"]["mine"] == "yes"
    assert not record["is_a_snapshot"]
    assert copied != vdi
    client.import_vdi(copied, [bytes(SIZE)], SIZE)
    assert read(client, vdi) == CONTENT


def test_a_snapshot_keeps_the_disks_of_its_moment_and_can_be_gone_back_to(
    xapi: Caller, make: Maker, client: XapiClient, source: tuple[str, str]
) -> None:
    vm, vdi = source
    snapshot = xapi("VM.snapshot", vm, "behaviour-snapshot")
    kept = remove(make, xapi, snapshot)
    record = xapi("VM.get_record", snapshot)
    assert record["is_a_snapshot"] and record["is_a_template"] and record["snapshot_of"] == vm
    assert xapi("VM.get_snapshots", vm) == [snapshot]
    assert xapi("VDI.get_snapshot_of", kept) == vdi
    client.import_vdi(vdi, [bytes(SIZE)], SIZE)
    assert read(client, kept) == CONTENT
    xapi("VM.revert", snapshot)
    reverted = disk_of(xapi, vm)
    make.later("VDI.destroy", reverted)
    assert read(client, reverted) == CONTENT
    assert xapi("VM.get_power_state", vm) == "Halted"


def test_destroying_a_vm_keeps_its_snapshots(xapi: Caller, make: Maker, source: tuple[str, str]) -> None:
    vm, _ = source
    snapshot = xapi("VM.snapshot", vm, "behaviour-survivor")
    remove(make, xapi, snapshot)
    xapi("VM.destroy", vm)
    assert xapi("VM.get_is_a_snapshot", snapshot)
