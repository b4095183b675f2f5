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
from typing import Any, NamedTuple

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


def features_of(view: View, sr: Row) -> Mapping[str, int]:
    """What the storage manager of an SR can do: its SM row says so."""
    found: Mapping[str, int] = next((row["features"] for row in view.find("SM", type=sr["type"]).values()), {})
    return found


def has_feature(view: View, sr: Row, feature: str) -> bool:
    """Whether the storage manager of an SR can do something."""
    return feature in features_of(view, sr)


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


def has_children(view: View, row: Row) -> bool:
    """Whether the files of other VDIs are based on that of a VDI."""
    siblings = (view.peek("VDI", ref) for ref in view.get("SR", row["SR"])["VDIs"])
    return any(other is not None and other["sm_config"].get("vhd-parent") == row["uuid"] for other in siblings)


_TYPE_TEXTS = {
    "ha_statefile": "HA statefile",
    "redo_log": "Redo log",
    "rrd": "RRD",
    "pvs_cache": "PVS cache",
    "cbt_metadata": "CBT metadata",
}


def type_text(kind: str) -> str:
    """A type of VDI as VDI_INCOMPATIBLE_TYPE names it."""
    return _TYPE_TEXTS.get(kind) or kind.capitalize()


# VDI -----------------------------------------------------------------------------------------------------------------


def check_vdi(view: View, ref: str, operation: str) -> None:
    """Raise what a host answers to an operation that a VDI does not allow now."""
    row = view.get("VDI", ref)
    rule = vdi_operations()[operation]
    for other, name in row["current_operations"].items():
        if name not in rule["beside"]:
            raise ApiError("OTHER_OPERATION_IN_PROGRESS", "VDI", ref, name, other)
    _check_vdi_now(_facts(view, row), ref, row, operation, rule)


class _Facts(NamedTuple):
    """What the checks of all operations of a VDI look at."""

    modes: list[str]
    plugged: bool
    features: Mapping[str, int]


def _facts(view: View, row: Row) -> _Facts:
    sr = view.peek("SR", row["SR"])
    plugged = sr is not None and has_plugged_pbd(view, sr)
    return _Facts(attachments(view, row), plugged, features_of(view, sr) if sr is not None else {})


def _check_vdi_now(facts: _Facts, ref: str, row: Row, operation: str, rule: Mapping[str, Any]) -> None:
    modes = facts.modes
    if modes and (rule["attached"] == "no" or (rule["attached"] == "read-only" and "RW" in modes)):
        raise ApiError("VDI_IN_USE", ref, operation)
    if not facts.plugged:
        raise ApiError("SR_HAS_NO_PBDS", row["SR"])
    if rule["feature"] and rule["feature"] not in facts.features:
        raise ApiError("SR_OPERATION_NOT_SUPPORTED", row["SR"])
    if not row["managed"]:
        raise ApiError("VDI_NOT_MANAGED", ref)
    if row["type"] == "cbt_metadata" and not rule.get("metadata"):
        raise ApiError("VDI_INCOMPATIBLE_TYPE", ref, type_text(row["type"]))
    if row["cbt_enabled"] and not rule.get("tracked", True):
        raise ApiError("VDI_CBT_ENABLED", ref)
    _check_kind(ref, row, operation)


def _check_kind(ref: str, row: Row, operation: str) -> None:
    """What an operation demands of the VDI itself, in the order of a host."""
    if operation in ("enable_cbt", "disable_cbt"):
        if row["is_a_snapshot"]:
            raise ApiError("OPERATION_NOT_ALLOWED", f"VDI is a snapshot: {ref}")
        if row["type"] not in ("user", "system"):
            raise ApiError("VDI_INCOMPATIBLE_TYPE", ref, type_text(row["type"]))
    if operation == "data_destroy":
        if not row["is_a_snapshot"]:
            raise ApiError("OPERATION_NOT_ALLOWED", f"VDI is not a snapshot: {ref}")
        if not row["cbt_enabled"]:
            raise ApiError("VDI_NO_CBT_METADATA", ref)
    if operation in ("destroy", "data_destroy", "forget") and row["type"] == "rrd":
        raise ApiError("VDI_HAS_RRDS", ref)
    if operation == "snapshot" and row["sharable"]:
        raise ApiError("VDI_IS_SHARABLE", ref)
    if operation in ("snapshot", "enable_cbt", "disable_cbt") and row["on_boot"] == "reset":
        raise ApiError("VDI_ON_BOOT_MODE_INCOMPATIBLE_WITH_OPERATION")


def vdi_allowed(view: View, ref: str, row: Row) -> list[str]:
    """``VDI.allowed_operations``."""
    running = set(row["current_operations"].values())
    facts = _facts(view, row)
    allowed = []
    for operation, rule in sorted(vdi_operations().items()):
        if not rule.get("listed", True) or not running <= set(rule["beside"]):
            continue
        try:
            _check_vdi_now(facts, ref, row, operation, rule)
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
    if rule["feature"] and not has_feature(view, row, rule["feature"]):
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
