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
"""All parts of one compute service, put together: what ``init_host`` starts and ``cleanup_host`` stops."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote

from nova_xapi.console.recorder import Recorder
from nova_xapi.console.relay import Relay
from nova_xapi.errors import HostRefused
from nova_xapi.events import PowerEvents
from nova_xapi.hosts.connection import HostConnection
from nova_xapi.image import handlers
from nova_xapi.image.cache import ImageCache
from nova_xapi.marks import INSTANCE
from nova_xapi.network import integration
from nova_xapi.ops.power import Power
from nova_xapi.ops.reconcile import Reconciler
from nova_xapi.ops.spawn import Spawn
from nova_xapi.servers import Servers
from nova_xapi.settings import Settings
from nova_xapi.storage import sr

LOG = logging.getLogger(__name__)


class ComputeService:
    """Of one XAPI host. Several may live in one process: nothing here is global."""

    def __init__(self, settings: Settings, virtapi: Any, emit: Callable[[Any], None]) -> None:
        """``emit``: ``ComputeDriver.emit_event``. Makes no connection; :meth:`start` does."""
        self.settings = settings
        self.conn = HostConnection(settings)
        self.servers = Servers(self.conn)
        self.images = ImageCache(self.conn.client, settings.host, uuid.uuid4().hex)
        self.power = Power(self.conn, self.servers)
        self.spawn = Spawn(self.conn, self.servers, self.images, virtapi)
        self.reconciler = Reconciler(self.conn, self.servers, self.images)
        self.events = PowerEvents(self.conn, self.servers, emit)
        # services of several pools may share the setting: each looks after its own directory only
        consoles = settings.console_log_directory / quote(settings.host, safe="")
        self.recorder = Recorder(
            self.conn.client,
            self._recorded,
            directory=consoles,
            limit=settings.console_log_bytes,
        )
        self.relay = Relay(
            self.conn.client,
            self.servers.find,
            address=settings.console_relay_address,
            port=settings.console_relay_port,
            secret_file=consoles / "relay-secret",
        )
        self._started: list[Callable[[], None]] = []

    def start(self) -> None:
        """Connect, check, clean up, and begin to serve. Raises HostRefused, SrNotFound, BadFilter, HypervisorFailed.

        What was started is stopped again when a later part refuses.
        """
        try:
            self.conn.open()
            self._started.append(self.conn.close)
            self._check()
            self.reconciler.start()
            self._started.append(self.reconciler.stop)
            self.events.start()
            self._started.append(self.events.stop)
            self._start_consoles()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop everything that was started, the last first. A part that fails does not keep the others running."""
        while self._started:
            stop = self._started.pop()
            try:
                stop()
            except Exception:
                LOG.exception("stopping %s failed", stop)

    def _check(self) -> None:
        _, storage = sr.choose(self.conn)
        LOG.info("disks go to SR %s (%s, %s)", storage["name_label"], storage["uuid"], storage["type"])
        integration.provide(self.conn)
        handlers.choose(self.conn.client, self.conn.host_ref, self.settings.image_handler)

    def _start_consoles(self) -> None:
        try:
            self.recorder.start()
            self._started.append(self.recorder.stop)
        except OSError as error:
            directory = self.settings.console_log_directory
            raise HostRefused(f"[xenserver] console_log_directory = {directory} cannot be used: {error}") from error
        try:
            self.relay.start()
            self._started.append(self.relay.stop)
        except OSError as error:
            where = f"{self.settings.console_relay_address} port {self.settings.console_relay_port}"
            raise HostRefused(
                f"The console relay cannot listen on {where}: {error}. See [xenserver] console_relay_address and "
                f"console_relay_port"
            ) from error

    def _recorded(self, _ref: str, record: Mapping[str, Any]) -> str | None:
        """The server whose text console is to be recorded."""
        return str(record["other_config"][INSTANCE]) if self.servers.is_mine(record) else None
