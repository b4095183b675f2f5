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
"""Sends what transfers wrote to stable storage, behind their backs."""

from __future__ import annotations

import logging
import os
import queue
import threading
from pathlib import Path

LOG = logging.getLogger(__name__)


class Flusher:
    """One thread that syncs files, started when it is needed first."""

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[Path | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()

    def kick(self, path: Path) -> None:
        """Have a file synced soon."""
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="disk-flush", daemon=True)
                self._thread.start()
        self._queue.put(path)

    def stop(self) -> None:
        """Sync what is still waiting, and end."""
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join()

    def _run(self) -> None:
        while True:
            path = self._queue.get()
            if path is None:
                return
            try:
                fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:  # destroyed meanwhile
                continue
            try:
                os.fdatasync(fd)
            except OSError:
                LOG.exception("%s could not be written to stable storage", path)
            finally:
                os.close(fd)
