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
"""Where image data comes from: Glance, through Nova's own image API.

Answers the bytes as an iterator and leaves what is done with them to `nova_xapi.image.stages`. Whatever goes wrong on
the way becomes one of `nova_xapi.image.errors`.
"""

from __future__ import annotations

import errno
import functools
import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

import nova.conf
from cryptography.exceptions import InvalidSignature
from glanceclient.common import utils as glance_utils
from nova import exception
from nova.image import glance

from .errors import ImageFetchFailed, ImageRefused
from .stages import pulled

CONF = nova.conf.CONF


class ImageBody:
    """The data of one image. Iterate once, then (or instead) close."""

    def __init__(self, image_id: str, body: Any) -> None:
        self.image_id = image_id
        self._chunks = iter(body)
        generator = getattr(body, "iterable", body)
        self._generator = generator if inspect.isgenerator(generator) else None

    @property
    def verifies_itself(self) -> bool:
        """Whether glanceclient compares the hash while it delivers, so that doing it again would be work for nothing.

        It does so by default, but not for images without a hash, nor is there a public way to ask.
        """
        checking = {glance_utils.integrity_iter.__code__, glance_utils.serious_integrity_iter.__code__}
        return self._generator is not None and self._generator.gi_code in checking

    def __iter__(self) -> Iterator[bytes]:
        """Raises ImageFetchFailed, and ImageRefused when the bytes have another hash than Glance's record."""
        try:
            yield from self._chunks
        except OSError as error:  # those of requests and urllib3 are OSErrors, too
            if error.errno == errno.EPIPE and str(error.strerror or "").startswith("Corrupt image"):
                raise ImageRefused(self.image_id, "hash", str(error.strerror)) from error
            raise ImageFetchFailed(self.image_id, f"the data broke off: {error}") from error

    def close(self) -> None:
        """Give the connection up. The body must not be iterated by another thread at that moment."""
        if self._generator is not None:
            self._generator.close()


class ImageSource(Protocol):
    """What the importer needs of an image service."""

    def record(self, context: Any, image_id: str) -> Mapping[str, Any]:
        """The image's record."""

    def open(self, context: Any, image_id: str, trusted_certs: Any = None) -> ImageBody:
        """The image's data, signed by one of ``trusted_certs`` if there are such."""


class GlanceSource:
    """Glance as the compute service's own configuration ``[glance]`` finds it, with the user's token."""

    def record(self, context: Any, image_id: str) -> Mapping[str, Any]:
        """Raises Nova's ImageNotFound, ImageNotAuthorized, GlanceConnectionFailed."""
        return glance.API().get(context, image_id)

    def open(self, context: Any, image_id: str, trusted_certs: Any = None) -> ImageBody:
        """Raises ImageRefused when the image has no data, otherwise as `record`.

        Where the signature is to be verified, nothing is raised here but while the body is read; by Nova's client,
        which does so only for data that it writes itself.
        """
        if trusted_certs or CONF.glance.verify_glance_signatures:
            write = functools.partial(_download, context, image_id, trusted_certs)
            return ImageBody(image_id, pulled(write, name="image-verifier"))
        try:
            body = glance.API().download(context, image_id)
        except exception.ImageUnacceptable as error:
            raise ImageRefused(image_id, "no-data", str(error)) from error
        if body is None:
            raise ImageRefused(image_id, "no-data", "the image has no data")
        return ImageBody(image_id, body)


class _Sink:
    """What Nova's client takes for a file."""

    def __init__(self, put: Callable[[bytes], None]) -> None:
        self.write = put

    def truncate(self, size: int) -> None:
        """Called for data that proved false; the exception that follows ends them here."""


def _download(context: Any, image_id: str, trusted_certs: Any, put: Callable[[bytes], None]) -> None:
    try:
        glance.API().download(context, image_id, data=_Sink(put), trusted_certs=trusted_certs)
    except InvalidSignature as error:
        raise ImageRefused(image_id, "signature", "its data are not what was signed") from error
    except exception.ImageUnacceptable as error:
        raise ImageRefused(image_id, "no-data", str(error)) from error
