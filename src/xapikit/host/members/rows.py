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
"""Which rows belong to a host, and taking them out of the database."""

from __future__ import annotations

from xapikit.host.store import Transaction, View
from xapikit.host.store.relations import LINKS
from xapikit.model import NULL_REF

_KEPT = frozenset({"VM", "task", "SR", "VDI", "session"})
"""Classes whose rows outlive the host that they name."""
_WITH_METRICS = {"host": "host_metrics", "PIF": "PIF_metrics", "VM": "VM_metrics"}


def rows_of(view: View, host: str) -> dict[str, list[str]]:
    """What a host has that makes no sense without it, by class: devices, PBDs, processors, certificates, its control
    domain with its devices. Disks and SRs are not among it."""
    found: dict[str, list[str]] = {}
    for class_name, links in LINKS.items():
        if class_name in _KEPT:
            continue
        fields = [field for field, mirror in links.items() if mirror.class_name == "host"]
        for field in fields:
            found.setdefault(class_name, []).extend(view.find(class_name, **{field: host}))
    for class_name, field in (("Certificate", "host"), ("VLAN", "tagged_PIF"), ("Bond", "master")):
        owners = {host} if class_name == "Certificate" else set(found.get("PIF", ()))
        rows = view.all(class_name)
        kept = found.setdefault(class_name, [])
        kept += [ref for ref, row in rows.items() if row[field] in owners and ref not in kept]
    dom0s = [vm for vm, row in view.find("VM", is_control_domain=True).items() if row["resident_on"] == host]
    found["VM"] = dom0s
    for class_name in ("VBD", "VIF", "console"):
        found[class_name] = [ref for ref, row in view.all(class_name).items() if row["VM"] in dom0s]
    return {class_name: refs for class_name, refs in found.items() if refs}


def local_srs(view: View, host: str) -> list[str]:
    """SRs that are this host's alone."""
    rows = view.all("SR")
    found = []
    for sr, row in rows.items():
        hosts = [pbd["host"] for pbd in (view.peek("PBD", ref) for ref in row["PBDs"]) if pbd is not None]
        if hosts == [host] and not row["shared"]:
            found.append(sr)
    return found


def remove_host(tx: Transaction, host: str) -> None:
    """Delete the row of a host and everything of :func:`rows_of`."""
    for class_name, refs in rows_of(tx, host).items():
        for ref in refs:
            _remove(tx, class_name, ref)
    for vm, row in tx.all("VM").items():
        gone = {field: NULL_REF for field in ("affinity", "resident_on") if row[field] == host}
        if gone:
            tx.update("VM", vm, **gone)
    _remove(tx, "host", host)


def _remove(tx: Transaction, class_name: str, ref: str) -> None:
    row = tx.peek(class_name, ref)
    if row is None:
        return
    tx.delete(class_name, ref)
    metrics = _WITH_METRICS.get(class_name)
    if metrics is not None and tx.peek(metrics, row["metrics"]) is not None:
        tx.delete(metrics, row["metrics"])
