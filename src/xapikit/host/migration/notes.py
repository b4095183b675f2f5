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
"""What must survive the server of either pool while a VM changes pools: one small file per move, until both know.

The destination decides: its note says ``committed`` from the moment when the VM is its own. The source notes that it
asked for that, and does not let the VM go on before it knows the answer.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Note:
    """One move as one of the pools knows it."""

    id: str
    """The same at both."""
    role: Literal["arrival", "departure"]
    key: str
    """A secret: who has it may ask for the outcome."""
    state: Literal["open", "committed", "asked"] = "open"
    vm: str = ""
    """Reference here."""
    host: str = ""
    """Reference of the host, here for an arrival, there for a departure."""
    domid: int = -1
    """Of the guest that arrived, -1 for a VM without one."""
    running: bool = False
    url: str = ""
    """Of a departure: whom to ask."""

    def __repr__(self) -> str:
        return f"Note({self.role} {self.id}: {self.state})"


class Notes:
    """The notes of a pool, in a directory for nobody else."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def write(self, note: Note) -> None:
        """Keep a note, in place of the one it had; it is on the disk when this returns."""
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        temporary = self._directory / f".{note.id}.new"
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(handle, "w") as file:
            json.dump(asdict(note), file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self._path(note.id, note.role))

    def remove(self, note: Note) -> None:
        self._path(note.id, note.role).unlink(missing_ok=True)

    def tidy(self) -> None:
        """Remove notes that a killed server did not come to write."""
        for path in self._directory.glob(".*.new"):
            path.unlink(missing_ok=True)

    def written(self, note: Note) -> float:
        """When a note was written, in seconds since 1970."""
        return self._path(note.id, note.role).stat().st_mtime

    def find(self, identity: str, role: str) -> Note | None:
        return next((note for note in self.all() if note.id == identity and note.role == role), None)

    def all(self) -> Iterator[Note]:
        """All notes; a file that is none is told of and left alone."""
        for path in sorted(self._directory.glob("*.json")):
            try:
                yield Note(**json.loads(path.read_text()))
            except FileNotFoundError:
                continue
            except (ValueError, TypeError) as error:
                LOG.error("the note %s of a move cannot be read: %s", path, error)

    def _path(self, identity: str, role: str) -> Path:
        return self._directory / f"{identity}.{role}.json"


def changed(note: Note, state: Literal["open", "committed", "asked"]) -> Note:
    return replace(note, state=state)
