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
"""A state directory that was moved or copied: paths of it in rows follow, and a copy leaves the processes of its
original alone.

Clients see the location of a local SR as an absolute path, as on a host; so the path that the directory had is noted in
it, and replaced where it is another now.
"""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from xapikit.host.pool import Pool

LOG = logging.getLogger(__name__)

NOTE = "state-path"
"""Name of the file that holds the path of the directory it is in."""


def follow(pool: Pool) -> None:
    """Called at each start, before anything of the directory is used. Raises OSError."""
    state, note = pool.state, pool.state / NOTE
    before = Path(note.read_text()) if note.exists() else state
    if before != state:
        LOG.warning("the state directory %s was %s before: paths in it follow", state, before)
        if before.is_dir() and not before.samefile(state):
            # a copy: what runs belongs to the original, whose data paths and guests must not get two masters
            shutil.rmtree(state / "run", ignore_errors=True)
        _rewrite(pool, before, state)
    if before != state or not note.exists():
        temporary = note.with_suffix(".new")
        temporary.write_text(str(state))
        temporary.replace(note)


def _rewrite(pool: Pool, before: Path, state: Path) -> None:
    with pool.store.transaction() as tx:
        for ref, row in tx.all("PBD").items():
            config = {key: _moved(value, before, state) for key, value in row["device_config"].items()}
            if config != row["device_config"]:
                tx.update("PBD", ref, device_config=config)


def _moved(value: str, before: Path, state: Path) -> str:
    path = Path(value)
    return str(state / path.relative_to(before)) if path.is_absolute() and path.is_relative_to(before) else value
