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
"""What VBDs and VIFs have in common: the facts of their life cycle, its check and ``allowed_operations``."""

from __future__ import annotations

import functools
from typing import Any, Final

from xapikit.host.context import OperationCheck
from xapikit.host.errors import ApiError
from xapikit.host.lifecycle.devices import DeviceFacts, allowed_device_operations, device_error
from xapikit.host.store import Row, Store, Transaction, View

MIRRORS: Final = {"VBD": "VBDs", "VIF": "VIFs"}
"""Where a VM lists its devices of a class."""


def facts(class_name: str, view: View, ref: str, row: Row) -> DeviceFacts:
    """What the life-cycle rules look at."""
    vm = view.peek("VM", row["VM"])
    guest = view.peek("VM_guest_metrics", vm["guest_metrics"]) if vm is not None else None
    return DeviceFacts(
        class_name=class_name,
        ref=ref,
        vm=row["VM"],
        power_state=vm["power_state"] if vm is not None else "Halted",
        attached=row["currently_attached"],
        hvm=vm is None or vm["domain_type"] in ("hvm", "unspecified"),
        is_control_domain=vm is not None and vm["is_control_domain"],
        pv_drivers=guest is not None and guest["PV_drivers_detected"],
        hotplug=guest[f"can_use_hotplug_{class_name.lower()}"] if guest is not None else "unspecified",
        vm_current=vm["current_operations"] if vm is not None else {},
        current=row["current_operations"],
        **(_medium(view, row) if class_name == "VBD" else {}),
    )


def _medium(view: View, row: Row) -> dict[str, Any]:
    """The facts that only VBDs have."""
    vdi = view.peek("VDI", row["VDI"]) if not row["empty"] else None
    return {
        "unpluggable": row["unpluggable"],
        "kind": row["type"],
        "empty": row["empty"],
        "vdi": row["VDI"],
        "vdi_managed": vdi is None or vdi["managed"],
        "vdi_current": vdi["current_operations"] if vdi is not None else {},
    }


def checker(class_name: str) -> OperationCheck:
    """The check of operations on devices of a class. It raises the ApiError that a host gives."""

    def check(tx: Transaction, ref: str, operation: str) -> None:
        error = device_error(facts(class_name, tx, ref, tx.get(class_name, ref)), operation)
        if error is not None:
            raise ApiError(*error)

    return check


def derive(store: Store) -> None:
    for class_name, mirror in MIRRORS.items():
        store.derive(class_name, "allowed_operations", functools.partial(_allowed, class_name), via={"VM": mirror})


def _allowed(class_name: str, view: View, ref: str, row: Row) -> list[str]:
    return allowed_device_operations(facts(class_name, view, ref, row))
