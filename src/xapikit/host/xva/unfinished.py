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
"""Notes of imports under way, so that the next start of a killed server finds and removes what they had made.

A note names the task that the import runs under; all that an import makes is marked with it. The note goes before the
VMs are released: from then on they are whole, whether or not somebody was told.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from xapikit.host.classes.vm.record import remove_vm
from xapikit.host.storage import vdis

if TYPE_CHECKING:
    from xapikit.host.pool import Pool

LOG = logging.getLogger(__name__)

IMPORT_TASK: Final = "import_task"
"""Key in ``other_config`` (of disks in ``sm_config``) of what an import made: the task that did."""
_MARKED: Final = (("VM", "other_config"), ("VDI", "sm_config"), ("network", "other_config"))


class Imports:
    """``pool.imports``. A :class:`xapikit.host.pool.Part` that starts after storage."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._directory = pool.state / "imports"

    def start(self) -> None:
        """Undo what a killed server had under way."""
        if not self._directory.is_dir():
            return
        for note in sorted(self._directory.iterdir()):
            try:
                if note.suffix == ".json":
                    said = json.loads(note.read_text())
                    self._undo(said["task"], frozenset(said["before"]))
            except (OSError, ValueError, KeyError, TypeError):
                LOG.exception("what the unfinished import %s had made cannot be removed", note.name)
            note.unlink(missing_ok=True)

    def stop(self, *, stop_guests: bool) -> None:
        """Imports end with their connections."""

    def begin(self, task: str) -> Path:
        """Note an import that starts; :meth:`end` takes the note away."""
        self._directory.mkdir(mode=0o700, exist_ok=True)
        # a client may have used its task before: what that import made is not this one's
        before = [ref for _, ref, _ in self._marked(task)]
        note = self._directory / f"{self._pool.store.new_uuid()}.json"
        coming = note.with_suffix(".new")
        with coming.open("w") as file:
            json.dump({"task": task, "before": before}, file)
            file.flush()
            os.fsync(file.fileno())
        coming.rename(note)
        return note

    @staticmethod
    def end(note: Path) -> None:
        note.unlink(missing_ok=True)

    def _marked(self, task: str) -> Iterator[tuple[str, str, Any]]:
        for class_name, field in _MARKED:
            for ref, row in self._pool.store.all(class_name).items():
                if row[field].get(IMPORT_TASK) == task:
                    yield class_name, ref, row

    def _undo(self, task: str, before: frozenset[str]) -> None:
        made = [(class_name, ref) for class_name, ref, _ in self._marked(task) if ref not in before]
        if made:
            LOG.warning("an import was interrupted: removing the %d objects that it had made", len(made))
        with self._pool.store.transaction() as tx:
            for class_name, ref in made:
                if class_name == "VM":
                    remove_vm(tx, ref)
                elif class_name == "network" and not tx.get("network", ref)["VIFs"]:
                    tx.delete("network", ref)
        for class_name, ref in made:
            if class_name == "VDI":
                vdis.discard(self._pool.storage, ref)
