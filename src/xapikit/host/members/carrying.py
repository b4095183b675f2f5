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
"""The records that a host takes along when it joins a pool: picking them, and putting them into the other database.

As on real hosts objects keep their uuids and get new references; what the pool has already (networks of NICs, the
tools SR, storage drivers, built-in templates) is taken for the pool's own; tasks, messages, blobs and appliances stay
behind.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

from xapikit.host.errors import ApiError
from xapikit.host.facts import pool_cpu_info
from xapikit.host.members.rows import rows_of
from xapikit.host.store import Row, Transaction, View
from xapikit.host.store.relations import MIRRORS
from xapikit.model import MODEL, NULL_REF, Kind, Type

Bundle: TypeAlias = dict[str, dict[str, dict[str, Any]]]
"""By class and reference: the fields of rows."""

_METRICS = {"host": "host_metrics", "PIF": "PIF_metrics", "VM": "VM_metrics"}
_LEFT_BEHIND = frozenset({"blobs", "current_operations", "allowed_operations", "appliance", "groups"})


def pick(view: View, host: str) -> Bundle:
    """The rows of the host of a pool of one."""
    found: dict[str, dict[str, Row]] = {"host": {host: view.get("host", host)}}
    for class_name, refs in rows_of(view, host).items():
        found[class_name] = {ref: view.get(class_name, ref) for ref in refs}
    found["network"] = view.all("network")
    found["SR"] = view.all("SR")
    found["VDI"] = view.all("VDI")
    found["secret"] = view.all("secret")
    vms = {ref: row for ref, row in view.all("VM").items() if not row["is_default_template"]}
    found["VM"] = vms
    for class_name in ("VBD", "VIF"):
        found[class_name] = {ref: row for ref, row in view.all(class_name).items() if row["VM"] in vms}
    for class_name, metrics in _METRICS.items():
        rows = {row["metrics"]: view.peek(metrics, row["metrics"]) for row in found[class_name].values()}
        found[metrics] = {ref: row for ref, row in rows.items() if row is not None}
    found["VM_guest_metrics"] = {
        ref: row
        for vm in vms.values()
        if (row := view.peek("VM_guest_metrics", ref := vm["guest_metrics"])) is not None
    }
    return {
        class_name: {ref: {k: v for k, v in row.items() if (class_name, k) not in MIRRORS} for ref, row in rows.items()}
        for class_name, rows in found.items()
        if rows
    }


def adopt(tx: Transaction, bundle: Bundle, *, cpus: int) -> str:
    """Make rows of a bundle in the database of the pool; returns the reference of the new host.

    Raises ApiError OPERATION_NOT_ALLOWED when the pool has an object with the uuid of one of them.
    """
    names = {ref: tx.store.new_ref() for rows in bundle.values() for ref in rows}
    known: set[str] = set()
    for class_name in ("network", "SR"):
        for ref, row in bundle.get(class_name, {}).items():
            own = _same_network(tx, bundle, ref, row) if class_name == "network" else _same_sr(tx, row)
            if own is not None:
                names[ref] = own
                known.add(ref)
    # disks of what the pool has already are there
    known.update(ref for ref, row in bundle.get("VDI", {}).items() if row["SR"] in known)
    for class_name, rows in bundle.items():
        spec = MODEL.classes[class_name]
        for ref, row in rows.items():
            if ref in known:
                continue
            uuid = row.get("uuid")
            if uuid and tx.store.by_uuid(class_name, uuid) is not None:
                raise ApiError("OPERATION_NOT_ALLOWED", f"the pool has a {class_name} with the uuid {uuid} already")
            fields = {
                name: _renamed(spec.fields[name].type, value, names)
                for name, value in row.items()
                if name in spec.fields and name not in _LEFT_BEHIND
            }
            tx.create(class_name, fields, ref=names[ref])
    (host,) = (names[ref] for ref in bundle["host"])
    _give_shared_srs(tx, host)
    pool = next(iter(tx.all("pool")))
    tx.update("pool", pool, cpu_info=pool_cpu_info(cpus, len(tx.all("host"))))
    return host


def _same_network(tx: Transaction, bundle: Bundle, ref: str, row: Mapping[str, Any]) -> str | None:
    """A network with NICs is the one with the same bridge; any other the one with the same name."""
    with_nics = any(pif["network"] == ref for pif in bundle.get("PIF", {}).values())
    internal = "is_host_internal_management_network" in row["other_config"]
    field = "bridge" if with_nics or internal else "name_label"
    return next(iter(tx.find("network", **{field: row[field]})), None)


def _same_sr(tx: Transaction, row: Mapping[str, Any]) -> str | None:
    return next(iter(tx.find("SR", is_tools_sr=True)), None) if row["is_tools_sr"] else None


def _give_shared_srs(tx: Transaction, host: str) -> None:
    """Every host has a PBD of every shared SR; a new one gets those it lacks, with what the others have."""
    for sr, row in tx.all("SR").items():
        pbds = [tx.get("PBD", ref) for ref in row["PBDs"]]
        if row["shared"] and pbds and all(pbd["host"] != host for pbd in pbds):
            config = pbds[0]["device_config"]
            tx.create("PBD", {"SR": sr, "host": host, "device_config": config, "currently_attached": True})


def _renamed(kind: Type, value: Any, names: Mapping[str, str]) -> Any:
    """A value with the references of the pool; what was left behind is not referred to any more."""
    match kind.kind:
        case Kind.REF:
            return names.get(value, NULL_REF)
        case Kind.SET:
            items = [_renamed(kind.args[0], item, names) for item in value]
            return [item for item in items if item != NULL_REF] if kind.args[0].kind is Kind.REF else items
        case Kind.MAP:
            pairs = [(_renamed(kind.args[0], k, names), _renamed(kind.args[1], v, names)) for k, v in value.items()]
            return {k: v for k, v in pairs if NULL_REF not in (k, v)}
        case Kind.OPTION:
            return None if value is None else _renamed(kind.args[0], value, names)
        case Kind.INT if isinstance(value, str):  # keys of maps come as text
            return int(value)
    return value
