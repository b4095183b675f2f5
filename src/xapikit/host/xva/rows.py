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
"""Rows of imported VMs and of their devices, made in one transaction (wire reference 5.3)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from xapikit.host.classes import network as networks
from xapikit.host.classes.vbd import create_vbd
from xapikit.host.classes.vif import create_vif
from xapikit.host.classes.vm.copied import new_generation_id
from xapikit.host.classes.vm.facts import check
from xapikit.host.classes.vm.record import create_vm, remove_vm
from xapikit.host.context import Context
from xapikit.host.errors import ApiError
from xapikit.host.lifecycle import HALTED, SUSPENDED
from xapikit.host.store import Transaction
from xapikit.host.xva.document import Document, Exported
from xapikit.host.xva.matching import is_default_template, network_for
from xapikit.host.xva.unfinished import IMPORT_TASK
from xapikit.model import NULL_REF

_DROPPED_CONFIG: Final = ("grant_api_access", IMPORT_TASK)
_UUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII | re.IGNORECASE)
_KEPT: Final = (
    "bios_strings", "is_control_domain", "is_a_snapshot", "snapshot_info", "snapshot_time", "snapshot_metadata",
    "transportable_snapshot_id",
)  # fmt: skip
"""Read-only fields of a VM that an import takes over."""


@dataclass(frozen=True)
class Options:
    """What a client asks of an import."""

    sr: str | None = None
    """Where the disks go; None for an import without contents, whose disks are here already."""
    restore: bool = False
    """Keep uuids and MAC addresses, in place of an older VM of that uuid."""
    force: bool = False
    """Overlook wrong checksums and missing disks, and leave what was made when it fails."""
    dry_run: bool = False
    live: bool = False
    """The VM is on its way from another pool, and so are its disks."""
    vdi_map: Mapping[str, str] = field(default_factory=dict)
    """uuid of a disk here by the uuid that it had."""


class Rows:
    """Makes rows for the objects of a document. ``table`` says what each ``Ref:N`` is here."""

    def __init__(self, ctx: Context, document: Document, options: Options, table: dict[str, str]) -> None:
        self._ctx = ctx
        self._document = document
        self._options = options
        self.table = table
        self.vms: list[str] = []
        """Made VMs, and existing default templates that stand for those of the archive."""
        self.made: dict[str, None] = {}
        self.networks: list[str] = []
        """Made networks."""
        self._known: dict[str, dict[str, str]] = {}

    def make(self, tx: Transaction) -> None:
        """All of them, in the order of a host. Raises what a host raises."""
        for class_name in ("VM_guest_metrics", "VM_metrics"):
            for item in self._document.of(class_name):
                self._copied(tx, item)
        for item in self._document.of("VM"):
            self._vm(tx, item)
        for item in self._document.of("network"):
            self._network(tx, item)
        for item in self._document.of("VBD"):
            self._vbd(tx, item)
        for item in self._document.of("VIF"):
            self._vif(tx, item)
        for item in self._document.of("VM"):
            self._link(tx, item)

    def _here(self, identity: str) -> str:
        """What stands for an object. Raises IMPORT_ERROR_FAILED_TO_FIND_OBJECT."""
        found = self.table.get(identity)
        if found is None:
            raise ApiError("IMPORT_ERROR_FAILED_TO_FIND_OBJECT", identity)
        return found

    def _copied(self, tx: Transaction, item: Exported) -> None:
        row = {name: value for name, value in item.record.items() if name != "uuid"}
        if item.class_name == "VM_metrics":
            row["current_domain_type"] = "unspecified"
        self.table[item.id] = tx.create(item.class_name, row)

    # VMs ---------------------------------------------------------------------------------------------------------

    def _vm(self, tx: Transaction, item: Exported) -> None:
        row = item.record
        template = is_default_template(row)
        namesake = next(iter(tx.find("VM", name_label=row["name_label"])), None) if template else None
        if namesake is not None:
            self.table[item.id] = namesake
            self.vms.append(namesake)
            return
        old = self._with_uuid(tx, "VM", row["uuid"])
        if old is not None and not self._replace(tx, old, row["version"]):
            return
        vm = self.table[item.id] = self._made_vm(tx, item, row)
        self.vms.append(vm)
        self.made[vm] = None

    def _replace(self, tx: Transaction, old: str, version: int) -> bool:
        """Make room for a newer version of a VM; False leaves the old one and skips the new one."""
        row, force = tx.get("VM", old), self._options.force
        if row["power_state"] != HALTED:
            if force:
                return False
            raise ApiError("VM_BAD_POWER_STATE", old, HALTED, row["power_state"])
        if row["version"] >= version and not force:
            raise ApiError("VM_TO_IMPORT_IS_NOT_NEWER_VERSION", old, row["version"], version)
        check(tx, old, "destroy")
        remove_vm(tx, old)
        return True

    def _made_vm(self, tx: Transaction, item: Exported, row: Mapping[str, Any]) -> str:
        args = {name: value for name, value in row.items() if name != "power_state"}
        vm = create_vm(tx, args | self._changed(item, row))
        fields = {name: row[name] for name in _KEPT} | self._power_state(row)
        for name in ("metrics", "guest_metrics"):
            if row[name] in self.table:
                if name == "metrics":
                    tx.delete("VM_metrics", tx.get("VM", vm)["metrics"])
                fields[name] = self.table[row[name]]
        if self._options.restore:
            fields["uuid"] = row["uuid"]
        if self._options.force and row["is_default_template"]:
            fields["is_default_template"] = True
        if not self._options.force and self._ctx.task.ref != NULL_REF:
            fields["current_operations"] = {self._ctx.task.ref: "import"}
        tx.update("VM", vm, **fields)
        self._known.setdefault("VM", {})[row["uuid"]] = vm
        if fields["power_state"] == SUSPENDED:
            tx.update("VM_metrics", tx.get("VM", vm)["metrics"], current_domain_type=tx.get("VM", vm)["domain_type"])
        return vm

    def _changed(self, item: Exported, row: Mapping[str, Any]) -> dict[str, Any]:
        """Members of a record that are others here than they were there."""
        options = self._options
        other = {key: value for key, value in row["other_config"].items() if key not in _DROPPED_CONFIG}
        if not options.restore:
            other.pop("mac_seed", None)
        if not options.force:
            other.pop("default_template", None)
        if self._ctx.task.ref != NULL_REF:
            other[IMPORT_TASK] = self._ctx.task.ref
        changed: dict[str, Any] = {
            "other_config": other,
            "version": row["version"] + 1 if options.restore else 0,
            "affinity": self.table.get(row["affinity"], NULL_REF),
        }
        if not (options.live or row["is_a_template"]) and row["generation_id"]:
            changed["generation_id"] = new_generation_id()
        if self._ctx.store.peek("SR", row["suspend_SR"]) is None:
            changed["suspend_SR"] = NULL_REF
        if row["ha_restart_priority"] in ("0", "1", "2", "3"):  # so before 2012
            changed |= {"ha_restart_priority": "restart", "order": int(row["ha_restart_priority"])}
        if "parent" not in item.snapshot:  # by a host without dynamic memory
            most = row["memory_static_max"]
            changed |= dict.fromkeys(("memory_dynamic_min", "memory_dynamic_max", "memory_target"), most)
            changed["memory_static_min"] = min(row["memory_static_min"], most)
        if "has_vendor_device" not in item.snapshot:
            changed["has_vendor_device"] = False
        return changed

    def _power_state(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """Halted, or Suspended with its image, whatever it was."""
        if row["power_state"] != SUSPENDED:
            return {"power_state": HALTED}
        image = self.table.get(row["suspend_VDI"])
        if image is None:
            if not self._options.force:
                raise ApiError("IMPORT_ERROR_FAILED_TO_FIND_OBJECT", row["suspend_VDI"])
            return {"power_state": HALTED}
        return {"power_state": SUSPENDED, "suspend_VDI": image}

    def _link(self, tx: Transaction, item: Exported) -> None:
        vm = self.table.get(item.id)
        if vm not in self.made:
            return
        row = item.record
        fields = {"parent": self.table.get(row["parent"], NULL_REF)}
        if row["is_a_snapshot"] and row["snapshot_of"] != NULL_REF:
            fields["snapshot_of"] = self._here(row["snapshot_of"])
        tx.update("VM", vm, **fields)

    # devices -----------------------------------------------------------------------------------------------------

    def _network(self, tx: Transaction, item: Exported) -> None:
        row = item.record
        found = network_for(tx, row)
        if found is None:
            bridge = row["bridge"]
            if networks.RESERVED_BRIDGE.match(bridge) or len(bridge) > networks.MAX_BRIDGE_NAME:
                bridge = ""  # the name of a bridge that the other host made itself
            other = {**row["other_config"], IMPORT_TASK: self._ctx.task.ref}
            found = networks.create(self._ctx, {**row, "bridge": bridge, "other_config": other})
            self.networks.append(found)
        self.table[item.id] = found

    def _vbd(self, tx: Transaction, item: Exported) -> None:
        row = item.record
        if self._existing(tx, item, row["uuid"]):
            return
        vm, vdi = self._here(row["VM"]), self.table.get(row["VDI"])
        owner = self._document.find(row["VM"]).record
        hvm = owner["HVM_boot_policy"] != "" or owner["domain_type"] in ("hvm", "pvh", "pv_in_pvh")
        leaving = self._options.dry_run and self._options.live and owner["power_state"] != SUSPENDED
        if row["currently_attached"] and vdi is None and not (row["type"] == "CD" and (hvm or leaving)):
            raise ApiError("IMPORT_ERROR_ATTACHED_DISKS_NOT_FOUND")
        if vdi is None and row["type"] == "Disk":
            return  # there are no empty disks; most likely an image of an ISO library attached as one
        empty = {"empty": True} if vdi is None else {}
        vbd = create_vbd(tx, {**row, "VM": vm, "VDI": vdi or NULL_REF, "currently_attached": False, **empty})
        fields = {"currently_attached": row["currently_attached"] and tx.get("VM", vm)["power_state"] != HALTED}
        tx.update("VBD", vbd, **fields, **self._uuid(row))
        self.table[item.id] = self._known.setdefault("VBD", {})[row["uuid"]] = vbd

    def _vif(self, tx: Transaction, item: Exported) -> None:
        row = item.record
        if self._existing(tx, item, row["uuid"]):
            return
        vm, network = self._here(row["VM"]), self._here(row["network"])
        mac = row["MAC"] if self._options.restore else ""
        vif = create_vif(tx, {**row, "VM": vm, "network": network, "MAC": mac})
        fields = {"currently_attached": row["currently_attached"] and tx.get("VM", vm)["power_state"] != HALTED}
        tx.update("VIF", vif, **fields, **self._uuid(row))
        self.table[item.id] = self._known.setdefault("VIF", {})[row["uuid"]] = vif

    def _uuid(self, row: Mapping[str, Any]) -> dict[str, str]:
        return {"uuid": row["uuid"]} if self._options.restore else {}

    def _existing(self, tx: Transaction, item: Exported, uuid: str) -> bool:
        """A restore finds a device again by its uuid."""
        known = self._with_uuid(tx, item.class_name, uuid)
        if known is not None:
            self.table[item.id] = known
        return known is not None

    def _with_uuid(self, tx: Transaction, class_name: str, uuid: str) -> str | None:
        """For a restore, which keeps uuids: the object that has one, of before or of this archive."""
        if not self._options.restore:
            return None
        if not _UUID.fullmatch(uuid):  # it becomes part of file names and of arguments of programs
            raise ApiError("IMPORT_ERROR", f"{class_name}.uuid: {uuid[:64]!r}")
        known = self._known.setdefault(class_name, {})
        found = known.get(uuid) or tx.store.by_uuid(class_name, uuid)
        return found if found is not None and tx.peek(class_name, found) is not None else None
