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
"""Disk contents to and from a host: ``PUT /import_raw_vdi`` and ``GET /export_raw_vdi``.

The HTTP status says nothing about the outcome: a server answers 200 before it has read the first byte, and writes what
goes wrong later behind the data. Only the task tells.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Final
from urllib.parse import quote

from xapikit.client.caller import Caller
from xapikit.client.connection import Connection, Head, request_head
from xapikit.client.deadline import Deadline
from xapikit.client.endpoint import Endpoint
from xapikit.client.errors import ClientError, HandleInvalid, HttpError, TransferFailed, TransportError
from xapikit.client.secret import LOG
from xapikit.client.tasks import CLEANUP_TIMEOUT, TaskFuture, TaskWatcher

STALL_TIMEOUT: Final = 300.0
"""Seconds that the other side may take for one piece of data: a disk that is slow is not a disk that is dead."""
HEAD_TIMEOUT: Final = 120.0
OUTCOME_TIMEOUT: Final = 600.0
"""Seconds from the last byte to the end of the task (flush, detach)."""
ABORT_TIMEOUT: Final = 60.0
REFUSED_TIMEOUT: Final = 2.0
"""Seconds after a refusing status in which the task may still tell the reason."""
UNKNOWN_LENGTH: Final = 1 << 50
"""Content-Length of a stream that says itself where it ends; the server stops reading there."""

_PIECE: Final = 1 << 20
_READ: Final = 256 << 10
_SECTOR: Final = 512
_FRAME: Final = struct.Struct("<QI")
_MAX_REDIRECTS: Final = 3

Progress = Callable[[int], None]


def frames(extents: Iterable[tuple[int, bytes | memoryview]]) -> Iterator[bytes | memoryview]:
    """XAPI's own framing of raw contents, which lets the sender leave holes out: (offset, bytes) in whole sectors.

    Raises ValueError for an extent that is not of whole sectors: a server would answer that with an I/O error.
    """
    for offset, data in extents:
        if offset % _SECTOR or len(data) % _SECTOR:
            raise ValueError(f"extent of {len(data)} bytes at {offset}: not whole sectors of {_SECTOR} bytes")
        if data:
            yield _FRAME.pack(offset, len(data))
            yield data
    yield _FRAME.pack(0, 0)


class Transfers:
    """Streams, each over a connection of its own."""

    def __init__(self, caller: Caller, tasks: TaskWatcher) -> None:
        self._caller = caller
        self._tasks = tasks

    def import_vdi(
        self,
        vdi: str,
        chunks: Iterable[bytes | memoryview],
        length: int | None,
        image_format: str,
        progress: Progress | None,
        outcome_timeout: float,
        framed: bool = False,
    ) -> None:
        """See :meth:`xapikit.client.XapiClient.import_vdi`; ``framed``: the chunks are those of :func:`frames`."""
        task = self._tasks.create(f"import {image_format} into VDI {vdi}", "", Deadline(CLEANUP_TIMEOUT))
        connection: Connection | None = None
        began = False
        try:
            query = {"vdi": vdi, "format": image_format, "task_id": task.ref}
            if framed:
                query["chunked"] = "true"
            fields = {"Content-Length": str(UNKNOWN_LENGTH if length is None else length)}
            connection = self._open("PUT", "/import_raw_vdi", query, fields, task)
            began = True
            self._pump(connection, chunks, length, progress, task)
            task.result(outcome_timeout)
        except BaseException:
            if connection is not None:
                connection.close()
                connection = None
            self._give_up(task, wait=began)
            raise
        finally:
            if connection is not None:
                connection.close()
        self._tasks.destroy(task.ref)

    @contextmanager
    def export_vdi(
        self, vdi: str, image_format: str, base: str | None, outcome_timeout: float
    ) -> Iterator[Iterator[bytes]]:
        """See :meth:`xapikit.client.XapiClient.export_vdi`."""
        task = self._tasks.create(f"export {image_format} of VDI {vdi}", "", Deadline(CLEANUP_TIMEOUT))
        connection: Connection | None = None
        began = False
        try:
            query = {"vdi": vdi, "format": image_format, "task_id": task.ref}
            if base is not None:
                query["base"] = base
            connection = self._open("GET", "/export_raw_vdi", query, {}, task)
            began = True
            yield self._drain(connection, task, outcome_timeout)
        finally:
            if connection is not None:
                connection.close()
            self._give_up(task, wait=began)

    # ------------------------------------------------------------------------------------------ requests

    def _open(
        self, method: str, path: str, query: Mapping[str, str], fields: Mapping[str, str], task: TaskFuture
    ) -> Connection:
        """Send the request and read the head of its reply, following redirects and a lost session."""
        target = path + "?" + "&".join(f"{name}={quote(value, safe=':')}" for name, value in query.items())
        deadline = Deadline(HEAD_TIMEOUT)
        session = self._caller.sessions.current(deadline)
        endpoint, redirects, renewed = session.endpoint, 0, False
        while True:
            connection, head = self._ask(method, target, endpoint, session.ref, fields, deadline)
            if head.status == 200:
                return connection
            connection.close()
            if head.status == 302 and redirects < _MAX_REDIRECTS:
                redirects += 1
                endpoint, target = self._caller.sessions.locate(head.headers.get("location", ""))
            elif head.status == 401 and not renewed:
                # a request without a valid session leaves the task pending: it can be used again
                renewed = True
                self._caller.sessions.forget(session)
                session = self._caller.sessions.current(deadline)
            else:
                task.wait(REFUSED_TIMEOUT if head.status != 401 else 0.0)
                if task.done:
                    task.result()
                raise HttpError(f"HTTP {head.status} {head.reason}", head.status, str(endpoint), f"{method} {path}")

    def _ask(
        self, method: str, target: str, endpoint: Endpoint, session: str, fields: Mapping[str, str], deadline: Deadline
    ) -> tuple[Connection, Head]:
        # the session goes into the cookie: query strings end up in logs
        request = request_head(method, target, endpoint, {"Cookie": f"session_id={session}", **fields})
        connection = self._caller.sessions.connect(endpoint, deadline)
        try:
            connection.send(request, deadline)
            return connection, connection.read_head(deadline)
        except BaseException:
            connection.close()
            raise

    # ---------------------------------------------------------------------------------------------- data

    def _pump(
        self,
        connection: Connection,
        chunks: Iterable[bytes | memoryview],
        length: int | None,
        progress: Progress | None,
        task: TaskFuture,
    ) -> None:
        sent = 0
        for chunk in chunks:
            if task.done:
                return  # the server has already given up (or has all it wants): the outcome is in the task
            if length is not None and sent + len(chunk) > length:
                raise TransferFailed(f"the source has more than the {length} bytes announced", task.ref)
            view = memoryview(chunk)
            try:
                for start in range(0, len(view), _PIECE):
                    connection.send_chunk(view[start : start + _PIECE], STALL_TIMEOUT)
            except OSError as error:
                if task.wait(ABORT_TIMEOUT):
                    return
                raise TransferFailed(
                    f"the server stopped reading after about {sent} bytes: {error}", task.ref
                ) from error
            sent += len(chunk)
            if progress is not None:
                progress(sent)
        if length is None:
            try:
                connection.end_of_data()
            except (OSError, ValueError) as error:
                LOG.debug("the server closed first: %s", error)
        elif sent != length:
            raise TransferFailed(f"the source ended after {sent} of {length} bytes", task.ref)

    def _drain(self, connection: Connection, task: TaskFuture, outcome_timeout: float) -> Iterator[bytes]:
        while True:
            try:
                data = connection.read_some(_READ, STALL_TIMEOUT)
            except OSError as error:
                if task.wait(ABORT_TIMEOUT):
                    task.result()
                raise TransferFailed(f"the server stopped sending: {error}", task.ref) from error
            if not data:
                break
            yield data
        task.result(outcome_timeout)

    def _give_up(self, task: TaskFuture, wait: bool) -> None:
        """Leave nothing behind: an ended task is destroyed, a pending one first waited for, then marked as failed."""
        try:
            if wait and not task.done:
                task.wait(ABORT_TIMEOUT)
            if not task.done:
                deadline = Deadline(CLEANUP_TIMEOUT)
                self._caller.call("task.set_status", [task.ref, "failure"], deadline, repeatable=True)
            self._tasks.destroy(task.ref)
        except HandleInvalid:
            pass
        except (ClientError, TransportError) as error:
            LOG.info("task %s left behind: %s", task.ref, error)
