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
"""What the life-cycle rules look at, gathered from rows; the check of operations; allowed_operations."""

from __future__ import annotations

from xapikit.host.errors import ApiError
from xapikit.host.lifecycle.vm import VmFacts, allowed_operations, operation_error
from xapikit.host.store import Row, Store, Transaction, View
from xapikit.model import NULL_REF


def facts(view: View, ref: str, row: Row) -> VmFacts:
    """Facts of one VM."""
    guest = view.peek("VM_guest_metrics", row["guest_metrics"])
    metrics = view.peek("VM_metrics", row["metrics"])
    other = guest["other"] if guest is not None else {}
    pool = next(iter(view.all("pool").values()), None)
    return VmFacts(
        ref=ref,
        power_state=row["power_state"],
        is_a_template=row["is_a_template"],
        is_default_template=row["is_default_template"],
        is_a_snapshot=row["is_a_snapshot"],
        is_control_domain=row["is_control_domain"],
        hvm=row["domain_type"] in ("hvm", "unspecified"),
        blocked=row["blocked_operations"],
        current=row["current_operations"],
        pv_drivers=guest is not None and bool(guest["PV_drivers_version"]),
        guest_features=frozenset(key for key, value in other.items() if key.startswith("feature-") and value == "1"),
        cannot_suspend=other.get("data-cant-suspend-reason", ""),
        nomigrate=metrics is not None and metrics["nomigrate"],
        nested_virt=metrics is not None and metrics["nested_virt"],
        has_pci=bool(row["attached_PCIs"]),
        has_vgpu=bool(row["VGPUs"]),
        has_vusb=bool(row["VUSBs"]),
        reset_on_boot=_resets_a_disk(view, row),
        vtpm=bool(row["VTPMs"]),
        snapshot_schedule="" if row["snapshot_schedule"] == NULL_REF else row["snapshot_schedule"],
        clone_suspended=pool is not None and pool["other_config"].get("allow_clone_suspended_vm") == "true",
    )


def _resets_a_disk(view: View, row: Row) -> bool:
    for vbd in row["VBDs"]:
        disk = view.peek("VBD", vbd)
        content = view.peek("VDI", disk["VDI"]) if disk is not None and disk["type"] == "Disk" else None
        if content is not None and content["on_boot"] == "reset":
            return True
    return False


def check(tx: Transaction, ref: str, operation: str) -> None:
    """The check of operations on VMs. Raises the ApiError that a host gives, in its order."""
    error = operation_error(facts(tx, ref, tx.get("VM", ref)), operation)
    if error is not None:
        raise ApiError(*error)


def derive(store: Store) -> None:
    store.derive(
        "VM",
        "allowed_operations",
        lambda view, ref, row: allowed_operations(facts(view, ref, row)),
        via={"VBD": "VM"},
    )
