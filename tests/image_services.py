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
"""Compute services as far as images are concerned: a client of a pool and a cache of base copies."""

import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from nova import objects

from glance_server import StoredImage
from nova_xapi.image.cache import ImageCache
from xapikit.client import TlsPolicy, XapiClient
from xapikit.host import EmbeddedHost

CLASSES = ("pool", "host", "SR", "VDI", "VM", "VBD", "console")


@dataclass
class Service:
    """What a compute service has of a pool, without Nova around it."""

    client: XapiClient
    name: str
    run: str

    def images(self, **options: Any) -> ImageCache:
        return ImageCache(self.client, self.name, self.run, **options)

    def sr(self, number: int = 0) -> str:
        """Reference of the local SR of a host of the pool, the coordinator's first."""
        (pool,) = self.client.cache.records("pool").values()
        found = [ref for ref, row in self.client.cache.records("SR").items() if row["type"] == "ext"]
        return sorted(found, key=lambda ref: ref != pool["default_SR"])[number]

    def vdis(self) -> dict[str, Any]:
        """What the host has now."""
        records: dict[str, Any] = self.client.call("VDI.get_all_records")
        srs = {self.sr(0), self.sr(1)}
        return {ref: record for ref, record in records.items() if record["SR"] in srs}


ServiceFactory = Callable[..., Service]


@contextmanager
def services(host: EmbeddedHost) -> Iterator[ServiceFactory]:
    """``with services(host) as start: a = start("a")``: services whose clients are closed at the end."""
    with ExitStack() as closing:

        def start(name: str = "a") -> Service:
            client = XapiClient(
                host.urls[0],
                username=host.username,
                password=host.password,
                originator=f"nova-xapi:{name}",
                tls=TlsPolicy(fingerprint=host.fingerprint) if host.urls[0].startswith("https") else None,
                cache_classes=CLASSES,
            )
            closing.callback(client.close)
            client.connect()
            client.cache.start()
            return Service(client, name, uuid.uuid4().hex)

        yield start


def meta_of(image: StoredImage) -> Any:
    """The image as Nova hands it to a driver."""
    return objects.ImageMeta.from_dict(image.record)
