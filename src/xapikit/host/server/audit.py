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
"""The audit log: a line for each call and transfer that changes something, and for each that was denied.

Lines are those of a host (``/var/log/audit.log`` of dom0): who, what, on which objects, with what outcome. Of the
arguments only references are told, with names and uuids; values may be secrets.
"""

from __future__ import annotations

import hashlib
import io
import logging
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from xapikit.host.errors import ApiError
from xapikit.model import MODEL, NULL_REF, Kind, ParamSpec

if TYPE_CHECKING:
    from xapikit.host.pool import Pool

LOG = logging.getLogger(__name__)

FILE: Final = "var/log/audit.log"
LARGEST: Final = 8 << 20
"""Bytes of one file; older ones are ``audit.log.1`` and on."""
KEPT: Final = 5
_STAMP: Final = 21
_READ_ONLY: Final = "read-only"


def is_audited(role: str) -> bool:
    """Whether an action of that role changes something."""
    return role != _READ_ONLY


class Audit:
    """The audit log of the coordinator. A :class:`xapikit.host.pool.Part`."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._lock = threading.Lock()
        self._file: io.FileIO | None = None
        self._host = ""
        """Whose log the file is."""
        self._length = 0
        self._moment = (0, "", "")
        """A second, as both forms of times in a line have it."""

    def start(self) -> None:
        """The file is opened with the first line."""

    def stop(self, *, stop_guests: bool) -> None:
        with self._lock:
            self._close()

    # writing -----------------------------------------------------------------------------------------------------

    def call(
        self, session: str, method: str, params: Sequence[ParamSpec], arguments: Sequence[object],
        error: ApiError | None, task: str = NULL_REF,
    ) -> None:  # fmt: skip
        """Tell of a call that ended."""
        objects = [
            self._object(param.name, param.type.name, str(value))
            for param, value in zip(params, arguments, strict=False)
            if param.type.kind is Kind.REF and value != NULL_REF
        ]
        self._write(session, "API", method, objects, error, task)

    def transfer(self, session: str, action: str, error: ApiError | None, task: str = NULL_REF) -> None:
        """Tell of an HTTP action that ended."""
        self._write(session, "HTTP", f"http/{action}", [], error, task)

    def _object(self, name: str, class_name: str, ref: str) -> str:
        row = self._pool.store.peek(class_name, ref) if MODEL.classes[class_name].in_db else None
        known: Mapping[str, str] = row if row is not None else {}
        return _expression(name, known.get("name_label", ""), known.get("uuid", ""), ref)

    def _write(
        self, session: str, kind: str, name: str, objects: Iterable[str], error: ApiError | None, task: str
    ) -> None:
        row = self._pool.store.peek("session", session)
        subject = "" if row is None else "LOCAL_SUPERUSER" if row["is_local_superuser"] else row["auth_user_sid"]
        allowed = "DENIED" if error is not None and error.code == "RBAC_PERMISSION_DENIED" else "ALLOWED"
        outcome = "OK" if error is None else f"ERROR:{error.code}: {error.code}: [ {'; '.join(error.params)} ]"
        track = hashlib.sha256(session.encode()).hexdigest()[:32]  # a session is as good as a password
        user = "" if row is None else row["auth_user_name"]
        words = _expression(f"trackid={track}", subject, user, allowed, outcome, kind, name)
        host = self._pool.store.get("host", self._pool.coordinator)
        nanoseconds = time.time_ns()
        long, short = self._times(nanoseconds // 10**9)
        stamp = f"{long}.{nanoseconds // 10**6 % 1000:03d}Z"
        place = f"[{stamp}|audit|{host['hostname']}|{threading.get_native_id()} INET|{name} R:{task[10:22]}|audit]"
        line = f"{short} {host['hostname']} xapi: {place} {words[:-1]} ({' '.join(objects)}))\n"
        data = line.encode("utf-8", "replace")
        with self._lock:
            try:
                self._open(host["uuid"]).write(data)
                self._length += len(data)
            except OSError as failure:  # a full disk must not keep anybody from making room
                LOG.warning("the audit log cannot be written: %s", failure)
                self._close()

    def _times(self, second: int) -> tuple[str, str]:
        known, long, short = self._moment
        if known != second:
            now = time.gmtime(second)
            long, short = time.strftime("%Y%m%dT%H:%M:%S", now), time.strftime("%b %e %H:%M:%S", now)
            self._moment = (second, long, short)
        return long, short

    def _open(self, host_uuid: str) -> io.FileIO:
        if self._file is None or host_uuid != self._host or self._length > LARGEST:
            self._close()
            where = self.path(host_uuid)
            where.parent.mkdir(parents=True, exist_ok=True)
            if where.exists() and where.stat().st_size > LARGEST:
                for number in range(KEPT, 0, -1):
                    older = where.with_name(f"{where.name}.{number - 1}") if number > 1 else where
                    if older.exists():
                        older.replace(where.with_name(f"{where.name}.{number}"))
            self._file, self._host = where.open("ab", buffering=0), host_uuid
            self._length = self._file.tell()
        return self._file

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    # reading -----------------------------------------------------------------------------------------------------

    def path(self, host_uuid: str) -> Path:
        return self._pool.programs.place(host_uuid) / FILE

    def lines(self, host_uuid: str, since: str = "") -> Iterator[str]:
        """Lines of a host, oldest first; ``since`` is a moment like ``2026-11-24T19:00`` or the beginning of one."""
        earliest = since.replace("-", "").replace("Z", "").replace(" ", "T")
        newest = self.path(host_uuid)
        for number in range(KEPT, -1, -1):
            path = newest.with_name(f"{newest.name}.{number}") if number else newest
            if not path.exists():
                continue
            with path.open(encoding="utf-8", errors="replace") as file:
                for line in file:
                    start = line.find("[") + 1
                    if line[start : start + _STAMP] >= earliest:
                        yield line


def _expression(*words: str) -> str:
    quoted = (word.replace("\\", "\\\\").replace("'", "\\'").replace("\n", " ") for word in words)
    return "(" + " ".join(f"'{word}'" for word in quoted) + ")"
