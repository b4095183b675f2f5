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
"""A running pool: the store and the parts that act on it. Built by :mod:`xapikit.host.embedded`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xapikit.host.context import Operations
from xapikit.host.settings import HostSettings
from xapikit.host.store import Row, Store


@dataclass
class HostAddress:
    """Where one host of the pool is reached."""

    ref: str
    address: str
    http_port: int | None = None
    https_port: int | None = None


class Pool:
    """What ``ctx.pool`` is. ``storage`` and ``domains`` are set before the first call is served."""

    def __init__(self, store: Store, settings: HostSettings) -> None:
        self.store = store
        self.settings = settings
        self.operations = Operations(store)
        self.hosts: dict[str, HostAddress] = {}
        """By host reference."""
        self.storage: Any = None
        self.domains: Any = None

    @property
    def ref(self) -> str:
        """Reference of the pool object."""
        return next(iter(self.store.all("pool")))

    @property
    def row(self) -> Row:
        return self.store.get("pool", self.ref)

    @property
    def coordinator(self) -> str:
        """Reference of the host that answers for the pool."""
        master: str = self.row["master"]
        return master

    @property
    def state(self) -> Path:
        return self.settings.state
