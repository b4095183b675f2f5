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
"""Which operation a VDI or SR allows now, and which error wins when it does not (wire reference 4.2, 4.3).

The rules are tables: ``data/vdi_operations.json`` and ``data/sr_operations.json``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from xapikit.host.errors import ApiError
from xapikit.host.storage.drivers import Driver, drivers
from xapikit.host.store import Row, View

LOCK_PREFIX = "host_"
"""Keys of ``VDI.sm_config`` that say where a disk is attached: ``host_<OpaqueRef>`` = ``RW`` or ``RO``."""


@cache
def vdi_operations() -> Mapping[str, Mapping[str, Any]]:
    return _table("vdi_operations")


@cache
def sr_operations() -> Mapping[str, Mapping[str, Any]]:
    return _table("sr_operations")


def _table(name: str) -> Mapping[str, Mapping[str, Any]]:
    table: Mapping[str, Mapping[str, Any]] = json.loads(
        files("xapikit.host.storage").joinpath(f"data/{name}.json").read_text()
    )
    return table


def driver_of(sr: Row) -> Driver | None:
    return drivers().get(sr["type"])


def attachments(view: View, row: Row) -> list[str]:
    """How a VDI is attached: ``RW`` or ``RO`` per VBD that has it and per host whose dom0 does."""
    found = []
    for ref in row["VBDs"]:
        vbd = view.peek("VBD", ref)
        if vbd is not None and (vbd["currently_attached"] or vbd["reserved"]):
            found.append("RO" if vbd["mode"] == "RO" else "RW")
    found += [mode for key, mode in row["sm_config"].items() if key.startswith(LOCK_PREFIX)]
    return found


def has_plugged_pbd(view: View, sr: Row) -> bool:
    pbds = (view.peek("PBD", ref) for ref in sr["PBDs"])
    return any(pbd is not None and pbd["currently_attached"] for pbd in pbds)


# VDI -----------------------------------------------------------------------------------------------------------------


def check_vdi(view: View, ref: str, operation: str) -> None:
    """Raise what a host answers to an operation that a VDI does not allow now."""
    row = view.get("VDI", ref)
    rule = vdi_operations()[operation]
    for other, name in row["current_operations"].items():
        if name not in rule["beside"]:
            raise ApiError("OTHER_OPERATION_IN_PROGRESS", "VDI", ref, name, other)
    _check_vdi_now(view, ref, row, operation, rule)


def _check_vdi_now(view: View, ref: str, row: Row, operation: str, rule: Mapping[str, Any]) -> None:
    modes = attachments(view, row)
    if modes and (rule["attached"] == "no" or (rule["attached"] == "read-only" and "RW" in modes)):
        raise ApiError("VDI_IN_USE", ref, operation)
    sr = view.peek("SR", row["SR"])
    if sr is None or not has_plugged_pbd(view, sr):
        raise ApiError("SR_HAS_NO_PBDS", row["SR"])
    driver = driver_of(sr)
    if rule["feature"] and (driver is None or rule["feature"] not in driver.features):
        raise ApiError("SR_OPERATION_NOT_SUPPORTED", row["SR"])
    if not row["managed"]:
        raise ApiError("VDI_NOT_MANAGED", ref)
    if operation == "data_destroy" and not row["is_a_snapshot"]:
        raise ApiError("OPERATION_NOT_ALLOWED", "VDI is not a snapshot")


def vdi_allowed(view: View, ref: str, row: Row) -> list[str]:
    """``VDI.allowed_operations``."""
    running = set(row["current_operations"].values())
    allowed = []
    for operation, rule in sorted(vdi_operations().items()):
        if not rule.get("listed", True) or not running <= set(rule["beside"]):
            continue
        try:
            _check_vdi_now(view, ref, row, operation, rule)
        except ApiError:
            continue
        allowed.append(operation)
    return allowed


# SR ------------------------------------------------------------------------------------------------------------------


def check_sr(view: View, ref: str, operation: str) -> None:
    """Raise what a host answers to an operation that an SR does not allow now."""
    row = view.get("SR", ref)
    rule = sr_operations()[operation]
    for other, name in row["current_operations"].items():
        if rule.get("alone") or sr_operations()[name].get("alone"):
            raise ApiError("OTHER_OPERATION_IN_PROGRESS", "SR", ref, name, other)
    driver = driver_of(row)
    if rule["feature"] and (driver is None or rule["feature"] not in driver.features):
        raise ApiError("SR_OPERATION_NOT_SUPPORTED", ref)
    if rule.get("pbds"):
        if has_plugged_pbd(view, row):
            raise ApiError("SR_HAS_PBD", ref)
        if rule["pbds"] == "one unplugged" and len(row["PBDs"]) != 1:
            raise ApiError("SR_HAS_NO_PBDS", ref)


def sr_allowed(view: View, ref: str, row: Row) -> list[str]:
    """``SR.allowed_operations``."""
    allowed = []
    for operation in sorted(sr_operations()):
        try:
            check_sr(view, ref, operation)
        except ApiError:
            continue
        allowed.append(operation)
    return allowed
