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
"""A small client of QEMU's machine protocol: commands with time-outs, events to a function."""

from __future__ import annotations

import contextlib
import itertools
import json
import logging
import queue
import socket
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

LOG = logging.getLogger(__name__)

CONNECT_SECONDS = 30.0
COMMAND_SECONDS = 30.0

OnEvent = Callable[[str, Mapping[str, Any]], None]


class QmpError(Exception):
    """QEMU refused a command."""

    def __init__(self, command: str, kind: str, text: str) -> None:
        self.command = command
        self.kind = kind
        super().__init__(f"{command}: {text}")


class QmpGone(Exception):
    """The connection ended, or no answer came in time."""


class Qmp:
    """One connection. Events are delivered in order from a thread of their own, so that handlers may send commands."""

    def __init__(self, path: Path, on_event: OnEvent) -> None:
        self._on_event = on_event
        self._ids = itertools.count(1)
        self._lock = threading.Lock()
        self._waiting: dict[int, queue.SimpleQueue[Mapping[str, Any] | None]] = {}
        self._events: queue.SimpleQueue[tuple[str, Mapping[str, Any]] | None] = queue.SimpleQueue()
        self._gone = False
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._socket.settimeout(CONNECT_SECONDS)
            self._socket.connect(str(path))
            self._reader = self._socket.makefile("rb")
            greeting = json.loads(self._reader.readline() or b"{}")
            if "QMP" not in greeting:
                raise QmpGone(f"no greeting on {path}")
            self._socket.settimeout(None)
        except (OSError, ValueError) as error:
            self._socket.close()
            raise QmpGone(f"cannot connect to {path}: {error}") from error
        for name, target in (("read", self._read), ("events", self._deliver)):
            threading.Thread(target=target, name=f"qmp-{name}", daemon=True).start()
        self.execute("qmp_capabilities")

    def execute(
        self, command: str, arguments: Mapping[str, Any] | None = None, *, timeout: float = COMMAND_SECONDS
    ) -> Any:
        """Send a command and return its value.

        Raises QmpError when QEMU refuses, QmpGone when there is no answer within ``timeout`` seconds.
        """
        answer: queue.SimpleQueue[Mapping[str, Any] | None] = queue.SimpleQueue()
        number = next(self._ids)
        request = {"execute": command, "id": number, "arguments": dict(arguments or {})}
        with self._lock:
            if self._gone:
                raise QmpGone(f"{command}: QEMU is gone")
            self._waiting[number] = answer
            try:
                self._socket.sendall(json.dumps(request).encode() + b"\n")
            except OSError as error:
                del self._waiting[number]
                raise QmpGone(f"{command}: {error}") from error
        try:
            reply = answer.get(timeout=timeout)
        except queue.Empty:
            raise QmpGone(f"{command}: no answer in {timeout:g} s") from None
        finally:
            self._waiting.pop(number, None)
        if reply is None:
            raise QmpGone(f"{command}: QEMU went away")
        if "error" in reply:
            raise QmpError(command, reply["error"].get("class", ""), reply["error"].get("desc", ""))
        return reply.get("return")

    def close(self) -> None:
        """End the connection; QEMU goes on."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _read(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            while line := self._reader.readline():
                message = json.loads(line)
                if "event" in message:
                    self._events.put((message["event"], message.get("data", {})))
                elif (waiting := self._waiting.get(message.get("id", 0))) is not None:
                    waiting.put(message)
        with self._lock:
            self._gone = True
            for waiting in self._waiting.values():
                waiting.put(None)
        self._events.put(None)

    def _deliver(self) -> None:
        while (event := self._events.get()) is not None:
            try:
                self._on_event(*event)
            except Exception:
                LOG.exception("what follows QEMU event %s failed", event[0])
