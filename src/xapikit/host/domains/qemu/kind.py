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
"""The kind ``qemu``: starts processes, remembers them, finds them again."""

from __future__ import annotations

import json
import logging
import secrets
import shutil
import socket
import subprocess
import threading
from collections.abc import Mapping
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xapikit.host.domains.model import (
    Domain,
    DomainConfig,
    DomainFailed,
    End,
    Ended,
    MissingProgram,
    OnEnd,
    Readable,
)
from xapikit.host.domains.qemu import accel, command, migration
from xapikit.host.domains.qemu.domain import QemuDomain
from xapikit.host.domains.qemu.qmp import QmpError, QmpGone
from xapikit.host.domains.sockets import leave_socket_directory, socket_directory
from xapikit.host.storage.processes import ProcessIdentity

LOG = logging.getLogger(__name__)

OVMF_CODE = (Path("/usr/share/OVMF/OVMF_CODE_4M.fd"), Path("/usr/share/OVMF/OVMF_CODE.fd"))
OVMF_VARIABLES = (Path("/usr/share/OVMF/OVMF_VARS_4M.fd"), Path("/usr/share/OVMF/OVMF_VARS.fd"))
SUFFIXES = ("q", "v", "s", "m")
"""Sockets of a domain: control, VNC, serial line, migration."""
WORDS = 2000
"""Characters of what QEMU said last that are kept."""


@dataclass(frozen=True)
class _Record:
    """What is known about a domain, kept in ``run`` as ``<name>.json`` while it exists."""

    name: str
    process: str
    """Empty while it is being started."""
    paused: bool
    config: DomainConfig


class QemuKind:
    """``run`` is the directory for everything about running guests, ``keep`` for what stays with a VM (UEFI
    variables). ``accelerator`` is ``auto`` (a trial decides), ``kvm`` or ``tcg``."""

    name = "qemu"

    def __init__(self, run: Path, keep: Path, *, accelerator: str = "auto") -> None:
        self._run = run
        self._keep = keep
        self._sockets = socket_directory(run, "0123456789.q")
        self._lock = threading.Lock()
        self._domains: dict[str, QemuDomain] = {}
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._accelerator: Future[str] = Future()
        threading.Thread(target=self._choose, args=(accelerator,), name="kvm-trial", daemon=True).start()

    def check(self) -> None:
        if accel.program() is None:
            raise MissingProgram("", accel.PROGRAM, accel.PACKAGE)

    # start -------------------------------------------------------------------------------------------------------

    def start(self, config: DomainConfig, *, paused: bool, on_end: OnEnd, state: Readable | None = None) -> Domain:
        qemu = accel.program()
        if qemu is None:
            raise MissingProgram(config.vm, accel.PROGRAM, accel.PACKAGE)
        incoming = migration.Incoming(config, state) if state is not None else None
        if incoming is not None:
            config = incoming.config
        name = secrets.token_hex(5)
        files = self._files(name, config)
        self._write(_Record(name, "", True, config))
        try:
            child = self._spawn(qemu, name, config, files, incoming=incoming is not None)
            try:
                domain = self._domain(name, config, _identity(config, child), files, paused=True, on_end=on_end)
                if incoming is not None:
                    domain.restore(incoming)
                if not paused:
                    domain.unpause()
            except BaseException as error:
                words = self._words(name)
                self._kill(name, child)
                if isinstance(error, QmpGone | DomainFailed):
                    raise DomainFailed(config.vm, f"QEMU did not start: {words or error}") from error
                raise
        except BaseException:
            self._remove_files(name)
            raise
        return domain

    def _spawn(
        self, qemu: str, name: str, config: DomainConfig, files: command.Files, *, incoming: bool
    ) -> subprocess.Popen[bytes]:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener, self._log(name).open("wb") as output:
            listener.bind(str(files.qmp))
            listener.listen(1)
            try:
                arguments = command.arguments(
                    config, files, accel=self._accelerator.result(), qmp_fd=listener.fileno(), incoming=incoming
                )
                child = subprocess.Popen(
                    [qemu, *arguments], stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                    pass_fds=(listener.fileno(),), start_new_session=True, cwd="/",
                )  # fmt: skip
            except (OSError, ValueError) as error:
                raise DomainFailed(config.vm, f"QEMU did not start: {error}") from error
        with self._lock:
            self._children[name] = child
        return child

    def _domain(
        self, name: str, config: DomainConfig, process: ProcessIdentity, files: command.Files, *, paused: bool,
        on_end: OnEnd,
    ) -> QemuDomain:  # fmt: skip
        def changed(domain: QemuDomain) -> None:
            self._write(_Record(name, str(process), domain.paused, domain.config))

        def gone(domain: QemuDomain) -> None:
            with self._lock:
                self._domains.pop(name, None)
                child = self._children.pop(name, None)
            if child is not None:
                child.wait()
            self._remove_files(name)

        domain = QemuDomain(
            config, process, files, paused=paused, on_end=on_end,
            last_words=lambda: self._words(name), changed=changed, gone=gone,
        )  # fmt: skip
        with self._lock:
            self._domains[name] = domain
        changed(domain)
        return domain

    def _files(self, name: str, config: DomainConfig) -> command.Files:
        code = variables = None
        if config.firmware == "uefi":
            code = next((path for path in OVMF_CODE if path.exists()), None)
            fresh = next((path for path in OVMF_VARIABLES if path.exists()), None)
            if code is None or fresh is None:
                raise MissingProgram(config.vm, "UEFI firmware (OVMF)", "ovmf")
            variables = self._variables(config.vm)
            if not variables.exists():
                self._keep.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(fresh, variables)
        qmp, vnc, serial = (self._sockets / f"{name}.{suffix}" for suffix in SUFFIXES[:3])
        run = self._run / name
        return command.Files(
            qmp, vnc, serial, run.with_suffix(".serial"), run.with_suffix(".pid"), code=code, variables=variables
        )

    def _variables(self, vm: str) -> Path:
        return self._keep / f"{vm}.fd"

    def keepsake(self, vm: str) -> bytes | None:
        """UEFI variables."""
        try:
            return self._variables(vm).read_bytes()
        except FileNotFoundError:
            return None

    def keep(self, vm: str, content: bytes | None) -> None:
        if content is None:
            self._variables(vm).unlink(missing_ok=True)
            return
        self._keep.mkdir(parents=True, exist_ok=True)
        self._variables(vm).write_bytes(content)

    # find again --------------------------------------------------------------------------------------------------

    def adopt(self, known: Mapping[str, DomainConfig], on_end: OnEnd) -> dict[str, Domain]:
        found: dict[str, Domain] = {}
        for file in sorted(self._run.glob("*.json")):
            record = self._read(file)
            if record is None:
                continue
            domain = self._adopt(record, on_end)
            if domain is None:
                continue
            wanted = known.get(record.config.vm)
            # of two, one was on its way to the other's place when the server ended: the rows tell which of them counts
            if wanted is None or wanted.domid != record.config.domid or record.config.vm in found:
                LOG.warning("ended, because no running VM has it: QEMU of VM %s", record.config.vm)
                domain.destroy()
            elif domain.status in ("shutdown", "guest-panicked", "internal-error"):
                LOG.info("VM %s ended while the server was away: %s", record.config.vm, domain.status)
                domain.destroy()
                end = End.HALTED if domain.status == "shutdown" else End.CRASHED
                on_end(domain, Ended(end, f"while the server was away: {domain.status}"))
            else:
                if not record.paused:
                    with suppress(DomainFailed):  # it ends this moment, and tells of its end itself
                        domain.unpause()
                found[record.config.vm] = domain
        return found

    def _adopt(self, record: _Record, on_end: OnEnd) -> QemuDomain | None:
        files = self._files(record.name, record.config)
        process = ProcessIdentity.parse(record.process) if record.process else _started(files)
        if process is None or not process.alive():
            self._remove_files(record.name)
            return None
        try:
            return self._domain(record.name, record.config, process, files, paused=record.paused, on_end=on_end)
        except (QmpGone, QmpError) as error:
            LOG.warning("ended, because it does not answer: QEMU of VM %s: %s", record.config.vm, error)
            process.end()
            self._remove_files(record.name)
            return None

    def stop(self, *, stop_guests: bool) -> None:
        with self._lock:
            domains = list(self._domains.values())
        for domain in domains:
            if stop_guests:
                domain.destroy()
            else:
                domain.release()
        if stop_guests:
            leave_socket_directory(self._run, self._sockets)

    # inside ------------------------------------------------------------------------------------------------------

    def _choose(self, wanted: str) -> None:
        qemu = accel.program()
        try:
            self._accelerator.set_result(accel.choose(qemu, wanted, self._run / "accelerator") if qemu else accel.TCG)
        except Exception as error:  # whoever starts a guest gets it
            self._accelerator.set_exception(error)

    def _kill(self, name: str, child: subprocess.Popen[bytes]) -> None:
        with self._lock:
            domain = self._domains.pop(name, None)
        if domain is not None:
            domain.destroy()
        child.kill()
        child.wait()
        with self._lock:
            self._children.pop(name, None)

    def _log(self, name: str) -> Path:
        return self._run / f"{name}.log"

    def _words(self, name: str) -> str:
        with suppress(FileNotFoundError):
            lines = self._log(name).read_text(errors="replace").strip().splitlines()
            return "\n".join(line.removeprefix(f"{accel.PROGRAM}: ") for line in lines)[-WORDS:]
        return ""

    def _write(self, record: _Record) -> None:
        data: dict[str, Any] = {"process": record.process, "paused": record.paused, "config": record.config.to_json()}
        temporary = self._run / f".{record.name}.new"
        temporary.write_text(json.dumps(data))
        temporary.replace(self._run / f"{record.name}.json")

    def _read(self, file: Path) -> _Record | None:
        try:
            data = json.loads(file.read_text())
            return _Record(file.stem, data["process"], data["paused"], DomainConfig.from_json(data["config"]))
        except FileNotFoundError:
            return None  # it ended this moment, and was tidied up by whoever still followed it
        except (ValueError, KeyError, TypeError) as error:
            LOG.error("the record %s of a domain cannot be read, it is left alone: %s", file, error)
            return None

    def _remove_files(self, name: str) -> None:
        for suffix in SUFFIXES:
            (self._sockets / f"{name}.{suffix}").unlink(missing_ok=True)
        for suffix in ("json", "log", "pid", "serial", "serial.1"):
            (self._run / f"{name}.{suffix}").unlink(missing_ok=True)


def _identity(config: DomainConfig, child: subprocess.Popen[bytes]) -> ProcessIdentity:
    identity = ProcessIdentity.of(child.pid)
    if identity is None:
        raise DomainFailed(config.vm, "it ended at once")
    return identity


def _started(files: command.Files) -> ProcessIdentity | None:
    """The process of a domain whose record has none: it was started just before the server died."""
    try:
        pid = int(files.pid.read_text())
        arguments = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except (FileNotFoundError, ProcessLookupError, ValueError):
        return None
    mine = str(files.pid).encode() in arguments  # the number may belong to somebody else by now
    return ProcessIdentity.of(pid) if mine else None
