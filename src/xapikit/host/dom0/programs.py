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
"""Runs plug-ins and extensions: lookup, arguments, environment, what their end means (wire reference 7.3).

A program gets the environment of dom0 (PATH and a locale) and three names more, because it does not run inside dom0:
``XAPI_DOM0_ROOT``, the directory that stands for ``/`` (its commands come first in PATH), ``XENSTORED_PATH``, the
socket of the host's XenStore, and ``XAPI_URL``, where the caller's session can be used. With the option
``dom0_view=root`` it finds dom0 at the paths of a real host (:mod:`xapikit.host.dom0.view`) and has the last one alone.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from xapikit.host.dom0 import view
from xapikit.host.dom0.directory import COMMANDS, Dom0Directory
from xapikit.host.errors import ApiError

if TYPE_CHECKING:
    from xapikit.host.pool import Pool

SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def failure(*words: str) -> ApiError:
    """``XENAPI_PLUGIN_FAILURE`` as a host words it."""
    return ApiError("XENAPI_PLUGIN_FAILURE", *words)


@dataclass(frozen=True)
class Output:
    """What a program wrote. Undecodable bytes of ``stdout`` are kept as they are."""

    stdout: bytes
    stderr: str


class Programs:
    """The programs of one pool, and those that run now."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._directory = Dom0Directory(pool)
        self._own_root = pool.settings.options.get("dom0_view", "environment") == "root"
        self._lock = threading.Lock()
        self._running: set[subprocess.Popen[bytes]] = set()

    def root(self, host_uuid: str) -> Path:
        """The directory that stands for ``/`` of a host's dom0, as it is to be found now."""
        return self._directory.refresh(host_uuid)

    def place(self, host_uuid: str) -> Path:
        """The same as it is, for who keeps files of its own there."""
        return self._directory.path(host_uuid)

    def find(self, host_uuid: str, directory: str, name: str) -> Path | None:
        """The program of exactly that name. A name is an entry of the directory, never a path."""
        where = self._directory.path(host_uuid) / directory
        return next((entry for entry in where.iterdir() if entry.name == name), None)

    def run(self, host_uuid: str, program: Path, arguments: Sequence[str], *, stdin: bytes | None = None) -> Output:
        """Run in the dom0 of a host, to the end, however long that takes. Raises XENAPI_PLUGIN_FAILURE."""
        root = self.root(host_uuid)
        environment = {
            "LC_CTYPE": "C.UTF-8",
            "XAPI_URL": self._pool.hosts[self._pool.coordinator].url(https=False),
        }
        if self._own_root:
            environment["PATH"] = ":".join([*(f"/{commands}" for commands in COMMANDS), SYSTEM_PATH])
            command = [sys.executable, "-I", "-S", view.__file__, str(root), f"/{program.relative_to(root)}"]
        else:
            environment["PATH"] = ":".join([*(str(root / commands) for commands in COMMANDS), SYSTEM_PATH])
            environment["XAPI_DOM0_ROOT"] = str(root)
            environment["XENSTORED_PATH"] = str(self._pool.guests.socket(host_uuid))
            command = [str(program)]
        try:
            process = subprocess.Popen(
                [*command, *arguments],
                cwd="/",
                env=environment,
                stdin=subprocess.PIPE if stdin is not None else subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
        except (OSError, ValueError):
            # not executable, a directory, an interpreter that is missing, an argument above 128 KiB
            raise failure("non-zero exit", "", "") from None
        with self._lock:
            self._running.add(process)
        try:
            stdout, stderr = process.communicate(stdin)
        finally:
            with self._lock:
                self._running.discard(process)
        errors = stderr.decode("utf-8", "replace")
        if process.returncode < 0:
            raise failure(f"signal: {_signal_name(-process.returncode)}", stdout.decode("utf-8", "replace"), errors)
        if process.returncode:
            raise failure("non-zero exit", stdout.decode("utf-8", "replace"), errors)
        return Output(stdout, errors)

    def start(self) -> None:
        """Have the directories looked at by people as well as by programs."""
        for row in self._pool.store.all("host").values():
            self.root(row["uuid"])

    def stop(self, *, stop_guests: bool) -> None:
        """End what still runs: its caller is gone."""
        with self._lock:
            running = list(self._running)
        for process in running:
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                continue


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return str(number)
