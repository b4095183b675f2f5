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
"""VHD files and chains: create, read, write, resize, inspect, coalesce, and stream without seeking.

Dynamic and differencing VHDs up to 2040 GiB as XAPI hosts keep them. Imports nothing else of ours and needs only the
standard library. `stream` converts between raw, VHD and chains in one pass; `inspect` refuses images by name.
"""

from . import inspect, stream
from .chain import Disk, open_chain
from .errors import (
    ChainTooDeep,
    DiskBusy,
    DiskReadOnly,
    OutOfRange,
    ParentMismatch,
    ParentMissing,
    Reason,
    SizeRefused,
    VhdError,
    VhdRejected,
)
from .files import VhdInfo, coalesce, create, info, resize, set_hidden, set_parent
from .format import BLOCK_SIZE, MAX_VIRTUAL_SIZE, SECTOR, DiskType

__all__ = [
    "BLOCK_SIZE",
    "MAX_VIRTUAL_SIZE",
    "SECTOR",
    "ChainTooDeep",
    "Disk",
    "DiskBusy",
    "DiskReadOnly",
    "DiskType",
    "OutOfRange",
    "ParentMismatch",
    "ParentMissing",
    "Reason",
    "SizeRefused",
    "VhdError",
    "VhdInfo",
    "VhdRejected",
    "coalesce",
    "create",
    "info",
    "inspect",
    "open_chain",
    "resize",
    "set_hidden",
    "set_parent",
    "stream",
]
