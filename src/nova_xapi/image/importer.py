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
"""One image into one new VDI: the flow of `nova_xapi.image.stages` from Glance to ``import_raw_vdi``.

Knows nothing of caches and locks. Either the VDI is complete and proven when it returns, or there is none.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from nova import exception

from nova_xapi.storage import vdi
from xapikit.client import XapiClient
from xapikit.client.errors import ClientError, SrBackendFailure, XapiError

from . import marks
from .description import Image, Kind, describe
from .errors import ImageTooLarge, ImportFailed, StorageFull
from .source import ImageSource
from .stages import Inspected, Verified, ahead, extents

_FULL: Final = "SR_FULL"
_NO_SPACE: Final = 44


@dataclass(frozen=True, slots=True)
class Imported:
    """A new VDI with the image's contents."""

    ref: str
    image: Image
    #: bytes of the image's disk
    virtual_size: int


class Importer:
    """Imports for one service. ``run`` tells one start of the service from the next."""

    def __init__(self, client: XapiClient, source: ImageSource, service: str, run: str) -> None:
        self._client = client
        self._source = source
        self._owner = f"{service}/{run}"
        self._numbers = itertools.count(1)

    def import_image(
        self,
        context: Any,
        image_id: str,
        sr: str,
        *,
        root_bytes: int,
        label: str,
        other_config: Mapping[str, str],
        trusted_certs: Any = None,
    ) -> Imported:
        """Import into a new VDI of the SR, marked as being imported until the caller marks it otherwise.

        ``root_bytes``: what the flavor's root disk holds, 0 for as much as the image needs. It is compared before the
        VDI is made. ``trusted_certs``: Nova's TrustedCerts, one of which must have signed the image. Raises
        UnsupportedImage, ImageTooLarge, ImageRefused, ImageFetchFailed, StorageFull, ImportFailed, Nova's
        ImageNotFound, ImageNotAuthorized, ImageNotActive, GlanceConnectionFailed, CertificateValidationFailed, and
        cursive's SignatureVerificationError.
        """
        record = self._source.record(context, image_id)
        image = describe(record)
        if record.get("status", "active") != "active":
            raise exception.ImageNotActive(image_id=image_id)
        body = self._source.open(context, image_id, trusted_certs)
        verified = Verified(body, image, hashing=not body.verifies_itself)
        flow = Inspected(ahead(verified, body.close), image)
        try:
            size = flow.virtual_size()
            if root_bytes and size > root_bytes and image.kind is not Kind.ISO:
                raise ImageTooLarge(image_id, size, root_bytes)
            ref = self._create(image, sr, size, label, other_config)
            with self._undone_on_failure(ref), self._told_plainly(image, sr):
                self._send(ref, image, flow)
            return Imported(ref, image, size)
        finally:
            flow.close()

    def _send(self, ref: str, image: Image, flow: Inspected) -> None:
        data = iter(flow)
        if image.kind is Kind.VHD:
            self._client.import_vdi(ref, data, image.size or None, format="vhd")
        else:
            self._client.import_extents(ref, extents(data))
        # a server may be content before the last byte was looked at here; this image is not
        for _ in data:
            pass

    def _create(self, image: Image, sr: str, size: int, label: str, other_config: Mapping[str, str]) -> str:
        mark = f"{self._owner}/{next(self._numbers)}"
        record = {
            "name_label": label,
            "name_description": image.name,
            "SR": sr,
            "virtual_size": size,
            "other_config": {**other_config, marks.IMPORTING: mark},
        }
        with self._told_plainly(image, sr):
            return vdi.create(self._client, record, marks.IMPORTING)

    @contextmanager
    def _undone_on_failure(self, ref: str) -> Iterator[None]:
        try:
            yield
        except BaseException:
            vdi.discard(self._client, ref)
            raise

    @contextmanager
    def _told_plainly(self, image: Image, sr: str) -> Iterator[None]:
        """Errors of the host, as what they mean for the image."""
        try:
            yield
        except XapiError as error:
            name, room = self._room(sr)
            if error.code == _FULL or (isinstance(error, SrBackendFailure) and error.number == _NO_SPACE):
                raise StorageFull(image.id, name, f"{error} ({room})") from error
            raise ImportFailed(image.id, name, f"{error} ({room})") from error
        except ClientError as error:
            raise ImportFailed(image.id, self._room(sr)[0], str(error)) from error

    def _room(self, sr: str) -> tuple[str, str]:
        record = self._client.cache.get("SR", sr)
        if record is None:
            return sr, "the SR is gone"
        free = int(record["physical_size"]) - int(record["physical_utilisation"])
        return str(record["name_label"]), f"{free} bytes were free at the host's last count"
