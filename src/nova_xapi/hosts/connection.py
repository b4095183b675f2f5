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
"""The connection of one compute service: client, event cache, and the one XAPI host it is bound to.

It is what every operation gets. Records come from the cache; a call is made only to change something or where the
host itself must be asked.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, TypeVar

from nova import exception

from nova_xapi.errors import HostRefused
from nova_xapi.hosts import binding
from nova_xapi.marks import Maker
from nova_xapi.running import Running
from nova_xapi.settings import Settings
from xapikit.client import EventCache, Record, XapiClient
from xapikit.client import errors as xapi

LOG = logging.getLogger(__name__)
T = TypeVar("T")

CACHED_CLASSES: Final = (
    "pool", "host", "host_metrics", "SR", "PBD", "network", "VM", "VBD", "VIF", "VDI", "console",
)  # fmt: skip
LOAD_TIMEOUT: Final = 120.0
SEEN_TIMEOUT: Final = 30.0
"""How long the cache may take to show an effect that the server has confirmed."""
IN_STEP_TIMEOUT: Final = 60.0
"""How long an operation waits for a cache that is out of step, as while the toolstack restarts."""
WORKERS: Final = 8


class HostConnection:
    """Made and opened by ``init_host``; closed by ``cleanup_host``."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.client = XapiClient(
            settings.urls,
            username=settings.username,
            password=settings.password,
            originator=f"nova-xapi:{settings.host}",
            tls=settings.tls,
            call_timeout=settings.call_timeout,
            connections=settings.connections,
            addresses=settings.addresses,
            cache_classes=CACHED_CLASSES,
        )
        self.workers = ThreadPoolExecutor(WORKERS, thread_name_prefix="xapi-calls")
        """For calls of one operation that do not depend on each other."""
        self._host_ref = ""
        self.host_uuid = ""
        """Of the host bound; empty before :meth:`open`."""
        self.maker = Maker(settings.host, "")
        self.running = Running()

    def __repr__(self) -> str:
        return f"<HostConnection of {self.settings.host} to host {self.host_uuid or '(none yet)'}>"

    # ---------------------------------------------------------------------------------------------- life

    def open(self) -> None:
        """Log in, fill the cache, bind to the host. Raises HostRefused, saying what is wrong and what to do."""
        try:
            binding.log_in(self.client, self.settings)
            try:
                self.client.cache.start(LOAD_TIMEOUT)
            except xapi.ClientError as error:
                raise HostRefused(
                    f"The XAPI host at {self.settings.urls[0]} does not deliver events: {error}"
                ) from error
            ref, record = binding.find_host(self.cache, self.settings)
            binding.check_usable(self.cache, record)
        except BaseException:
            self.close()
            raise
        self._host_ref, self.host_uuid = ref, record["uuid"]
        self.maker = Maker(self.settings.host, self.host_uuid)
        LOG.info("bound to host %s (%s) at %s", record["name_label"], self.host_uuid, self.client.endpoint)

    def close(self) -> None:
        """Log out and stop all threads. Operations under way fail."""
        self.client.close()
        self.workers.shutdown(wait=False, cancel_futures=True)

    # ------------------------------------------------------------------------------------------- reading

    @property
    def cache(self) -> EventCache:
        return self.client.cache

    @property
    def host_ref(self) -> str:
        """Reference of the host bound."""
        found = self.cache.by_uuid("host", self.host_uuid)
        return found[0] if found else self._host_ref

    @property
    def host(self) -> Record:
        """Record of the host bound. Raises VirtDriverNotReady when the cache has none."""
        found = self.cache.by_uuid("host", self.host_uuid)
        if found is None:
            raise exception.VirtDriverNotReady()
        return found[1]

    @property
    def pool(self) -> Record:
        """Record of the pool. Raises VirtDriverNotReady when the cache has none."""
        record = next(iter(self.cache.records("pool").values()), None)
        if record is None:
            raise exception.VirtDriverNotReady()
        return record

    def require_in_step(self) -> EventCache:
        """The cache, for answers that must not be of the past. Raises VirtDriverNotReady."""
        if not self.host_uuid or not self.cache.in_step:
            raise exception.VirtDriverNotReady()
        return self.cache

    def await_in_step(self) -> EventCache:
        """The cache, once it is in step: for operations, which can wait. Raises VirtDriverNotReady."""
        if not self.cache.in_step:
            LOG.info("waiting for the event cache to be in step")
            try:
                self.cache.wait_in_step(IN_STEP_TIMEOUT)
            except xapi.WaitTimeout:
                raise exception.VirtDriverNotReady() from None
        return self.cache

    # ----------------------------------------------------------------------------------- calls and waits

    def call(self, method: str, *params: Any, **options: Any) -> Any:
        """:meth:`XapiClient.call`."""
        return self.client.call(method, *params, **options)

    def wait(self, predicate: Callable[[EventCache], T], timeout: float = SEEN_TIMEOUT) -> T:
        """Wait until the cache shows something. Raises ``WaitTimeout``."""
        return self.cache.wait_for(predicate, timeout)
