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
"""What happened between the steps of the files about VBDs and VIFs: each variant made room for the next one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from observed.unseen.storage import put_an_image_into_the_library

if TYPE_CHECKING:
    from observed.replayer import Replayer

TYPES = ("system", "ephemeral", "suspend", "crashdump", "metadata", "rrd", "ha_statefile", "redo_log", "pvs_cache")


def leave_only(class_name: str, *kept: str) -> Any:
    """An action that destroys the devices of ``$vm`` but for those behind the symbols."""

    def leave(replayer: Replayer) -> None:
        for ref in replayer.ok(f"VM.get_{class_name}s", replayer.symbols["vm"]):
            if ref not in [replayer.symbols.get(name) for name in kept]:
                replayer.ok(f"{class_name}.destroy", ref)

    return leave


def disks_of_all_types(replayer: Replayer) -> None:
    put_away(replayer)
    empty = {"sharable": False, "read_only": False, "other_config": {}}
    for kind in TYPES:
        record = {"SR": replayer.symbols["sr1"], "virtual_size": "8388608", "type": kind, **empty}
        replayer.symbols[f"vdi_{kind}"] = replayer.ok("VDI.create", record)


def a_vif_of_another_vm(replayer: Replayer) -> None:
    vm = replayer.ok("VM.create", {**replayer.minimal, "name_label": "earlier"})
    replayer.symbols["VIF_1"] = _vif(replayer, vm, "0")


def a_second_vif(replayer: Replayer) -> None:
    replayer.symbols["vif1"] = _vif(replayer, replayer.symbols["vm"], "1")


def _vif(replayer: Replayer, vm: str, device: str) -> str:
    record = {"VM": vm, "network": replayer.symbols["net_xenbr0"], "device": device, "MAC": "", "MTU": "0"}
    ref: str = replayer.ok(
        "VIF.create", {**record, "other_config": {}, "qos_algorithm_type": "", "qos_algorithm_params": {}}
    )
    return ref


only_the_disk = leave_only("VBD", "vbd0")
put_away = leave_only("VBD", "vbd0", "cd")
only_the_vif = leave_only("VIF", "vif0")

BEFORE = {
    **{("vbd", "devices", step): only_the_disk for step in (3, 5, 7, 9, 11, 14, 16, 18, 22, 23)},
    **{("vbd", "create_errors", step): only_the_disk for step in (0, 12, 14, 17, 19, 21, 23, 25, 27)},
    ("vbd", "running_hotplug", 0): only_the_disk,
    ("vbd", "cd_with_iso", 0): put_an_image_into_the_library,
    ("vbd", "vdi_of_other_types", 0): disks_of_all_types,
    **{("vbd", "vdi_of_other_types", step): put_away for step in range(1, 10)},
    ("vif", "create_defaults", 0): a_vif_of_another_vm,
    ("vif", "create_defaults", 8): a_second_vif,
    **{
        ("vif", "create_variants", step): only_the_vif
        for step in (1, 3, 5, 7, *range(14, 24, 2), 27, *range(30, 42, 2))
    },
}
