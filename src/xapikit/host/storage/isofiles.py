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
"""An ISO SR: a directory of ``*.iso`` and ``*.img`` files, each a raw disk (wire reference 4.1, 4.4)."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from xapikit.host.storage import errors
from xapikit.host.storage.capacity import Capacity
from xapikit.host.storage.errors import backend_failure
from xapikit.host.storage.names import is_iso_name, iso_path


class IsoRepository:
    """The files of one ISO SR. A VDI's location is its file name; its uuid is made when the file is first seen."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.capacity = Capacity(directory)

    def format(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)

    def path(self, location: str) -> Path:
        """File of a VDI. Raises SR_BACKEND_FAILURE_46 for a name that is none, or a link that leads elsewhere."""
        try:
            path = iso_path(self.directory, location)
        except ValueError as error:
            raise backend_failure(errors.VDI_UNAVAILABLE, str(error)) from error
        if path.is_symlink() and not path.resolve().is_relative_to(self.directory.resolve()):
            raise backend_failure(errors.VDI_UNAVAILABLE, f"{location} leads out of the SR")
        return path

    def files(self) -> dict[str, int]:
        """Sizes in bytes by file name. Raises SR_BACKEND_FAILURE_47 when the directory is not there."""
        found = {}
        try:
            for entry in sorted(self.directory.iterdir()):
                if is_iso_name(entry.name) and entry.is_file():
                    if entry.is_symlink() and not entry.resolve().is_relative_to(self.directory.resolve()):
                        continue
                    found[entry.name] = entry.stat().st_size
        except FileNotFoundError as error:
            raise backend_failure(errors.SR_UNAVAILABLE, f"no such directory {self.directory}") from error
        return found

    def create(self, uuid: str, size: int) -> str:
        """Make an empty file for a new VDI and answer its location. Raises SR_BACKEND_FAILURE_44, _79, _78."""
        if size <= 0:
            raise backend_failure(errors.INVALID_SIZE, f"VDI size must be positive: {size}")
        if self.capacity.room() < size:
            raise backend_failure(errors.NO_SPACE)
        name = f"{uuid}.img"
        try:
            fd = os.open(self.directory / name, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o644)
            try:
                os.ftruncate(fd, size)
            finally:
                os.close(fd)
        except OSError as error:
            number = errors.NO_SPACE if error.errno == errno.ENOSPC else errors.VDI_CREATE_FAILED
            raise backend_failure(number, "" if number == errors.NO_SPACE else str(error)) from error
        return name

    def destroy(self, location: str) -> None:
        self.path(location).unlink(missing_ok=True)
