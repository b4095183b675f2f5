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
"""What happened between the steps of the files about disks and repositories."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from observed.replayer import Replayer


def unplug_all_of_sr3(replayer: Replayer) -> None:
    pbds = replayer.ok("SR.get_PBDs", replayer.symbols["sr3"])
    for pbd in pbds:
        replayer.ok("PBD.unplug", pbd)
    for pbd in pbds[1:]:
        replayer.ok("PBD.destroy", pbd)


def put_a_disk_into_sr5(replayer: Replayer) -> None:
    record = {"SR": replayer.symbols["sr5"], "virtual_size": "4194304", "type": "user", "sharable": False}
    replayer.ok("VDI.create", {**record, "read_only": False, "other_config": {}})


def put_an_image_into_the_library(replayer: Replayer) -> None:
    (replayer.xapi.settings.state / "iso" / "host1" / "test.iso").write_bytes(bytes(4096))
    library = replayer.symbols["iso_sr1"]
    replayer.ok("SR.scan", library)
    vdis = replayer.ok("SR.get_VDIs", library)
    replayer.symbols["iso_vdi"] = next(ref for ref in vdis if replayer.ok("VDI.get_location", ref) == "test.iso")


def name_the_iso_driver(replayer: Replayer) -> None:
    (replayer.symbols["SM_1"],) = replayer.xapi.pool.store.find("SM", type="iso")


def name_the_imported_disk(replayer: Replayer) -> None:
    replayer.symbols["imported"] = replayer.symbols["ref_14"]


BEFORE = {
    ("http", "import_formats", 25): name_the_imported_disk,
    ("sr_pbd", "shared_sr", 6): unplug_all_of_sr3,
    ("sr_pbd", "indestructible_and_busy", 5): put_a_disk_into_sr5,
    ("vdi", "iso_vdi", 0): put_an_image_into_the_library,
    ("sr_pbd", "sm_class", 0): name_the_iso_driver,
}
