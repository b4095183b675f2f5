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
"""What VDI rows say about files, and what goes when a VDI goes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from xapikit.host.storage.tree import Node
from xapikit.host.store import Row, Transaction
from xapikit.model import NULL_REF


def node_fields(node: Node, sm_config: Mapping[str, str]) -> dict[str, Any]:
    """Fields of a VDI row that follow from its file; other keys of sm_config stay."""
    config = {key: value for key, value in sm_config.items() if key != "vhd-parent"}
    config["vdi_type"] = "vhd"
    if node.parent is not None:
        config["vhd-parent"] = node.parent
    return {
        "virtual_size": node.virtual_size,
        "physical_utilisation": node.physical_size,
        "sm_config": config,
        "managed": not node.hidden,
        "cbt_enabled": node.tracked,
    }


def metadata_fields(sm_config: Mapping[str, str]) -> dict[str, Any]:
    """Fields of a VDI of which only the changed-block log is left."""
    return {
        "type": "cbt_metadata",
        "physical_utilisation": 0,
        "cbt_enabled": True,
        "sm_config": {key: value for key, value in sm_config.items() if key not in ("vhd-parent", "vdi_type")},
    }


def allocation(row: Row) -> int:
    """Bytes that a VDI counts in ``SR.virtual_allocation``."""
    return row["virtual_size"] if row["managed"] and row["type"] != "cbt_metadata" else 0


def base_copy(sr: str, node: Node) -> dict[str, Any]:
    """Row of a hidden file that others are based on."""
    return {
        **node_fields(node, {}),
        "name_label": "base copy",
        "uuid": node.uuid,
        "location": node.uuid,
        "SR": sr,
        "type": "user",
        "read_only": True,
        "managed": False,
    }


def remove_row(tx: Transaction, vdi: str, *, vbds: bool) -> None:
    """Delete a VDI's row and what points at it: snapshots lose their origin, suspended VMs their image.

    Its VBDs go with it when ``vbds``; otherwise (a file that vanished) CD drives become empty and disks stay.
    """
    row = tx.get("VDI", vdi)
    for ref in list(row["VBDs"]):
        vbd = tx.get("VBD", ref)
        if vbds:
            tx.delete("VBD", ref)
        elif vbd["type"] == "CD":
            tx.update("VBD", ref, VDI=NULL_REF, empty=True)
    for ref in list(row["snapshots"]):
        tx.update("VDI", ref, snapshot_of=NULL_REF)
    if row["type"] == "suspend":
        for ref, vm in tx.find("VM", suspend_VDI=vdi).items():
            if vm["suspend_VDI"] == vdi:
                tx.update("VM", ref, suspend_VDI=NULL_REF)
    tx.delete("VDI", vdi)
