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
"""What Glance says about an image, and whether this driver takes such images.

Nothing here is believed: `nova_xapi.image.stages` compares each claim with the bytes that come.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .errors import UnsupportedImage


class Kind(enum.Enum):
    """How the image gets into an SR and what it becomes; the value is Glance's ``disk_format``."""

    #: a dynamic VHD that stands alone, sent as it is
    VHD = "vhd"
    #: plain disk contents; zeros are not sent
    RAW = "raw"
    #: a CD, attached beside a blank root disk
    ISO = "iso"


@dataclass(frozen=True, slots=True)
class HashClaim:
    """What the bytes of the image shall hash to."""

    algorithm: str
    hexdigest: str


@dataclass(frozen=True, slots=True)
class Image:
    """An image that this driver takes."""

    id: str
    name: str
    kind: Kind
    #: bytes of the image's data, 0 when Glance does not say
    size: int
    #: best first; empty when Glance has none
    claims: tuple[HashClaim, ...]

    @property
    def checksum(self) -> str:
        """The MD5 that Glance has for all images, "" when it has none: what tells two contents of one id apart."""
        return next((claim.hexdigest for claim in self.claims if claim.algorithm == "md5"), "")


_FIELDS = ("id", "name", "disk_format", "container_format", "size", "checksum")


def describe(record: Mapping[str, Any]) -> Image:
    """Read an image record as ``nova.image.glance.API().get`` answers it.

    Raises UnsupportedImage, naming what is supported.
    """
    image_id = str(record.get("id") or "")
    disk, container = record.get("disk_format") or "", record.get("container_format") or ""
    try:
        kind = Kind(disk)
    except ValueError:
        raise UnsupportedImage(_refusal(image_id, f"disk_format {disk!r}")) from None
    if container not in ("", "bare"):
        raise UnsupportedImage(_refusal(image_id, f"container_format {container!r}"))
    claims = []
    if record.get("os_hash_algo") and record.get("os_hash_value"):
        claims.append(HashClaim(str(record["os_hash_algo"]), str(record["os_hash_value"])))
    if record.get("checksum"):
        claims.append(HashClaim("md5", str(record["checksum"])))
    return Image(image_id, str(record.get("name") or ""), kind, int(record.get("size") or 0), tuple(claims))


def describe_meta(image_meta: Any) -> Image:
    """Read a ``nova.objects.ImageMeta``; it knows of no hash but MD5. Raises UnsupportedImage."""
    return describe({name: getattr(image_meta, name) for name in _FIELDS if image_meta.obj_attr_is_set(name)})


def _refusal(image_id: str, what: str) -> str:
    kinds = ", ".join(kind.value for kind in Kind)
    return f"Image {image_id} has {what}; supported are disk_format {kinds} with container_format bare"
