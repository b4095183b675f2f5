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
"""Keeps what guests print: follows the text console of each of this service's running VMs into a bounded file.

No call of XenAPI returns a console log. One thread reads all consoles; connecting, which may take long, is done by a
few others. What to follow is told by the event cache: nothing is polled, and a VM that is not running costs nothing.
"""

from __future__ import annotations

import selectors
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from oslo_log import log as logging

from xapikit.client import CacheEvent, XapiClient

from .finder import Console, console_of
from .history import MAX_HISTORY, Joiner
from .logfile import LogFile
from .pump import abort, keep_alive

LOG = logging.getLogger(__name__)

#: answers the instance uuid of a VM that this service records (its own, on its host), None for all others
Owns = Callable[[str, Mapping[str, Any]], "str | None"]

DELAYS: Final = (0.0, 1.0, 2.0, 5.0, 15.0, 30.0)
"""Seconds before connecting again, by the number of failures in a row."""
QUIET: Final = 1.0
"""Seconds without data after which no more history is expected."""
HOLD: Final = 4.0
"""Seconds after which data is taken as it is, although it never became quiet."""
LINGER: Final = 10.0
"""Seconds that a host may take to deliver the last words of a domain that has ended."""
MOST: Final = 400
"""Consoles followed at a time. A host takes 800 connections in all; who comes then waits, calls included."""
_PIECE: Final = 1 << 16
_TURNS: Final = 16
_CONNECTING: Final = 4
_TIMEOUT: Final = 30.0
_SUFFIX: Final = ".log"


@dataclass(eq=False)
class _Follower:
    """One console being followed. Times are those of time.monotonic()."""

    instance: str
    console: Console
    joiner: Joiner
    sock: socket.socket | None = None
    connecting: bool = False
    failures: int = 0
    retry_at: float | None = None
    #: there are as many others as may be; waits for one of them to end
    queued: bool = False
    quiet_at: float | None = None
    hold_until: float | None = None
    #: the console is not offered any more: read to the end, at most until then
    ends_at: float | None = None

    def deadlines(self) -> list[float]:
        found = [self.retry_at, self.ends_at]
        if self.quiet_at is not None and self.hold_until is not None:
            found.append(min(self.quiet_at, self.hold_until))
        return [one for one in found if one is not None]


class Recorder:
    """Records from `start` to `stop`. The event cache of ``client`` must hold VM and console."""

    def __init__(self, client: XapiClient, owns: Owns, *, directory: Path, limit: int, most: int = MOST) -> None:
        """``limit``: bytes kept per instance; ``most``: consoles followed at a time."""
        self._client = client
        self._owns = owns
        self.directory = directory
        self._limit = limit
        self._most = most
        self._guard = threading.RLock()
        self._followers: dict[str, _Follower] = {}  # by reference of the console
        self._last: dict[str, str] = {}  # instance -> uuid of the console that was recorded last
        self._dirty: set[str] = set()
        self._arrived: list[tuple[_Follower, Future[socket.socket]]] = []
        self._selector = selectors.DefaultSelector()
        self._wake_in, self._wake_out = socket.socketpair()
        self._wake_in.setblocking(False)
        self._wake_out.setblocking(False)
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._connectors = ThreadPoolExecutor(_CONNECTING, "console-connect")
        self._unsubscribe: Callable[[], None] = _nothing

    # ------------------------------------------------------------------------------------------------ life

    def start(self) -> None:
        """Follow what runs, and whatever starts from now on. The event cache must be in step. Raises OSError."""
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._prune()
        self._selector.register(self._wake_out, selectors.EVENT_READ)
        self._unsubscribe = self._client.cache.subscribe(self._on_change)
        with self._guard:
            self._dirty.update(self._client.cache.records("VM"))
        self._thread = threading.Thread(target=self._run, name="console-recorder", daemon=True)
        self._thread.start()
        self._wake()

    def stop(self) -> None:
        """Close all consoles; the files stay."""
        self._unsubscribe()
        self._stopping.set()
        self._wake()
        if self._thread is not None:
            self._thread.join(timeout=10.0)
        self._connectors.shutdown(wait=False, cancel_futures=True)
        self._selector.close()
        for sock in (self._wake_in, self._wake_out):
            sock.close()

    # --------------------------------------------------------------------------------------------- answers

    def tail(self, instance: str, size: int) -> bytes | None:
        """The last bytes, at most ``size``, that an instance (uuid) printed; None when nothing was recorded of it."""
        with self._guard:
            log = self._log(instance)
            return log.tail(size) if log.exists else None

    def forget(self, instance: str) -> None:
        """Stop recording an instance and remove its file. Raises OSError."""
        with self._guard:
            for follower in [one for one in self._followers.values() if one.instance == instance]:
                self._drop(follower)
            self._last.pop(instance, None)
            self._log(instance).remove()

    @property
    def following(self) -> set[str]:
        """Uuids of the instances whose consoles are connected."""
        with self._guard:
            return {one.instance for one in self._followers.values() if one.sock is not None}

    def _log(self, instance: str) -> LogFile:
        if not instance or "/" in instance or instance.startswith("."):
            raise ValueError(f"not the uuid of an instance: {instance!r}")
        return LogFile(self.directory / f"{instance}{_SUFFIX}", self._limit)

    def _prune(self) -> None:
        """Remove the files of instances that were deleted while the service was away."""
        owned = {self._owns(ref, record) for ref, record in self._client.cache.records("VM").items()}
        kept = {record["other_config"].get("nova_uuid") for record in self._client.cache.records("VM").values()}
        for path in self.directory.glob(f"*{_SUFFIX}*"):
            instance = path.name.partition(_SUFFIX)[0]
            if instance not in owned and instance not in kept:
                path.unlink(missing_ok=True)

    # --------------------------------------------------------------------------------------- what to follow

    def _on_change(self, event: CacheEvent) -> None:
        """From the event thread."""
        record = event.new or event.old or {}
        vm = event.ref if event.cls == "VM" else record.get("VM") if event.cls == "console" else None
        if vm is None:
            return
        with self._guard:
            self._dirty.add(vm)
        self._wake()

    def _wake(self) -> None:
        try:
            self._wake_in.send(b"!")
        except (BlockingIOError, OSError):
            pass  # it is awake already, or has ended

    def _review(self, vm: str) -> None:
        """Compare what is followed of a VM with what there is."""
        cache = self._client.cache
        record = cache.get("VM", vm)
        instance = None if record is None else self._owns(vm, record)
        console = None if instance is None else console_of(cache, vm, "vt100")
        for follower in [one for one in self._followers.values() if one.console.vm == vm]:
            if console is not None and follower.console.ref == console.ref:
                follower.ends_at = None
                if follower.sock is None and not follower.connecting:
                    # something happened to the VM: do not wait for the next attempt
                    follower.retry_at = time.monotonic()
            elif follower.sock is None:
                self._drop(follower)
            elif follower.ends_at is None:
                follower.ends_at = time.monotonic() + LINGER
        if console is None or instance is None or console.ref in self._followers:
            return
        fresh = instance in self._last and self._last[instance] != console.uuid
        recorded = b"" if fresh else self._log(instance).tail(MAX_HISTORY)
        self._followers[console.ref] = follower = _Follower(instance, console, Joiner(recorded))
        self._connect(follower)

    def _connect(self, follower: _Follower) -> None:
        follower.retry_at = None
        follower.queued = self._busy() >= self._most
        if follower.queued:
            LOG.debug("console of instance %s waits: %d others are being followed", follower.instance, self._most)
            return
        follower.connecting = True
        future = self._connectors.submit(self._client.open_console, follower.console.location, _TIMEOUT)

        def arrived(future: Future[socket.socket]) -> None:
            with self._guard:
                self._arrived.append((follower, future))
            self._wake()

        future.add_done_callback(arrived)

    # --------------------------------------------------------------------------------------------- the thread

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                ready = self._selector.select(self._patience())
                with self._guard:
                    self._turn(
                        [key.data for key, _ in ready if key.data is not None], any(not k.data for k, _ in ready)
                    )
            except Exception:
                # one console must not end the recording of all
                LOG.exception("console recorder stumbled")
                self._stopping.wait(1.0)
        with self._guard:
            for follower in list(self._followers.values()):
                self._drop(follower)
            for _, future in self._arrived:
                if future.done() and not future.cancelled() and future.exception() is None:
                    future.result().close()

    def _patience(self) -> float | None:
        with self._guard:
            if self._dirty or self._arrived:
                return 0.0
            deadlines = [at for one in self._followers.values() for at in one.deadlines()]
        return max(min(deadlines) - time.monotonic(), 0.0) if deadlines else None

    def _turn(self, readable: list[_Follower], woken: bool) -> None:
        if woken:
            try:
                while self._wake_out.recv(4096):
                    pass
            except BlockingIOError:
                pass
        for follower in readable:
            self._read(follower)
        arrived, self._arrived = self._arrived, []
        for follower, future in arrived:
            self._take(follower, future)
        dirty, self._dirty = self._dirty, set()
        for vm in dirty:
            self._review(vm)
        now = time.monotonic()
        for follower in list(self._followers.values()):
            self._keep_time(follower, now)
        self._serve_queue()

    def _serve_queue(self) -> None:
        """Connect those that waited for others to end, as far as there is room."""
        queued = [one for one in self._followers.values() if one.queued]
        if queued:
            for follower in queued[: max(0, self._most - self._busy())]:
                self._connect(follower)

    def _busy(self) -> int:
        return sum(one.connecting or one.sock is not None for one in self._followers.values())

    def _keep_time(self, follower: _Follower, now: float) -> None:
        if follower.quiet_at is not None and now >= min(follower.quiet_at, follower.hold_until or now):
            self._settle(follower)
        if follower.ends_at is not None and now >= follower.ends_at:
            self._drop(follower)
        elif follower.retry_at is not None and now >= follower.retry_at:
            self._connect(follower)

    def _take(self, follower: _Follower, future: Future[socket.socket]) -> None:
        """A connection was made, or not."""
        follower.connecting = False
        if future.cancelled():
            return
        error = future.exception()
        if error is None and self._followers.get(follower.console.ref) is not follower:
            future.result().close()
        elif error is None:
            sock = future.result()
            keep_alive(sock)
            sock.setblocking(False)
            follower.sock = sock
            if follower.joiner.holding:
                follower.hold_until = time.monotonic() + HOLD
            self._last[follower.instance] = follower.console.uuid
            self._selector.register(sock, selectors.EVENT_READ, follower)
            self._read(follower)  # TLS may have taken the first bytes off the network already
        else:
            LOG.debug("console of instance %s: %s", follower.instance, error)
            self._lose(follower)

    def _read(self, follower: _Follower) -> None:
        sock = follower.sock
        turns = 0
        # TLS may hold bytes that no selector tells of; one that talks all the time must not keep the others waiting
        while sock is not None and (turns < _TURNS or (isinstance(sock, ssl.SSLSocket) and sock.pending())):
            turns += 1
            try:
                data = sock.recv(_PIECE)
            except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
                return
            except OSError as error:
                LOG.debug("console of instance %s broke off: %s", follower.instance, error)
                data = b""
            if not data:
                self._lose(follower)
                return
            follower.failures = 0
            self._record(follower, follower.joiner.feed(data))
            follower.quiet_at = time.monotonic() + QUIET if follower.joiner.holding else None

    def _record(self, follower: _Follower, data: bytes) -> None:
        if not data:
            return
        try:
            self._log(follower.instance).append(data)
        except OSError as error:
            LOG.error("console log of instance %s could not be written: %s", follower.instance, error)

    def _settle(self, follower: _Follower) -> None:
        follower.quiet_at = follower.hold_until = None
        self._record(follower, follower.joiner.settle())

    def _lose(self, follower: _Follower) -> None:
        """A console has ended or could not be reached: try again as long as the VM offers it."""
        self._settle(follower)
        self._close(follower)
        now_offered = console_of(self._client.cache, follower.console.vm, "vt100")
        if follower.ends_at is not None or now_offered is None or now_offered.ref != follower.console.ref:
            self._drop(follower)
            return
        follower.joiner = Joiner(self._log(follower.instance).tail(MAX_HISTORY))
        follower.retry_at = time.monotonic() + DELAYS[min(follower.failures, len(DELAYS) - 1)]
        follower.failures += 1

    def _drop(self, follower: _Follower) -> None:
        if self._followers.get(follower.console.ref) is follower:
            del self._followers[follower.console.ref]
        self._settle(follower)
        self._close(follower)

    def _close(self, follower: _Follower) -> None:
        sock, follower.sock = follower.sock, None
        if sock is not None:
            self._selector.unregister(sock)
            abort(sock)
            sock.close()


def _nothing() -> None:
    """Nothing to undo yet."""
