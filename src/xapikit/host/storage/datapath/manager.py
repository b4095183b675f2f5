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
"""The server's side of data paths: start, find again, command, notice their end, leave nothing behind."""

from __future__ import annotations

import json
import logging
import os
import secrets
import select
import selectors
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from xapikit.host.storage.processes import ProcessIdentity

LOG = logging.getLogger(__name__)

_START_SECONDS = 30.0
_COMMAND_SECONDS = 60.0
_LONGEST_SOCKET = 107
"""Bytes in ``sun_path``, less the zero at its end."""


class DataPathFailed(Exception):
    """A data path did not start or did not obey."""

    def __init__(self, disk: str, why: str) -> None:
        self.disk = disk
        self.why = why
        super().__init__(f"data path of {disk}: {why}")


@dataclass(frozen=True)
class DataPathRecord:
    """What is known about a data path, and kept in ``run`` as ``<name>.json`` while it exists."""

    name: str
    process: str
    disk: str
    read_only: bool
    labels: dict[str, str]
    """What the caller wants to know when it is found again: the VDI, the holder, the host."""


class DataPath:
    """A running data path. ``socket`` is where NBD clients connect."""

    def __init__(self, record: DataPathRecord, sockets: Path, child: subprocess.Popen[bytes] | None) -> None:
        self.record = record
        self.process = ProcessIdentity.parse(record.process)
        self.socket = sockets / f"{record.name}.n"
        self.control = sockets / f"{record.name}.c"
        self._child = child

    @property
    def labels(self) -> dict[str, str]:
        return self.record.labels

    def command(self, action: str, **arguments: Any) -> dict[str, Any]:
        """Send one command and wait for its answer. Raises DataPathFailed."""
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
                connection.settimeout(_COMMAND_SECONDS)
                connection.connect(str(self.control))
                connection.sendall(json.dumps({"do": action, **arguments}).encode() + b"\n")
                with connection.makefile("rb") as reader:
                    line = reader.readline()
                answer: dict[str, Any] = json.loads(line)
        except (OSError, ValueError) as error:
            raise DataPathFailed(self.record.disk, f"no answer to {action}: {error}") from error
        if not answer.get("ok"):
            raise DataPathFailed(self.record.disk, f"{action}: {answer.get('error')}")
        return answer

    def status(self) -> dict[str, Any]:
        return self.command("status")

    def pause(self) -> None:
        """Requests of clients wait from now on and the files are closed."""
        self.command("pause")

    def resume(self, path: Path | None = None) -> None:
        """Go on, with another file when ``path`` is given."""
        self.command("resume", path=None if path is None else str(path))

    def reap(self) -> None:
        """Collect the exit status of a child that has ended."""
        if self._child is not None:
            self._child.wait(timeout=_START_SECONDS)


class DataPaths:
    """All data paths of one server. ``lost`` is called from a thread of its own when one ends by itself."""

    def __init__(self, run: Path, lost: Callable[[DataPath], None]) -> None:
        self._run = run
        self._lost = lost
        self._lock = threading.Lock()
        self._live: dict[str, DataPath] = {}
        self._ending: set[str] = set()
        self._selector = selectors.DefaultSelector()
        self._wake_out, self._wake_in = os.pipe2(os.O_CLOEXEC)
        self._selector.register(self._wake_out, selectors.EVENT_READ, None)
        self._pending: list[DataPath] = []
        self._watcher: threading.Thread | None = None
        self._stopped = False
        run.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._sockets = self._socket_directory()

    def _socket_directory(self) -> Path:
        """Where the sockets are: in ``run`` when their paths fit, else in a short directory that a link names."""
        if len(os.fsencode(str(self._run.absolute() / "0123456789.n"))) <= _LONGEST_SOCKET:
            return self._run.absolute()
        link = self._run / "sockets"
        if link.is_symlink():
            target = link.readlink()
            if target.is_dir() and target.stat().st_uid == os.getuid():
                return target
            link.unlink()
        target = Path(tempfile.mkdtemp(prefix="xapi-"))  # mode 0700: a socket must not be open to everybody
        link.symlink_to(target)
        return target

    # start and end -----------------------------------------------------------------------------------------------

    def start(self, disk: Path, *, read_only: bool, labels: dict[str, str], name: str | None = None) -> DataPath:
        """Start a data path and wait until it serves. With the ``name`` of one that died it gets that one's socket,
        so that an NBD client that reconnects goes on. Raises DataPathFailed."""
        name = name or secrets.token_hex(5)
        ready_out, ready_in = os.pipe2(os.O_CLOEXEC)
        log = self._run / f"{name}.log"
        sockets = self._sockets
        # fmt: off
        command = [
            sys.executable, "-m", __package__, "--disk", str(disk), "--nbd", str(sockets / f"{name}.n"),
            "--control", str(sockets / f"{name}.c"), "--owner", str(ProcessIdentity.own()), "--ready-fd", str(ready_in),
        ]
        # fmt: on
        source = str(Path(__file__).parents[4])
        environment = {
            "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
            "PYTHONPATH": source,
            "PYTHONDONTWRITEBYTECODE": os.environ.get("PYTHONDONTWRITEBYTECODE", ""),
        }
        try:
            with log.open("wb") as output:
                child = subprocess.Popen(
                    [*command, "--read-only"] if read_only else command,
                    stdin=subprocess.DEVNULL, stdout=output, stderr=output, pass_fds=(ready_in,),
                    start_new_session=True, cwd="/", env=environment,
                )  # fmt: skip
        except OSError as error:
            os.close(ready_out)
            raise DataPathFailed(str(disk), str(error)) from error
        finally:
            os.close(ready_in)
        try:
            answer = _first_line(ready_out, _START_SECONDS)
        finally:
            os.close(ready_out)
        identity = ProcessIdentity.of(child.pid)
        if answer != "ready" or identity is None:
            child.kill()
            child.wait()
            why = answer.removeprefix("failed ") or log.read_text(errors="replace")[-2000:] or "it did not start"
            self._remove_files(name)
            raise DataPathFailed(str(disk), why)
        record = DataPathRecord(name, str(identity), str(disk), read_only, labels)
        self._write(record)
        path = DataPath(record, sockets, child)
        self._watch(path)
        return path

    def adopt(self) -> list[DataPath]:
        """Data paths of an earlier server that still run; what is left of others is removed."""
        found = []
        for file in sorted(self._run.glob("*.json")):
            record = DataPathRecord(**json.loads(file.read_text()))
            path = DataPath(record, self._sockets, None)
            if path.process.alive():
                try:
                    path.command("own", owner=str(ProcessIdentity.own()))
                except DataPathFailed as error:
                    LOG.warning("ended, because it does not answer: %s", error)
                    path.process.end()
                    self._remove_files(record.name)
                    continue
                self._watch(path)
                found.append(path)
            else:
                LOG.warning("the data path of %s (%s) ended while the server was away", record.disk, record.labels)
                self._remove_files(record.name)
        known = {path.record.name for path in found}
        for file in self._run.glob("*.log"):
            if file.stem not in known:
                self._remove_files(file.stem)
        return found

    def close(self, path: DataPath) -> None:
        """End a data path cleanly: what was written is on the disk when this returns."""
        name = path.record.name
        with self._lock:
            self._ending.add(name)
        try:
            try:
                path.command("close")
                fd = path.process.open_pidfd()
                if fd is not None:
                    try:
                        if not select.select([fd], [], [], _COMMAND_SECONDS)[0]:
                            raise DataPathFailed(path.record.disk, "it does not end")
                    finally:
                        os.close(fd)
            except DataPathFailed as error:
                if path.process.alive():
                    LOG.warning("ended by signal: %s", error)
                    path.process.end()
            path.reap()
        finally:
            with self._lock:
                self._live.pop(name, None)
                self._ending.discard(name)
            self._remove_files(name)

    def relabel(self, path: DataPath, disk: Path, labels: dict[str, str]) -> None:
        """A data path serves another file now: what is kept about it says so."""
        path.record = replace(path.record, disk=str(disk), labels=labels)
        self._write(path.record)

    def live(self) -> list[DataPath]:
        with self._lock:
            return list(self._live.values())

    def stop(self) -> None:
        """Stop watching. The data paths go on: the next server finds them."""
        self._stopped = True
        os.write(self._wake_in, b"x")
        if self._watcher is not None:
            self._watcher.join()
        for key in list(self._selector.get_map().values()):
            if key.data is not None:
                os.close(int(key.fd))
        self._selector.close()
        os.close(self._wake_in)
        os.close(self._wake_out)
        if self._sockets != self._run.absolute() and not any(self._sockets.iterdir()):
            self._sockets.rmdir()
            (self._run / "sockets").unlink(missing_ok=True)

    # files -------------------------------------------------------------------------------------------------------

    def _write(self, record: DataPathRecord) -> None:
        temporary = self._run / f".{record.name}.new"
        temporary.write_text(json.dumps(asdict(record)))
        temporary.replace(self._run / f"{record.name}.json")

    def _remove_files(self, name: str) -> None:
        for file in (self._run / f"{name}.json", self._run / f"{name}.log"):
            file.unlink(missing_ok=True)
        for file in (self._sockets / f"{name}.n", self._sockets / f"{name}.c"):
            file.unlink(missing_ok=True)

    # noticing ends -----------------------------------------------------------------------------------------------

    def _watch(self, path: DataPath) -> None:
        with self._lock:
            self._live[path.record.name] = path
            self._pending.append(path)
            if self._watcher is None:
                self._watcher = threading.Thread(target=self._watching, name="datapath-watch", daemon=True)
                self._watcher.start()
        os.write(self._wake_in, b"x")

    def _watching(self) -> None:
        while not self._stopped:
            for key, _ in self._selector.select():
                if key.data is None:
                    os.read(self._wake_out, 4096)
                else:
                    self._selector.unregister(key.fd)
                    os.close(int(key.fd))
                    self._ended(key.data)
            with self._lock:
                pending, self._pending = self._pending, []
            for path in pending:
                fd = path.process.open_pidfd()
                if fd is None:
                    self._ended(path)
                else:
                    self._selector.register(fd, selectors.EVENT_READ, path)

    def _ended(self, path: DataPath) -> None:
        with self._lock:
            lost = self._live.get(path.record.name) is path and path.record.name not in self._ending
            if lost:
                del self._live[path.record.name]
        if not lost:
            return
        path.reap()
        said = (self._run / f"{path.record.name}.log").read_text(errors="replace")[-1000:].strip()
        LOG.error("the data path of %s ended by itself: %s", path.record.disk, said or "it said nothing")
        self._remove_files(path.record.name)
        try:
            self._lost(path)
        except Exception:
            LOG.exception("what follows the end of the data path of %s failed", path.record.disk)


def _first_line(fd: int, patience: float) -> str:
    """What a starting process says first; empty when it ended or took longer than ``patience`` seconds."""
    if not select.select([fd], [], [], patience)[0]:
        return ""
    return os.read(fd, 4096).decode(errors="replace").strip()
