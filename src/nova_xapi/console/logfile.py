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
"""The console log of one instance: a bounded file, appended to, that survives the service.

Two files in fact: when the newer has half the allowed size it becomes the older. Nobody but the service's user may
read them: guests print secrets.
"""

from __future__ import annotations

import os
from pathlib import Path


class LogFile:
    """At most ``limit`` bytes; one thread at a time appends, others may read."""

    def __init__(self, path: Path, limit: int) -> None:
        self._path = path
        self._older = path.with_name(path.name + ".1")
        self._half = max(limit // 2, 1)

    def append(self, data: bytes) -> None:
        """Raises OSError."""
        data = data[-self._half :]
        fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            if os.fstat(fd).st_size + len(data) > self._half:
                self._path.replace(self._older)
                os.close(fd)
                fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            view = memoryview(data)
            while view:
                view = view[os.write(fd, view) :]
        finally:
            os.close(fd)

    def tail(self, size: int) -> bytes:
        """The last bytes, at most ``size``; empty when nothing was recorded. Raises OSError."""
        parts: list[bytes] = []
        for path in (self._path, self._older):
            wanted = size - sum(map(len, parts))
            if wanted <= 0:
                break
            try:
                with path.open("rb") as file:
                    length = os.fstat(file.fileno()).st_size
                    file.seek(max(length - wanted, 0))
                    parts.insert(0, file.read(wanted))
            except FileNotFoundError:
                continue
        return b"".join(parts)

    @property
    def exists(self) -> bool:
        return self._path.exists() or self._older.exists()

    def remove(self) -> None:
        """Raises OSError; a file that is not there is no error."""
        for path in (self._path, self._older):
            path.unlink(missing_ok=True)
