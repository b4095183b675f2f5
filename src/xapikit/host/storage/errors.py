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
"""Failures of storage managers as XAPI shows them: ``SR_BACKEND_FAILURE_<n>`` with three parameters.

Numbers and texts: wire reference 4.2. The last words of a text are the detail: ``... [opterr=detail]``.
"""

from __future__ import annotations

from xapikit.host.errors import ApiError

SR_IN_USE = 16
SCAN_FAILED = 40
SR_EXISTS = 42
VDI_EXISTS = 43
NO_SPACE = 44
VDI_UNAVAILABLE = 46
SR_UNAVAILABLE = 47
VDI_LOAD_FAILED = 65
NFS_MOUNT_FAILED = 73
VDI_CREATE_FAILED = 78
INVALID_SIZE = 79
DELETE_FAILED = 80
CLONE_FAILED = 81
SNAPSHOT_FAILED = 82
DEVICE_MISSING = 90
LOCATION_MISSING = 94
SERVERPATH_MISSING = 101
SERVER_MISSING = 102
CHAIN_TOO_LONG = 109
RESIZE_FAILED = 110
CBT_ACTIVATE_FAILED = 457
CBT_DEACTIVATE_FAILED = 458
CBT_INCONSISTENT = 459
CBT_CHANGED_BLOCKS = 460
IO_ERROR = 200
GENERAL_ERROR = 202
INVALID_LOCAL_PATH = 226

_TEXTS = {
    SR_IN_USE: "The SR is in use",
    SCAN_FAILED: "The SR scan failed ",
    SR_EXISTS: "The SR already exists",
    VDI_EXISTS: "The VDI already exists",
    NO_SPACE: "There is insufficient space",
    VDI_UNAVAILABLE: "The VDI is not available",
    SR_UNAVAILABLE: "The SR is not available",
    VDI_LOAD_FAILED: "Failed to load VDI",
    NFS_MOUNT_FAILED: "NFS mount error",
    VDI_CREATE_FAILED: "VDI Creation failed",
    INVALID_SIZE: "VDI Invalid size",
    DELETE_FAILED: "Failed to mark VDI hidden",
    CLONE_FAILED: "Failed to clone VDI",
    SNAPSHOT_FAILED: "Failed to snapshot VDI",
    DEVICE_MISSING: "The request is missing the device parameter",
    LOCATION_MISSING: "The request is missing the location parameter",
    SERVERPATH_MISSING: "The request is missing the serverpath parameter",
    SERVER_MISSING: "The request is missing the server parameter",
    CHAIN_TOO_LONG: "The snapshot chain is too long",
    RESIZE_FAILED: "Failed to resize VDI",
    CBT_ACTIVATE_FAILED: "Unable to activate changed block tracking.",
    CBT_DEACTIVATE_FAILED: "Unable to deactivate changed block tracking.",
    CBT_INCONSISTENT: "Changed block tracking log is in an inconsistent state.",
    CBT_CHANGED_BLOCKS: "Failed to calculate changed blocks for given VDIs.",
    IO_ERROR: "I/O Error",
    GENERAL_ERROR: "General backend error",
    INVALID_LOCAL_PATH: "Invalid local path",
}


def backend_failure(number: int, detail: str = "", listing: str = "") -> ApiError:
    """The error of a storage manager, with its standard text; ``listing`` is what a probe found on its way."""
    text = _TEXTS[number]
    return ApiError(f"SR_BACKEND_FAILURE_{number}", "", f"{text} [opterr={detail}]" if detail else text, listing)
