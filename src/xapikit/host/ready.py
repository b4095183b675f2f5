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
"""What a running pool tells of itself, to people, tests and programs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from xapikit.host.embedded import EmbeddedHost


@dataclass(frozen=True)
class HostInfo:
    """One host of the pool, for people and tests."""

    ref: str
    uuid: str
    name: str
    address: str
    http_url: str | None
    https_url: str | None

    @property
    def url(self) -> str:
        """https where it is served."""
        return self.https_url or self.http_url or ""


def running(xapi: EmbeddedHost) -> dict[str, Any]:
    """What ``xapi-host serve --json`` prints."""
    return {
        "ready": True,
        "urls": xapi.urls,
        "hosts": [
            {
                "name": host.name,
                "uuid": host.uuid,
                "address": host.address,
                "url": host.url,
                "http": host.http_url,
                "https": host.https_url,
            }
            for host in xapi.hosts
        ],
        "fingerprint": xapi.fingerprint,
        "user": xapi.username,
        "state": str(xapi.settings.state),
    }
