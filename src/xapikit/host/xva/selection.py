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
"""Which objects go with VMs into an archive, and what of them: a host leaves out what means nothing elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from xapikit.host.lifecycle import HALTED, SUSPENDED
from xapikit.host.server.records import wire_record
from xapikit.host.store import Row, View
from xapikit.host.xva.document import Exported, external
from xapikit.wire import DateTime

DEVICE_CLASSES: Final = ("VIF", "VBD", "VGPU", "VTPM")
"""What ``excluded_device_types`` may name."""
_ORDER: Final = (
    "host", "VM", "VM_metrics", "VM_guest_metrics", "VBD", "VIF", "network", "VDI", "SR", "VGPU_type", "VGPU",
    "GPU_group",
)  # fmt: skip
"""Classes in the order of the document."""
_EPOCH: Final = DateTime("19700101T00:00:00Z")
_OF_A_HOST: Final = (
    "license_params", "blobs", "external_auth_type", "external_auth_service_name", "external_auth_configuration",
    "logging", "supported_bootloaders", "cpu_configuration", "other_config", "capabilities", "software_version",
    "sched_policy", "ha_statefiles", "ha_network_peers", "tags",
)  # fmt: skip
"""Fields of a host that are nobody's business elsewhere."""


@dataclass(frozen=True)
class Choice:
    """What an export is asked for."""

    snapshots: bool = False
    """The VM's snapshots, and what makes a record that of a snapshot."""
    keep_power_state: bool = False
    """Suspended VMs stay that, with their image; otherwise everything is Halted."""
    vhd_parents: bool = False
    excluded: Collection[str] = ()
    """Device classes that are left out."""


@dataclass
class Selection:
    """Objects with their names in the archive."""

    ids: dict[str, str] = field(default_factory=dict)
    """``Ref:N`` by reference."""
    classes: dict[str, list[str]] = field(default_factory=dict)

    def add(self, view: View, class_name: str, ref: str) -> Row | None:
        """Name an object; None when it does not exist."""
        row = view.peek(class_name, ref)
        if row is not None and ref not in self.ids:
            self.ids[ref] = f"Ref:{len(self.ids)}"
            self.classes.setdefault(class_name, []).append(ref)
        return row


def select(view: View, vms: Iterable[str], choice: Choice) -> Selection:
    """Find what belongs to VMs."""
    found = Selection()
    for vm in vms:
        _add_vm(view, found, vm, choice, snapshots=choice.snapshots)
    return found


def _add_vm(view: View, found: Selection, vm: str, choice: Choice, *, snapshots: bool) -> None:
    if vm in found.ids:
        return
    row = found.add(view, "VM", vm)
    if row is None:
        return
    if "VIF" not in choice.excluded:
        for ref in row["VIFs"]:
            vif = found.add(view, "VIF", ref)
            if vif is not None:
                found.add(view, "network", vif["network"])
    if "VBD" not in choice.excluded:
        for ref in row["VBDs"]:
            vbd = found.add(view, "VBD", ref)
            if vbd is not None and not vbd["empty"]:
                _add_vdi(view, found, vbd["VDI"], choice)
    if "VGPU" not in choice.excluded:
        for ref in row["VGPUs"]:
            vgpu = found.add(view, "VGPU", ref)
            if vgpu is not None:
                found.add(view, "VGPU_type", vgpu["type"])
                found.add(view, "GPU_group", vgpu["GPU_group"])
    if snapshots:
        for ref in row["snapshots"]:
            _add_vm(view, found, ref, choice, snapshots=False)
    if choice.keep_power_state and row["power_state"] == SUSPENDED:
        _add_vdi(view, found, row["suspend_VDI"], choice)
    found.add(view, "VM_metrics", row["metrics"])
    found.add(view, "VM_guest_metrics", row["guest_metrics"])
    found.add(view, "host", row["resident_on"])
    found.add(view, "host", row["affinity"])
    if snapshots:
        _add_vm(view, found, row["parent"], choice, snapshots=False)


def _add_vdi(view: View, found: Selection, vdi: str, choice: Choice) -> None:
    row = found.add(view, "VDI", vdi)
    while row is not None:
        found.add(view, "SR", row["SR"])
        parent = row["sm_config"].get("vhd-parent") if choice.vhd_parents else None
        above = next(iter(view.find("VDI", uuid=parent)), None) if parent else None
        if above is None or above in found.ids:
            return
        row = found.add(view, "VDI", above)


def objects(view: View, selection: Selection, choice: Choice) -> list[Exported]:
    """The records of what was selected, ready to be written."""
    made: list[Exported] = []
    for class_name in _ORDER:
        change = _CHANGES.get(class_name)
        for ref in selection.classes.get(class_name, ()):
            record = wire_record(class_name, view.get(class_name, ref))
            if "current_operations" in record:
                record |= {"current_operations": {}, "allowed_operations": []}
            if change is not None:
                record |= change(record, choice)
            made.append(Exported(class_name, selection.ids[ref], external(class_name, record, selection.ids)))
    return made


def _vm(record: Mapping[str, Any], choice: Choice) -> dict[str, Any]:
    changed: dict[str, Any] = {"consoles": [], "blobs": {}}
    if not choice.keep_power_state:
        changed |= {"power_state": HALTED, "suspend_VDI": ""}
    if not choice.snapshots:
        changed |= {"is_a_snapshot": False, "snapshot_of": "", "snapshots": [], "snapshot_time": _EPOCH, "parent": ""}
        changed |= {"transportable_snapshot_id": ""}
    return changed


def _device(record: Mapping[str, Any], choice: Choice) -> dict[str, Any]:
    return {} if choice.keep_power_state else {"currently_attached": False}


def _host(record: Mapping[str, Any], choice: Choice) -> dict[str, Any]:
    return {name: type(record[name])() for name in _OF_A_HOST}


_CHANGES: Final[Mapping[str, Callable[[Mapping[str, Any], Choice], dict[str, Any]]]] = {
    "host": _host,
    "VM": _vm,
    "VBD": _device,
    "VIF": _device,
    "VGPU": _device,
}
