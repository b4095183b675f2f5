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
"""One base copy per image and SR: found without a call, imported once however many ask for it at once.

Inside a service the first to ask imports and the others wait for him; between the services of a pool
`nova_xapi.image.lock` decides. A base copy is a VDI with the marks of `nova_xapi.image.marks`; disks of servers are
clones of it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, TypeVar

from nova import exception
from oslo_log import log as logging

from nova_xapi.storage import vdi
from xapikit.client import Record, XapiClient

from . import marks
from .description import Image, Kind, describe, describe_meta
from .errors import ImageTooLarge, ImportLost
from .importer import Imported, Importer
from .lock import LEASE, ImportLock
from .source import GlanceSource, ImageSource

T = TypeVar("T")
LOG = logging.getLogger(__name__)

GIB = 1 << 30
#: seconds for the event cache to show what was just done
STEP = 60.0

#: says something about who asked, or for which flavor, and nothing to others who wait for the same image
_PERSONAL = (
    ImageTooLarge,
    exception.ImageNotAuthorized,
    exception.ImageNotFound,
    exception.CertificateValidationFailed,
)


@dataclass(frozen=True, slots=True)
class Base:
    """A base copy: clone it, do not attach it."""

    ref: str
    uuid: str
    kind: Kind
    #: bytes of the image's disk; `vdi_size` may be larger, VDIs have whole blocks
    virtual_size: int
    vdi_size: int


class ImageCache:
    """The base copies that one service uses."""

    def __init__(
        self, client: XapiClient, service: str, run: str, source: ImageSource | None = None, lease: float = LEASE
    ) -> None:
        """``service`` names this compute service in the pool, ``run`` this start of it."""
        self._client = client
        self._service = service
        self._run = run
        self._source = source or GlanceSource()
        self._importer = Importer(client, self._source, service, run)
        self._lock = ImportLock(client, service, run, lease)
        self._guard = threading.Lock()
        self._known: dict[tuple[str, str], str] = {}
        self._flights: dict[tuple[str, str], Future[Base]] = {}

    def provide(self, context: Any, image_meta: Any, sr: str, root_gb: int, *, trusted_certs: Any = None) -> Base:
        """The base copy of an image on an SR (reference); no call at all when it is there.

        ``root_gb``: the flavor's root disk in GiB, 0 for as large as the image. ``trusted_certs`` are proven when the
        image is imported, not again for a base copy that is there. Raises what `Importer.import_image` raises, and
        what calls to the host raise.
        """
        return self._provide(context, describe_meta(image_meta), sr, root_gb * GIB, trusted_certs)

    def fetch(self, context: Any, image_id: str, sr: str) -> bool:
        """Have a base copy ready before anybody needs it; False when there was one already. Raises as `provide`."""
        image = describe(self._source.record(context, image_id))
        if self.find(image, sr) is not None:
            return False
        self._provide(context, image, sr, 0, None)
        return True

    def _provide(self, context: Any, image: Image, sr: str, root_bytes: int, trusted_certs: Any) -> Base:
        while True:
            base = self.find(image, sr)
            if base is None:
                flight, leads = self._board(image.id, sr)
                if leads:
                    base = self._lead(flight, context, image, sr, root_bytes, trusted_certs)
                else:
                    try:
                        base = flight.result()
                    except _PERSONAL:
                        continue
            return _fitting(base, image, root_bytes)

    def provide_private(
        self,
        context: Any,
        image_meta: Any,
        sr: str,
        root_gb: int,
        *,
        label: str,
        other_config: Mapping[str, str],
        trusted_certs: Any = None,
    ) -> Base:
        """The image in a new VDI that is the caller's own, past the cache; ``other_config`` tells whose.

        Six calls. Otherwise as `provide`; attach it, nobody else has it.
        """
        image = describe_meta(image_meta)
        imported = self._importer.import_image(
            context,
            image.id,
            sr,
            root_bytes=root_gb * GIB,
            label=label,
            other_config=other_config,
            trusted_certs=trusted_certs,
        )
        try:
            self._client.call("VDI.remove_from_other_config", imported.ref, marks.IMPORTING)
            record = _there(self._client.cache.wait_for(lambda cache: cache.get("VDI", imported.ref), STEP))
        except BaseException:
            vdi.discard(self._client, imported.ref)
            raise
        return Base(imported.ref, record["uuid"], image.kind, imported.virtual_size, int(record["virtual_size"]))

    def find(self, image: Image, sr: str) -> Base | None:
        """The base copy, if there is one; asks the event cache alone."""
        # where it was last time, checked: a pool may have more VDIs than one wants to look through for each server
        known = self._known.get((image.id, sr))
        record = self._client.cache.get("VDI", known) if known else None
        if known and record is not None and record["SR"] == sr and _is_base_of(record, image):
            return _base(known, record, image)
        found = [
            (record["other_config"].get(marks.CACHED, ""), record["uuid"], ref, record)
            for ref, record in self._client.cache.find("VDI", SR=sr).items()
            if _is_base_of(record, image)
        ]
        if not found:
            return None
        # there may be two for a moment when a service came back from the dead; all take the same one
        _, _, ref, record = min(found, key=lambda one: one[:3])
        self._known[image.id, sr] = ref
        return _base(ref, record, image)

    def reap(self) -> int:
        """Remove what earlier runs of this service left half done; answers how many VDIs and locks.

        To be called once, when the service starts.
        """
        reaped = 0
        for ref, record in self._client.cache.records("VDI").items():
            owner = marks.importer_of(record)
            if owner is not None and owner[0] == self._service and owner[1] != self._run:
                LOG.info("removing VDI %s of an import that was cut short", record["uuid"])
                reaped += vdi.discard(self._client, ref)
        return reaped + self._lock.reap()

    # -------------------------------------------------------------------------------------------- importing

    def _board(self, image_id: str, sr: str) -> tuple[Future[Base], bool]:
        with self._guard:
            flight = self._flights.get((image_id, sr))
            if flight is not None:
                return flight, False
            self._flights[image_id, sr] = flight = Future()
            return flight, True

    def _lead(
        self, flight: Future[Base], context: Any, image: Image, sr: str, root_bytes: int, trusted_certs: Any
    ) -> Base:
        try:
            base = self._obtain(context, image, sr, root_bytes, trusted_certs)
        except BaseException as error:
            self._land(image.id, sr)
            flight.set_exception(error)
            raise
        self._land(image.id, sr)
        flight.set_result(base)
        return base

    def _land(self, image_id: str, sr: str) -> None:
        # before the future is set: who asks after that finds the base copy, or starts anew
        with self._guard:
            del self._flights[image_id, sr]

    def _obtain(self, context: Any, image: Image, sr: str, root_bytes: int, trusted_certs: Any) -> Base:
        with self._lock.held(image.id, sr, lambda: self.find(image, sr)) as outcome:
            if outcome.found is not None:
                return outcome.found
            assert outcome.held is not None
            self._clear(image, sr)
            began = time.monotonic()
            imported = self._importer.import_image(
                context,
                image.id,
                sr,
                root_bytes=root_bytes,
                label=f"Glance Image {image.id}",
                other_config={marks.IMAGE: image.id},
                trusted_certs=trusted_certs,
            )
            try:
                if outcome.held.lost:
                    raise ImportLost(image.id, sr)
                base = self._publish(imported, image)
                self._clear(image, sr)  # a VDI.create that was given up may have come late
            except BaseException:
                vdi.discard(self._client, imported.ref)
                raise
            LOG.info("image %s imported in %.1f s as VDI %s", image.id, time.monotonic() - began, base.uuid)
            return base

    def _publish(self, imported: Imported, image: Image) -> Base:
        """Mark as complete, in one call: who looks sees either a VDI under way or a base copy."""
        ref = imported.ref
        record = _there(self._client.cache.wait_for(lambda cache: cache.get("VDI", ref), STEP))
        config = {
            marks.IMAGE: image.id,
            marks.CACHED: str(int(time.time())),
            marks.BASE: record["uuid"],
            marks.SIZE: str(imported.virtual_size),
            marks.CHECKSUM: imported.image.checksum,
        }
        self._client.call("VDI.set_other_config", ref, config)
        return _there(self._client.cache.wait_for(lambda _: self.find(image, record["SR"]), STEP))

    def _clear(self, image: Image, sr: str) -> None:
        """Remove what died half done: whoever holds the lock is the only one who may be importing."""
        for ref, record in self._client.cache.find("VDI", SR=sr).items():
            if record["other_config"].get(marks.IMAGE) == image.id and marks.importer_of(record) is not None:
                LOG.info("removing VDI %s, an import of image %s that was cut short", record["uuid"], image.id)
                vdi.discard(self._client, ref)


def _there(value: T | None) -> T:
    """What `EventCache.wait_for` answers is true, which its type cannot tell."""
    assert value is not None
    return value


def _base(ref: str, record: Record, image: Image) -> Base:
    vdi_size = int(record["virtual_size"])
    size = int(record["other_config"].get(marks.SIZE) or vdi_size)
    return Base(ref, record["uuid"], image.kind, size, vdi_size)


def _is_base_of(record: Record, image: Image) -> bool:
    config = record["other_config"]
    if config.get(marks.IMAGE) != image.id or not marks.is_base(record) or record["missing"] or not record["managed"]:
        return False
    # an id is never used for other data, unless somebody rebuilt the image service: do not serve the old one then
    known = config.get(marks.CHECKSUM, "")
    return not known or not image.checksum or known == image.checksum


def _fitting(base: Base, image: Image, root_bytes: int) -> Base:
    if root_bytes and base.kind is not Kind.ISO and base.virtual_size > root_bytes:
        raise ImageTooLarge(image.id, base.virtual_size, root_bytes)
    return base
