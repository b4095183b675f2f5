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
"""The client as its users see it; each subject lives in its own module."""

from __future__ import annotations

import socket
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Final, Literal

from xapikit.client.cache import CacheEvent, EventCache
from xapikit.client.caller import Caller
from xapikit.client.console import open_console
from xapikit.client.deadline import Deadline
from xapikit.client.endpoint import Endpoint
from xapikit.client.rpc import Rpc
from xapikit.client.secret import LOG, Redactor, Secret
from xapikit.client.session import Credentials, SessionKeeper
from xapikit.client.tasks import TaskFuture, TaskWatcher
from xapikit.client.tls import TlsPolicy
from xapikit.client.transfer import OUTCOME_TIMEOUT, Transfers, frames

ImageFormat = Literal["raw", "vhd", "tar", "qcow2"]

CALL_TIMEOUT: Final = 120.0
PATIENCE: Final = 60.0
TASK_TIMEOUT: Final = 3600.0
CONNECTIONS: Final = 8
CACHE_CLASSES: Final = ("pool", "host", "VM")


class XapiClient:
    """One service's access to one pool. Thread-safe; make one per service and close it at the end.

    Nothing happens before :meth:`connect` (or the first call). All time-outs are seconds.
    """

    def __init__(
        self,
        url: str | Sequence[str],
        *,
        username: str,
        password: Secret | str,
        originator: str,
        tls: TlsPolicy | None = None,
        call_timeout: float = CALL_TIMEOUT,
        connections: int = CONNECTIONS,
        patience: float = PATIENCE,
        addresses: Mapping[str, str] | None = None,
        cache_classes: Sequence[str] = CACHE_CLASSES,
    ) -> None:
        """
        ``url``: ``https://host``, of any member of the pool; several are tried in turn.
        ``originator``: tells sessions of different services apart on the server; make it distinctive.
        ``call_timeout``: for calls that do not bring their own, from the first try to the last.
        ``connections``: most connections at a time for calls (event streams, transfers and consoles have their own).
        ``patience``: how long a server that is not reachable or still starting is tried again.
        ``addresses``: URLs (or addresses) to use in place of the management addresses that the pool's hosts are known
        by to each other, where those cannot be reached or share one address.
        ``cache_classes``: what :attr:`cache` holds.
        """
        urls = [url] if isinstance(url, str) else list(url)
        secret = password if isinstance(password, Secret) else Secret(password)
        self._call_timeout = call_timeout
        self._redactor = Redactor()
        self._redactor.hide(secret.reveal())
        LOG.addFilter(self._redactor)
        # for clients that are dropped instead of closed
        self._unhook = weakref.finalize(self, LOG.removeFilter, self._redactor)
        rpc = Rpc(self._redactor.redact)
        sessions = SessionKeeper(
            [Endpoint.parse(one) for one in urls],
            Credentials(username, secret, originator),
            tls or TlsPolicy(),
            rpc,
            self._redactor,
            connections=connections,
            overrides=dict(addresses or {}),
        )
        self._caller = Caller(sessions, rpc, patience)
        self._tasks = TaskWatcher(self._caller)
        self._transfers = Transfers(self._caller, self._tasks)
        self.cache = EventCache(self._caller, cache_classes)
        self.cache.subscribe(self._learn_hosts)

    def __repr__(self) -> str:
        return f"<XapiClient {self._caller.sessions.endpoint} as {self._caller.sessions.credentials.username}>"

    def __enter__(self) -> XapiClient:
        self.connect()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ---------------------------------------------------------------------------------------------- life

    def connect(self, timeout: float | None = None) -> None:
        """Log in now, to find out whether that works.

        Raises ``AuthenticationFailed``, ``CertificateRefused``, ``NotSent`` and other errors of the way.
        """
        self._caller.check(Deadline(timeout or self._call_timeout))

    def close(self) -> None:
        """Stop the event streams, log out and close all connections. Calls under way in other threads fail."""
        self._caller.closing.set()
        self.cache.stop()
        self._tasks.close()
        self._caller.close()
        self._unhook()

    @property
    def endpoint(self) -> str:
        """``scheme://host:port`` of the coordinator, as far as known."""
        return str(self._caller.sessions.endpoint)

    @property
    def generation(self) -> int:
        """Number of log-ins so far; what was learnt about the pool under an older one may be out of date."""
        return self._caller.sessions.generation

    def session(self, timeout: float | None = None) -> str:
        """The session reference, for calls that take it as an ordinary argument. It is a secret."""
        return self._caller.sessions.current(Deadline(timeout or self._call_timeout)).ref

    # --------------------------------------------------------------------------------------------- calls

    def call(self, method: str, *params: Any, timeout: float | None = None, repeatable: bool | None = None) -> Any:
        """``call("VM.get_record", vm)``: the value; ``""`` for void. The session is added.

        Integers, booleans and floats are Python's, dates are their wire text (``DateTime.parse`` reads it).
        Sent again only where that is safe (see :mod:`xapikit.client.caller`); ``repeatable=True`` vouches for a call
        that does when sent twice what it does once, ``False`` forbids it.
        Raises the :class:`~xapikit.client.errors.XapiError` of the code, ``NotSent``, ``MaybeSent``, ``CallTimedOut``.
        """
        return self._caller.call(method, params, Deadline(timeout or self._call_timeout), repeatable)

    def start(self, method: str, *params: Any, cleanup: bool = True) -> TaskFuture:
        """``start("VM.clean_shutdown", vm)``: send ``Async.VM.clean_shutdown``, return its task as a future.

        Costs two calls: this one, and the removal of the task when its result is read (``cleanup=False`` leaves
        that to the server, which purges ended tasks within the hour). For what is over in seconds a plain
        :meth:`call` costs one; a task survives a broken connection and shows progress.
        """
        return self._tasks.start(method, params, Deadline(self._call_timeout), cleanup)

    def run(self, method: str, *params: Any, timeout: float = TASK_TIMEOUT) -> Any:
        """:meth:`start` and wait for the result, which raises as ``TaskFuture.result`` does."""
        return self.start(method, *params).result(timeout)

    def adopt_task(self, ref: str, method: str) -> TaskFuture:
        """The future of a task that exists already; ``method`` tells the type of its result.

        Raises ``HandleInvalid`` when there is no such task. It is not removed from the server.
        """
        return self._tasks.adopt(ref, method, Deadline(self._call_timeout))

    # ------------------------------------------------------------------------------------------- streams

    def import_vdi(
        self,
        vdi: str,
        chunks: Iterable[bytes],
        length: int | None,
        *,
        format: ImageFormat = "raw",
        progress: Callable[[int], None] | None = None,
        outcome_timeout: float = OUTCOME_TIMEOUT,
    ) -> None:
        """Write a disk's contents: ``chunks``, ``length`` bytes in all (None for a VHD whose length is not known).

        Takes chunks as fast as the server does. ``progress`` is told the bytes written so far. Returns when the
        server's task has succeeded; 3 calls, the transfer included.
        Raises the error of the task, :class:`~xapikit.client.errors.TransferFailed`, or what ``chunks`` raised. After
        an exception the VDI holds rubbish, and the server has let go of it (or was given a minute to).
        """
        self._transfers.import_vdi(vdi, chunks, length, format, progress, outcome_timeout)

    def import_extents(
        self,
        vdi: str,
        extents: Iterable[tuple[int, bytes | memoryview]],
        *,
        progress: Callable[[int], None] | None = None,
        outcome_timeout: float = OUTCOME_TIMEOUT,
    ) -> None:
        """Write parts of a disk, as (offset, bytes) in whole sectors of 512 bytes; the rest stays as it is.

        That is how a sparse disk is sent without its zeros when nobody knows beforehand where they are. ``progress``
        is told the bytes sent. Otherwise as :meth:`import_vdi`.
        """
        self._transfers.import_vdi(vdi, frames(extents), None, "raw", progress, outcome_timeout, framed=True)

    def export_vdi(
        self,
        vdi: str,
        *,
        format: ImageFormat = "raw",
        base: str | None = None,
        outcome_timeout: float = OUTCOME_TIMEOUT,
    ) -> AbstractContextManager[Iterator[bytes]]:
        """``with client.export_vdi(vdi) as chunks: ...``: a disk's contents, with ``base`` only what differs from it.

        The iterator ends when the server's task has succeeded and raises its error otherwise; leaving the block
        earlier gives the transfer up.
        """
        return self._transfers.export_vdi(vdi, format, base, outcome_timeout)

    def open_console(self, location: str, timeout: float = 30.0) -> socket.socket:
        """A connected (for https: TLS) socket that carries the console at ``console.location``: RFB or vt100 bytes.

        Its timeout is what is left of ``timeout``: set your own. Raises
        :class:`~xapikit.client.errors.ConsoleRefused`, ValueError for what is no location, and transport errors.
        """
        return open_console(self._caller, location, timeout)

    def _learn_hosts(self, event: CacheEvent) -> None:
        if event.cls == "host" and event.new is not None and (event.old or {}).get("address") != event.new["address"]:
            self._caller.sessions.learn([event.new["address"]])
