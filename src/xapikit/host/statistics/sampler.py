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
"""Takes a sample of every host and running VM every five seconds, and keeps the archives of stopped VMs on disk."""

from __future__ import annotations

import json
import logging
import threading
import time
from typing import TYPE_CHECKING

from xapikit.host.statistics.archive import STEP_SECONDS, Archive
from xapikit.host.statistics.sources import host_sources, vm_sources
from xapikit.host.store import Commit, Row

if TYPE_CHECKING:
    from xapikit.host.pool import Pool

LOG = logging.getLogger(__name__)


class Statistics:
    """The archives of one pool, by uuid of host or VM."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._lock = threading.Lock()
        self._archives: dict[str, Archive] = {}
        self._stopped = threading.Event()
        self._directory = pool.state / "rrd"
        pool.store.on_commit(self._on_commit)

    def start(self) -> None:
        self._directory.mkdir(exist_ok=True, mode=0o700)
        threading.Thread(target=self._run, name="xapi-statistics", daemon=True).start()

    def stop(self, *, stop_guests: bool) -> None:
        self._stopped.set()
        with self._lock:
            for uuid in list(self._archives):
                self._save(uuid)

    def archive(self, uuid: str) -> Archive | None:
        """The archive of a host or a VM that runs or once ran; None for others."""
        with self._lock:
            found = self._archives.get(uuid)
            if found is None:
                found = self._load(uuid)
            return found

    def sampled(self, uuid: str, class_name: str, ref: str) -> Archive:
        """The archive of something that runs, with at least one sample. Raises HANDLE_INVALID."""
        archive = self.archive(uuid)
        if archive is None:
            self._sample(uuid, class_name, ref)
            archive = self.archive(uuid)
            assert archive is not None
        return archive

    def _run(self) -> None:
        while True:
            now = time.time()
            self._sample_all()
            if self._stopped.wait(STEP_SECONDS - now % STEP_SECONDS):
                return

    def _sample_all(self) -> None:
        store = self._pool.store
        for class_name, rows in (("host", store.all("host")), ("VM", store.all("VM"))):
            for ref, row in rows.items():
                if class_name == "VM" and (row["power_state"] != "Running" or row["is_control_domain"]):
                    continue
                try:
                    self._sample(row["uuid"], class_name, ref)
                except Exception:
                    # one object that cannot be read must not end the statistics of all others
                    LOG.exception("no sample of %s %s", class_name, row["uuid"])

    def _sample(self, uuid: str, class_name: str, ref: str) -> None:
        sources = (host_sources if class_name == "host" else vm_sources)(self._pool, ref)
        values = {name: source.value for name, source in sources.items()}
        with self._lock:
            archive = self._archives.get(uuid) or self._load(uuid) or Archive()
            self._archives[uuid] = archive
            archive.push(time.time(), values)

    # persistence -------------------------------------------------------------------------------------------------

    def _on_commit(self, commit: Commit) -> None:
        for change in commit.changes:
            if change.class_name == "VM" and change.before is not None and _stopped(change.before, change.after):
                # from a thread of its own: a commit must not wait for files
                arguments = (change.before["uuid"], change.after is None)
                threading.Thread(target=self._put_away, args=arguments, daemon=True).start()

    def _put_away(self, uuid: str, gone: bool) -> None:
        with self._lock:
            if gone:
                self._archives.pop(uuid, None)
                (self._directory / f"{uuid}.json").unlink(missing_ok=True)
            else:
                self._save(uuid)
                self._archives.pop(uuid, None)

    def _save(self, uuid: str) -> None:
        archive = self._archives.get(uuid)
        if archive is None or not self._directory.exists():
            return
        path = self._directory / f"{uuid}.json"
        temporary = path.with_suffix(".new")
        try:
            temporary.write_text(json.dumps(archive.dump(), separators=(",", ":")))
            temporary.replace(path)
        except OSError as error:
            LOG.warning("statistics of %s are not kept: %s", uuid, error)

    def _load(self, uuid: str) -> Archive | None:
        path = self._directory / f"{uuid}.json"
        if "/" in uuid or not path.is_file():
            return None
        try:
            archive = self._archives[uuid] = Archive.load(json.loads(path.read_text()))
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            LOG.warning("statistics of %s cannot be read: %s", uuid, error)
            return None
        return archive


def _stopped(before: Row, after: Row | None) -> bool:
    return after is None or (before["power_state"] == "Running" and after["power_state"] == "Halted")
