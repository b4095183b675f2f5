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
"""What is under way in an SR directory, written down first, so that a killed server can be tidied up after.

A change of an SR is files plus database rows. The note exists from before the first file is touched until the rows are
committed; a note found at start is settled by :meth:`xapikit.host.storage.repository.VhdRepository.settle`, which
looks at the files and asks whether the rows are there.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

Kind = Literal["create", "destroy", "data-destroy", "snapshot", "leaf-coalesce", "track", "reset"]

_PREFIX = ".intent-"


@dataclass(frozen=True)
class Intent:
    """One change: uuids by the part they play."""

    kind: Kind
    new: list[str] = field(default_factory=list)
    """VDIs being made: without a row they go."""
    leaf: str = ""
    """VDI being snapshot, coalesced or destroyed."""
    base: str = ""
    """Base copy that appears (snapshot) or disappears (leaf-coalesce)."""


@contextmanager
def noted(directory: Path, intent: Intent) -> Iterator[None]:
    """Keep the note while the block runs. It stays when the process dies, and goes in every other case:
    a block that fails settles its own matters."""
    path = directory / f"{_PREFIX}{secrets.token_hex(6)}"
    temporary = path.with_name(f".new{path.name}")
    temporary.write_text(json.dumps(asdict(intent)))
    temporary.replace(path)
    try:
        yield
    finally:
        path.unlink()


def found(directory: Path) -> Iterator[tuple[Path, Intent]]:
    """Notes that a killed server left."""
    for path in sorted(directory.glob(f"{_PREFIX}*")):
        yield path, Intent(**json.loads(path.read_text()))
    for path in directory.glob(f".new{_PREFIX}*"):
        path.unlink()
