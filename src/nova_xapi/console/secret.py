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
"""The secret that the paths of the console relay are made from; it outlives the service, as the tokens in Nova do."""

from __future__ import annotations

import contextlib
import os
import secrets
import tempfile
from pathlib import Path
from typing import Final

LENGTH: Final = 32


def load_or_create(path: Path) -> bytes:
    """The secret in a file that only this user can read; made at the first call, whoever comes first.

    Raises OSError.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    for _ in range(3):
        try:
            found = path.read_bytes()
        except FileNotFoundError:
            found = b""
        if len(found) == LENGTH:
            return found
        path.unlink(missing_ok=True)
        _create(path)
    raise OSError(f"{path} cannot be written and read back")


def _create(path: Path) -> None:
    # appears whole or not at all, and never replaces what another service has just made
    fd, name = tempfile.mkstemp(dir=path.parent, prefix=path.name)
    temporary = Path(name)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(secrets.token_bytes(LENGTH))
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):
            path.hardlink_to(temporary)
    finally:
        temporary.unlink(missing_ok=True)
