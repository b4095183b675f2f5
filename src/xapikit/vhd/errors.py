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
"""What can be wrong with a VHD, by name.

Two families: `VhdRejected` says that bytes are not the VHD they claim to be (its `reason` is a stable name for logs,
tests and messages to users); the others say that a sound VHD cannot be used the way that was asked.
"""

from enum import Enum
from pathlib import Path


class Reason(str, Enum):
    """Why bytes were refused; the value is what appears in messages."""

    NOT_VHD = "not-a-vhd"
    OTHER_FORMAT = "other-format"
    NOT_ISO = "not-an-iso"
    CHECKSUM = "checksum"
    VERSION = "version"
    TYPE = "disk-type"
    FOOTERS_DIFFER = "footers-differ"
    FIXED_FOOTER = "fixed-footer"
    SIZE_LIMIT = "size-limit"
    BLOCK_SIZE = "block-size"
    TABLE_SIZE = "table-size"
    TABLE_POSITION = "table-position"
    BLOCK_OVERLAP = "block-overlap"
    BLOCK_OUTSIDE = "block-outside"
    BLOCK_ORDER = "block-order"
    PARENT_LOCATOR = "parent-locator"
    DIFFERENCING = "differencing"
    TRUNCATED = "truncated"
    TRAILING_DATA = "trailing-data"

    def __str__(self) -> str:
        return self.value


class VhdError(Exception):
    """Base of everything this package raises on purpose."""


class VhdRejected(VhdError):
    """The bytes are not a sound VHD (or not the raw or ISO image they claim to be)."""

    def __init__(self, reason: Reason, detail: str, path: Path | None = None) -> None:
        self.reason = reason
        self.detail = detail
        self.path = path
        super().__init__(f"{reason}: {detail}" if path is None else f"{path}: {reason}: {detail}")


class SizeRefused(VhdError):
    """A virtual size that this format (or this disk) cannot have."""

    def __init__(self, size: int, why: str) -> None:
        self.size = size
        super().__init__(f"virtual size {size} bytes: {why}")


class ParentMissing(VhdError):
    """The parent that a differencing VHD names cannot be opened."""

    def __init__(self, path: Path, parent_name: str, why: str) -> None:
        self.path = path
        self.parent_name = parent_name
        super().__init__(f"{path}: parent {parent_name!r}: {why}")


class ParentMismatch(VhdError):
    """The file under the parent's name is not the parent that the child was made on."""

    def __init__(self, path: Path, parent: Path, found: str, wanted: str) -> None:
        self.path = path
        self.parent = parent
        super().__init__(
            f"{path}: its parent has unique id {wanted}, but {parent} has {found}; it needs another parent (set_parent)"
        )


class ChainTooDeep(VhdError):
    """More levels than any chain has: a loop, or something hostile."""

    def __init__(self, path: Path, depth: int) -> None:
        super().__init__(f"{path}: more than {depth} levels; do the parents form a loop?")


class DiskBusy(VhdError):
    """Someone else has the file open for writing."""

    def __init__(self, path: Path) -> None:
        self.path = path
        super().__init__(f"{path}: open for writing elsewhere; close that first")


class DiskReadOnly(VhdError):
    """A write to a disk that was opened read-only."""

    def __init__(self, path: Path) -> None:
        super().__init__(f"{path}: opened read-only")


class OutOfRange(VhdError):
    """An access beyond the virtual size."""

    def __init__(self, path: Path, offset: int, length: int, size: int) -> None:
        super().__init__(f"{path}: bytes {offset} to {offset + length} of a disk of {size} bytes")
