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
"""SRs with ``other_config:auto-scan`` = ``true`` are scanned every half minute (wire reference 4.2)."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

from xapikit.host.errors import ApiError
from xapikit.host.storage.operations import has_plugged_pbd
from xapikit.host.storage.scan import scan

if TYPE_CHECKING:
    from xapikit.host.storage.service import Storage

LOG = logging.getLogger(__name__)

INTERVAL_SECONDS = 30.0


class AutoScan:
    """The thread that does it."""

    def __init__(self, storage: Storage, interval: float = INTERVAL_SECONDS) -> None:
        self._storage = storage
        self._interval = interval
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="auto-scan", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while not self._stopping.wait(self._interval):
            self.scan_all()

    def scan_all(self) -> None:
        """One round. What a scan fails with is logged: a call of ``SR.scan`` says it to whom it concerns."""
        store = self._storage.store
        for ref, row in store.all("SR").items():
            if row["other_config"].get("auto-scan") != "true" or not has_plugged_pbd(store, row):
                continue
            try:
                if self._storage.repository(ref) is not None:
                    scan(self._storage, ref)
            except ApiError as error:
                LOG.info("the background scan of %s failed: %s", row["name_label"], error)
            except Exception:
                LOG.exception("the background scan of %s failed", row["name_label"])
