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
"""File names inside an SR directory, and the promise that no name leads out of it.

A VDI is ``<uuid>.vhd``, with ``<uuid>.cbtlog`` when its changes are tracked, or, in an ISO SR, any ``*.iso`` or
``*.img``; everything else in the directory is ignored by scans: names of our own start with a dot (wire reference 4.4).
"""

from __future__ import annotations

import re
from pathlib import Path

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_LOCATION = re.compile(r"[^/\x00]{1,255}")

VHD_SUFFIX = ".vhd"
CBT_SUFFIX = ".cbtlog"
ISO_SUFFIXES = (".iso", ".img")


def is_uuid(text: str) -> bool:
    """Whether ``text`` is a uuid as XAPI writes them: lower case, with dashes."""
    return _UUID.fullmatch(text) is not None


def vhd_path(directory: Path, uuid: str) -> Path:
    """Path of a VHD in an SR directory. Raises ValueError for anything but a uuid."""
    if not is_uuid(uuid):
        raise ValueError(f"{uuid!r} is not the uuid of a VDI")
    return directory / (uuid + VHD_SUFFIX)


def vhd_uuid(name: str) -> str | None:
    """The uuid that a file name stands for, or None when the file is no VDI of a file based SR."""
    return _stem(name, VHD_SUFFIX)


def cbt_uuid(name: str) -> str | None:
    """The uuid of the VDI whose changed-block log has that file name, or None when it is no such log."""
    return _stem(name, CBT_SUFFIX)


def _stem(name: str, suffix: str) -> str | None:
    stem = name.removesuffix(suffix)
    return stem if stem != name and is_uuid(stem) else None


def iso_path(directory: Path, location: str) -> Path:
    """Path of a file of an ISO SR. Raises ValueError for a name that is not one plain ``*.iso`` or ``*.img``."""
    if not is_iso_name(location):
        raise ValueError(f"{location!r} is not the name of a file of an ISO SR")
    return directory / location


def is_iso_name(name: str) -> bool:
    """Whether a scan of an ISO SR shows a file of that name.

    One that no protocol could carry (control characters, bytes that are no UTF-8) is not shown.
    """
    plain = _LOCATION.fullmatch(name) is not None and name.isprintable() and not name.startswith(".")
    return plain and name.lower().endswith(ISO_SUFFIXES)
