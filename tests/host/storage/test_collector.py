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
"""Garbage collection as the flags of an SR and its disks have it (wire reference 4.6)."""

from __future__ import annotations

import pytest

from host.storage.conftest import MIB, Sr
from xapikit import vhd


def branched(sr: Sr, *, written: bytes = b"x") -> str:
    """A disk over a base copy that it alone needs."""
    vdi = sr.create(64 * MIB)
    sr.write(vdi, 0, b"base")
    snapshot = sr.call("VDI.snapshot", vdi)
    sr.write(vdi, MIB, written)
    sr.call("VDI.destroy", snapshot)
    return vdi


def flag(sr: Sr, **flags: str) -> None:
    for key, value in flags.items():
        sr.call("SR.add_to_other_config", sr.ref, key.replace("_", "-"), value)


@pytest.mark.parametrize(("key", "stay"), [("leaf_coalesce", 2), ("coalesce", 2), ("gc", 2), ("another", 1)])
def test_flags_of_an_sr_keep_leaves_apart(sr: Sr, key: str, stay: int) -> None:
    flag(sr, **{key: "false"})
    vdi = branched(sr)
    assert len(sr.collected()) == stay
    sr.call("SR.remove_from_other_config", sr.ref, key.replace("_", "-"))
    sr.call("SR.scan", sr.ref)
    assert [row["uuid"] for row in sr.collected()] == [sr.row(vdi)["uuid"]]


def test_without_coalescing_garbage_still_goes_and_without_collection_it_stays(sr: Sr) -> None:
    for key, left in (("coalesce", 0), ("gc", 1)):
        flag(sr, **{key: "false"})
        uuid = f"12345678-0000-4000-8000-00000000000{left}"
        vhd.create(sr.directory / f"{uuid}.vhd", 4 * MIB)
        vhd.set_hidden(sr.directory / f"{uuid}.vhd", True)
        sr.call("SR.scan", sr.ref)
        sr.collected()
        assert (sr.directory / f"{uuid}.vhd").exists() == bool(left), key
        sr.call("SR.remove_from_other_config", sr.ref, key)


@pytest.mark.parametrize(("wish", "stay"), [("false", 2), ("offline", 2), ("force", 1), ("true", 1)])
def test_flags_of_a_disk_that_is_attached(sr: Sr, wish: str, stay: int) -> None:
    vdi = sr.create(64 * MIB, other_config={"leaf-coalesce": wish})
    sr.write(vdi, 0, b"base")
    snapshot = sr.call("VDI.snapshot", vdi)
    sr.storage.attach(vdi, False, holder="vbd")
    sr.call("VDI.destroy", snapshot)
    assert len(sr.collected()) == stay
    sr.storage.detach(vdi, holder="vbd")
    assert len(sr.collected()) == (2 if wish == "false" else 1)


def test_a_large_leaf_goes_down_in_parts_while_its_guest_goes_on(sr: Sr) -> None:
    vdi = branched(sr)
    sr.collected()
    snapshot = sr.call("VDI.snapshot", vdi)
    sr.write(vdi, 2 * MIB, b"y" * (30 * MIB))
    use = sr.storage.attach(vdi, False, holder="vbd")
    sr.call("VDI.destroy", snapshot)
    assert [row["uuid"] for row in sr.collected()] == [sr.row(vdi)["uuid"]]
    assert sr.files() == [f"{sr.row(vdi)['uuid']}.vhd"] and use.data_path is not None
    assert use.data_path.status()["paused"] is False
    sr.storage.detach(vdi, holder="vbd")
    assert sr.read(vdi, 0, 4) == b"base" and sr.read(vdi, MIB, 1) == b"x" and sr.read(vdi, 31 * MIB, 1) == b"y"
