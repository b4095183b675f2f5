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

from pathlib import Path
from typing import Any

import pytest

from xapikit.host.errors import ApiError
from xapikit.host.settings import HostSettings
from xapikit.host.storage.drivers import refresh_managers
from xapikit.host.storage.operations import check_sr, check_vdi, sr_allowed, sr_operations, vdi_allowed, vdi_operations
from xapikit.host.store import Store
from xapikit.model import MODEL

SETTINGS = HostSettings(Path("/nowhere"))
IDLE = [
    "clone", "copy", "destroy", "disable_cbt", "enable_cbt", "forget", "generate_config", "list_changed_blocks",
    "resize", "set_on_boot", "snapshot", "update",
]  # fmt: skip
CBT = ["disable_cbt", "enable_cbt"]
NO_PBD = ["SR_HAS_NO_PBDS", "sr"]
UNSUPPORTED = ["SR_OPERATION_NOT_SUPPORTED", "sr"]

# situation -> (type of SR, PBD plugged, attachments, fields of the VDI)
SITUATIONS: dict[str, tuple[str, bool, list[str], dict[str, Any]]] = {
    "idle": ("ext", True, [], {}),
    "attached": ("ext", True, ["RW"], {}),
    "attached read-only": ("ext", True, ["RO", "RO"], {}),
    "unplugged": ("ext", False, [], {}),
    "base copy": ("ext", True, [], {"managed": False}),
    "being copied": ("ext", True, [], {"current_operations": {"task": "copy"}}),
    "being snapshot": ("ext", True, [], {"current_operations": {"task": "snapshot"}}),
    "being destroyed": ("ext", True, [], {"current_operations": {"task": "destroy"}}),
    "iso": ("iso", True, [], {}),
    "nfs": ("nfs", True, [], {}),
    "udev": ("udev", True, [], {}),
    "tracked": ("ext", True, [], {"cbt_enabled": True}),
    "snapshot": ("ext", True, [], {"is_a_snapshot": True}),
    "tracked snapshot": ("ext", True, ["RO"], {"is_a_snapshot": True, "cbt_enabled": True}),
    "log of a snapshot": ("ext", True, [], {"is_a_snapshot": True, "cbt_enabled": True, "type": "cbt_metadata"}),
    "reset at boot": ("ext", True, [], {"on_boot": "reset"}),
    "shared by guests": ("ext", True, [], {"sharable": True}),
    "statistics": ("ext", True, [], {"type": "rrd"}),
}
ALLOWED: dict[str, list[str]] = {
    "idle": IDLE,
    "attached": ["clone", *CBT, "snapshot"],
    "attached read-only": ["clone", "copy", *CBT, "snapshot"],
    "unplugged": [],
    "base copy": [],
    "being copied": ["clone", "copy", "snapshot"],
    "being snapshot": ["copy"],
    "being destroyed": [],
    "iso": ["copy", "destroy", "forget"],
    "nfs": IDLE,
    "udev": ["copy", "forget", "update"],
    "tracked": [name for name in IDLE if name != "set_on_boot"],
    "snapshot": [name for name in IDLE if name not in CBT],
    "tracked snapshot": ["clone", "copy", "data_destroy", "snapshot"],
    "log of a snapshot": ["data_destroy", "destroy", "forget", "generate_config", "list_changed_blocks", "update"],
    "reset at boot": [name for name in IDLE if name not in (*CBT, "snapshot")],
    "shared by guests": [name for name in IDLE if name != "snapshot"],
    "statistics": [name for name in IDLE if name not in (*CBT, "destroy", "forget")],
}
ERRORS: list[tuple[str, str, list[str]]] = [
    ("attached", "destroy", ["VDI_IN_USE", "vdi", "destroy"]),
    ("attached", "copy", ["VDI_IN_USE", "vdi", "copy"]),
    ("attached", "resize_online", UNSUPPORTED),
    ("attached", "set_on_boot", ["VDI_IN_USE", "vdi", "set_on_boot"]),
    ("attached read-only", "update", ["VDI_IN_USE", "vdi", "update"]),
    ("idle", "resize_online", UNSUPPORTED),
    ("iso", "enable_cbt", UNSUPPORTED),
    ("iso", "data_destroy", UNSUPPORTED),
    ("idle", "data_destroy", ["OPERATION_NOT_ALLOWED", "VDI is not a snapshot: vdi"]),
    ("snapshot", "data_destroy", ["VDI_NO_CBT_METADATA", "vdi"]),
    ("snapshot", "enable_cbt", ["OPERATION_NOT_ALLOWED", "VDI is a snapshot: vdi"]),
    ("log of a snapshot", "clone", ["VDI_INCOMPATIBLE_TYPE", "vdi", "CBT metadata"]),
    ("log of a snapshot", "enable_cbt", ["VDI_INCOMPATIBLE_TYPE", "vdi", "CBT metadata"]),
    ("tracked", "mirror", ["VDI_CBT_ENABLED", "vdi"]),
    ("tracked", "set_on_boot", ["VDI_CBT_ENABLED", "vdi"]),
    ("reset at boot", "snapshot", ["VDI_ON_BOOT_MODE_INCOMPATIBLE_WITH_OPERATION"]),
    ("reset at boot", "enable_cbt", ["VDI_ON_BOOT_MODE_INCOMPATIBLE_WITH_OPERATION"]),
    ("shared by guests", "snapshot", ["VDI_IS_SHARABLE", "vdi"]),
    ("statistics", "enable_cbt", ["VDI_INCOMPATIBLE_TYPE", "vdi", "RRD"]),
    ("statistics", "destroy", ["VDI_HAS_RRDS", "vdi"]),
    ("unplugged", "snapshot", NO_PBD),
    ("unplugged", "enable_cbt", NO_PBD),
    ("iso", "clone", UNSUPPORTED),
    ("iso", "resize", UNSUPPORTED),
    ("base copy", "destroy", ["VDI_NOT_MANAGED", "vdi"]),
    ("being destroyed", "snapshot", ["OTHER_OPERATION_IN_PROGRESS", "VDI", "vdi", "destroy", "task"]),
    ("being snapshot", "destroy", ["OTHER_OPERATION_IN_PROGRESS", "VDI", "vdi", "snapshot", "task"]),
]


def situation(name: str) -> Store:
    kind, plugged, modes, fields = SITUATIONS[name]
    store = Store()
    with store.transaction() as tx:
        refresh_managers(tx, SETTINGS)
        tx.create("host", {}, ref="host")
        tx.create("SR", {"type": kind}, ref="sr")
        tx.create("PBD", {"SR": "sr", "host": "host", "currently_attached": plugged})
        tx.create("VDI", {"SR": "sr", "managed": True, "type": "user", **fields}, ref="vdi")
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
DUMMY = ["vdi_clone", "vdi_create", "vdi_destroy", "vdi_introduce", "vdi_mirror", "vdi_resize", "vdi_snapshot"]
VHD = [
    *DUMMY, "vdi_data_destroy", "vdi_disable_cbt", "vdi_enable_cbt", "vdi_list_changed_blocks", "vdi_set_on_boot"
]  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "pbds", "running", "allowed"),
    [
        ("ext", [True], {}, [*ALWAYS, "update", *VHD]),
        ("ext", [False], {}, ["destroy", "forget", *ALWAYS, "update", *VHD]),
        ("ext", [], {}, ["forget", *ALWAYS, "update", *VHD]),
        ("nfs", [False, False], {}, ["forget", *ALWAYS, "update", *VHD]),
        ("nfs", [False, True], {}, [*ALWAYS, "update", *VHD]),
        ("dummy", [True], {}, [*ALWAYS, *DUMMY]),
        ("iso", [True], {}, [*ALWAYS, "vdi_clone", "vdi_create", "vdi_destroy"]),
        ("ext", [False], {"task": "destroy"}, []),
        ("ext", [True], {"task": "scan"}, ["pbd_create", "pbd_destroy", "scan", "update", *VHD]),
    ],
)
def test_an_sr_lists_what_it_allows(kind: str, pbds: list[bool], running: dict[str, str], allowed: list[str]) -> None:
    store = Store()
    with store.transaction() as tx:
        refresh_managers(tx, SETTINGS)
        tx.create("SR", {"type": kind, "current_operations": running}, ref="sr")
        for number, plugged in enumerate(pbds):
            tx.create("PBD", {"SR": "sr", "host": f"host{number}", "currently_attached": plugged})
    assert sr_allowed(store, "sr", store.get("SR", "sr")) == sorted(allowed)


def test_two_operations_that_want_an_sr_for_themselves() -> None:
    store = Store()
    with store.transaction() as tx:
        refresh_managers(tx, SETTINGS)
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
