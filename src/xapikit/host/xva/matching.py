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
"""What an import finds on this host for the objects of an archive: SRs, disks and networks; who stands in its way."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from xapikit.host.errors import ApiError
from xapikit.host.store import Row, Store, View
from xapikit.host.xva.document import Document
from xapikit.model import NULL_REF


def is_default_template(row: Mapping[str, Any]) -> bool:
    """Whether a VM's record is that of a template that every host has."""
    marked = row["is_a_template"] and row["other_config"].get("default_template") == "true"
    return bool(row["is_default_template"] or marked)


def network_for(view: View, row: Mapping[str, Any]) -> str | None:
    """The network of the same name, else that with the same bridge."""
    named = view.find("network", name_label=row["name_label"]) or view.find("network", bridge=row["bridge"])
    return next(iter(named), None)


def iso_for(view: View, location: str) -> str | None:
    """An image of that name in any ISO library."""
    for ref, row in view.find("VDI", location=location).items():
        sr = view.peek("SR", row["SR"])
        if sr is not None and sr["content_type"] == "iso" and sr["type"] != "udev":
            return ref
    return None


class Disks:
    """The disks that are here, for records without contents."""

    def __init__(self, store: Store, vdi_map: Mapping[str, str]) -> None:
        self._store = store
        self._map = vdi_map
        self._places = {(row["SR"], row["location"]): ref for ref, row in store.all("VDI").items()}

    def find(self, row: Mapping[str, Any], sr: str | None) -> str | None:
        """The disk that a record means: by the caller's map, else by its place in the SR of that uuid."""
        mapped = self._store.by_uuid("VDI", self._map.get(row["uuid"], ""))
        return mapped or (self._places.get((sr, row["location"])) if sr is not None else None)


def assert_can_restore(view: View, document: Document) -> None:
    """A restored VM keeps its MAC seed, which no other VM may have. Raises DUPLICATE_MAC_SEED."""
    coming = {item.id: item.record for item in document.of("VM")}
    present = view.all("VM")
    seeds: dict[str, list[Row]] = {}
    for row in present.values():
        if seed := row["other_config"].get("mac_seed"):
            seeds.setdefault(seed, []).append(row)
    for row in coming.values():
        seed = row["other_config"].get("mac_seed", "")
        for other in seeds.get(seed, ()):
            if _origin(row, coming) != _origin(other, present):
                raise ApiError("DUPLICATE_MAC_SEED", seed)


def _origin(row: Mapping[str, Any], rows: Mapping[str, Mapping[str, Any]]) -> str:
    """uuid of the VM itself, or of that of which it is a snapshot."""
    if row["is_a_snapshot"] and row["snapshot_of"] != NULL_REF:
        origin = rows.get(row["snapshot_of"])
        return str(origin["uuid"]) if origin is not None else ""
    return str(row["uuid"])
