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
"""The keys by which VDIs of images and locks of imports are known, in ``other_config`` of VDI and SR.

``VDI.clone`` copies ``other_config``, so a base copy carries its own uuid; where the key names another, it is a clone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from nova_xapi.marks import BASE

#: id of the Glance image (the historic driver's key: its tools find these VDIs, too)
IMAGE: Final = "image-id"
#: seconds since 1970 as text, likewise historic
CACHED: Final = "cached-time"
#: ``service/run/number``: data is being written by that run of that service
IMPORTING: Final = "nova_xapi_importing"
#: MD5 of the image as Glance has it
CHECKSUM: Final = "nova_xapi_image_checksum"
#: bytes of the image's disk; the VDI may be larger, it has whole blocks
SIZE: Final = "nova_xapi_image_size"

LOCK: Final = "nova_xapi_import:"
BEAT: Final = "nova_xapi_import_beat:"


def is_base(record: Mapping[str, Any]) -> bool:
    """Whether a VDI is a complete base copy."""
    return bool(record["uuid"]) and record["other_config"].get(BASE) == record["uuid"]


def importer_of(record: Mapping[str, Any]) -> tuple[str, str] | None:
    """Service and run that write (or wrote) a VDI that is not complete; None for all other VDIs."""
    value = record["other_config"].get(IMPORTING, "")
    if value.count("/") < 2:
        return None
    service, run, _ = value.rsplit("/", 2)
    return service, run


__all__ = ["BASE", "BEAT", "CACHED", "CHECKSUM", "IMAGE", "IMPORTING", "LOCK", "SIZE", "importer_of", "is_base"]
