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
"""The tables of VDI and SR operations, as whole answers: what is allowed, and which error wins when it is not."""

from typing import Any

import pytest

from xapikit.host.errors import ApiError
from xapikit.host.storage.operations import check_sr, check_vdi, sr_allowed, sr_operations, vdi_allowed, vdi_operations
from xapikit.host.store import Store
from xapikit.model import MODEL

IDLE = ["clone", "copy", "destroy", "forget", "resize", "snapshot", "update"]
NO_PBD = ["SR_HAS_NO_PBDS", "sr"]
UNSUPPORTED = ["SR_OPERATION_NOT_SUPPORTED", "sr"]

# situation -> (type of SR, PBD plugged, attachments, current operations, managed)
SITUATIONS: dict[str, tuple[str, bool, list[str], dict[str, str], bool]] = {
    "idle": ("ext", True, [], {}, True),
    "attached": ("ext", True, ["RW"], {}, True),
    "attached read-only": ("ext", True, ["RO", "RO"], {}, True),
    "unplugged": ("ext", False, [], {}, True),
    "base copy": ("ext", True, [], {}, False),
    "being copied": ("ext", True, [], {"task": "copy"}, True),
    "being snapshot": ("ext", True, [], {"task": "snapshot"}, True),
    "being destroyed": ("ext", True, [], {"task": "destroy"}, True),
    "iso": ("iso", True, [], {}, True),
    "nfs": ("nfs", True, [], {}, True),
    "udev": ("udev", True, [], {}, True),
}
ALLOWED: dict[str, list[str]] = {
    "idle": IDLE,
    "attached": ["clone", "snapshot"],
    "attached read-only": ["clone", "copy", "snapshot"],
    "unplugged": [],
    "base copy": [],
    "being copied": ["clone", "copy", "snapshot"],
    "being snapshot": ["copy"],
    "being destroyed": [],
    "iso": ["copy", "destroy", "forget"],
    "nfs": IDLE,
    "udev": ["copy", "forget", "update"],
}
ERRORS: list[tuple[str, str, list[str]]] = [
    ("attached", "destroy", ["VDI_IN_USE", "vdi", "destroy"]),
    ("attached", "copy", ["VDI_IN_USE", "vdi", "copy"]),
    ("attached", "resize_online", UNSUPPORTED),
    ("attached", "set_on_boot", ["VDI_IN_USE", "vdi", "set_on_boot"]),
    ("attached read-only", "update", ["VDI_IN_USE", "vdi", "update"]),
    ("idle", "resize_online", UNSUPPORTED),
    ("idle", "enable_cbt", UNSUPPORTED),
    ("idle", "data_destroy", UNSUPPORTED),
    ("unplugged", "snapshot", NO_PBD),
    ("unplugged", "enable_cbt", NO_PBD),
    ("iso", "clone", UNSUPPORTED),
    ("iso", "resize", UNSUPPORTED),
    ("base copy", "destroy", ["VDI_NOT_MANAGED", "vdi"]),
    ("being destroyed", "snapshot", ["OTHER_OPERATION_IN_PROGRESS", "VDI", "vdi", "destroy", "task"]),
    ("being snapshot", "destroy", ["OTHER_OPERATION_IN_PROGRESS", "VDI", "vdi", "snapshot", "task"]),
]


def situation(name: str) -> Store:
    kind, plugged, modes, running, managed = SITUATIONS[name]
    store = Store()
    with store.transaction() as tx:
        tx.create("host", {}, ref="host")
        tx.create("SR", {"type": kind}, ref="sr")
        tx.create("PBD", {"SR": "sr", "host": "host", "currently_attached": plugged})
        tx.create("VDI", {"SR": "sr", "managed": managed, "current_operations": running, "type": "user"}, ref="vdi")
        for mode in modes:
            tx.create("VBD", {"VDI": "vdi", "mode": mode, "type": "Disk", "currently_attached": True})
    return store


@pytest.mark.parametrize("name", SITUATIONS)
def test_a_vdi_lists_what_it_allows(name: str) -> None:
    store = situation(name)
    assert vdi_allowed(store, "vdi", store.get("VDI", "vdi")) == ALLOWED[name]


@pytest.mark.parametrize(("name", "operation", "error"), ERRORS)
def test_the_error_of_a_vdi_that_wins(name: str, operation: str, error: list[str]) -> None:
    with pytest.raises(ApiError) as caught:
        check_vdi(situation(name), "vdi", operation)
    assert caught.value.description == error


def test_an_attachment_of_dom0_counts_like_a_vbd() -> None:
    store = situation("idle")
    with store.transaction() as tx:
        tx.update("VDI", "vdi", sm_config={"host_OpaqueRef:x": "RW"})
    with pytest.raises(ApiError) as caught:
        check_vdi(store, "vdi", "destroy")
    assert caught.value.description == ["VDI_IN_USE", "vdi", "destroy"]


ALWAYS = ["pbd_create", "pbd_destroy", "plug", "scan", "unplug"]
VHD = ["vdi_clone", "vdi_create", "vdi_destroy", "vdi_introduce", "vdi_mirror", "vdi_resize", "vdi_snapshot"]


@pytest.mark.parametrize(
    ("kind", "pbds", "running", "allowed"),
    [
        ("ext", [True], {}, [*ALWAYS, "update", *VHD]),
        ("ext", [False], {}, ["destroy", "forget", *ALWAYS, "update", *VHD]),
        ("ext", [], {}, ["forget", *ALWAYS, "update", *VHD]),
        ("nfs", [False, False], {}, ["forget", *ALWAYS, "update", *VHD]),
        ("nfs", [False, True], {}, [*ALWAYS, "update", *VHD]),
        ("dummy", [True], {}, [*ALWAYS, *VHD]),
        ("iso", [True], {}, [*ALWAYS, "vdi_clone", "vdi_create", "vdi_destroy"]),
        ("ext", [False], {"task": "destroy"}, []),
        ("ext", [True], {"task": "scan"}, ["pbd_create", "pbd_destroy", "scan", "update", *VHD]),
    ],
)
def test_an_sr_lists_what_it_allows(kind: str, pbds: list[bool], running: dict[str, str], allowed: list[str]) -> None:
    store = Store()
    with store.transaction() as tx:
        tx.create("SR", {"type": kind, "current_operations": running}, ref="sr")
        for number, plugged in enumerate(pbds):
            tx.create("PBD", {"SR": "sr", "host": f"host{number}", "currently_attached": plugged})
    assert sr_allowed(store, "sr", store.get("SR", "sr")) == sorted(allowed)


def test_two_operations_that_want_an_sr_for_themselves() -> None:
    store = Store()
    with store.transaction() as tx:
        tx.create("SR", {"type": "ext", "current_operations": {"task": "plug"}}, ref="sr")
    with pytest.raises(ApiError) as caught:
        check_sr(store, "sr", "scan")
    assert caught.value.description == ["OTHER_OPERATION_IN_PROGRESS", "SR", "sr", "plug", "task"]


@pytest.mark.parametrize(
    ("table", "enum"), [(vdi_operations(), "vdi_operations"), (sr_operations(), "storage_operations")]
)
def test_the_tables_name_operations_of_the_data_model(table: dict[str, Any], enum: str) -> None:
    assert set(table) <= set(MODEL.enums[enum])
    assert all(other in table for rule in table.values() for other in rule.get("beside", []))
