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
"""A running QEMU process as a domain: power through QMP, devices, consoles, and the end of the guest."""

from __future__ import annotations

import contextlib
import logging
import os
import select
import socket
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from xapikit.host.domains.guest import Guest
from xapikit.host.domains.model import (
    DiskConfig,
    DiskSource,
    DomainConfig,
    DomainFailed,
    End,
    Ended,
    NicConfig,
    OnEnd,
    Protocols,
    Write,
)
from xapikit.host.domains.qemu import command, migration
from xapikit.host.domains.qemu.qmp import Qmp, QmpError, QmpGone
from xapikit.host.domains.qemu.serial import SerialLine
from xapikit.host.storage.processes import ProcessIdentity

LOG = logging.getLogger(__name__)

QUIT_SECONDS = 10.0
UNPLUG_SECONDS = 20.0
SAVE_SECONDS = 600.0
CONSOLE_SECONDS = 10.0


class QemuDomain(Guest):
    """One guest. ``changed`` is called when what must be remembered of it changes (configuration, paused)."""

    def __init__(
        self,
        config: DomainConfig,
        process: ProcessIdentity,
        files: command.Files,
        *,
        paused: bool,
        on_end: OnEnd,
        last_words: Callable[[], str],
        changed: Callable[[QemuDomain], None],
        gone: Callable[[QemuDomain], None],
    ) -> None:
        super().__init__(config, paused=paused)
        self.process = process
        self.files = files
        self._on_end = on_end
        self._last_words = last_words
        self._changed = changed
        self._gone = gone
        self._ending = False
        self._reboot_asked = False
        self._changes = threading.Condition()
        self._removed: set[str] = set()
        self._migration = ""
        self._ended = threading.Event()
        self._ready = threading.Event()
        self.qmp = Qmp(files.qmp, self._event)
        try:
            self.status = self._stand_still()
            self._serial = SerialLine(files.serial, files.serial_log)
        except (OSError, QmpError) as error:
            self.qmp.close()
            raise QmpGone(f"no serial line: {error}") from error
        self._ready.set()
        threading.Thread(target=self._watch, name=f"qemu-{config.domid}", daemon=True).start()

    def _stand_still(self) -> str:
        """Status of the guest, which runs no further: so that the history of its serial line has no gap."""
        status: str = self.qmp.execute("query-status")["status"]
        if status == "running":
            self.qmp.execute("stop")
        return status

    # power -------------------------------------------------------------------------------------------------------

    def pause(self) -> None:
        self._do("stop")
        self._set_paused(True)

    def unpause(self) -> None:
        self._do("cont")
        self._set_paused(False)

    def _remembered(self) -> None:
        self._changed(self)

    def request_shutdown(self) -> bool:
        with self._lock:
            self._reboot_asked = False
        self._do("system_powerdown")
        return True

    def request_reboot(self) -> bool:
        # a PC has a power button and no reboot button: the guest powers off, and that is taken as the reboot
        with self._lock:
            self._reboot_asked = True
        self._do("system_powerdown")
        return True

    def destroy(self) -> None:
        with self._lock:
            self._ending = True
        with contextlib.suppress(QmpGone, QmpError):
            self.qmp.execute("quit", timeout=QUIT_SECONDS)
        if not self._ended.wait(QUIT_SECONDS):
            LOG.warning("QEMU of VM %s does not quit, it is killed", self.config.vm)
            self.process.end(0.0)
            self._ended.wait(QUIT_SECONDS)

    def end_by_itself(self, end: End, detail: str = "") -> None:
        if end is End.CRASHED:
            self.process.end(0.0)  # whoever watches it says the rest
        else:
            self._end(Ended(end, detail))

    def release(self) -> None:
        """Let go of the process, which runs on without this server."""
        with self._lock:
            self._ending = True
        self._serial.close()
        self.qmp.close()

    def is_alive(self) -> bool:
        return not self._ended.is_set() and self.process.alive()

    # its state elsewhere -----------------------------------------------------------------------------------------

    def send(self, write: Write, *, stopped: Callable[[], None] | None = None) -> None:
        migration.send(self, write, stopped)

    def restore(self, state: migration.Incoming) -> None:
        """Feed a new process, started to take it, the state that ``save`` or ``send`` wrote."""
        migration.receive(self, state)

    def printed(self) -> bytes:
        """What the guest printed lately."""
        return self._serial.console.history()

    def precede(self, printed: bytes) -> None:
        """Add what the guest had printed before it came here; nothing was printed here yet."""
        self._serial.precede(printed)

    @property
    def gate(self) -> Path:
        """The socket through which state comes and goes."""
        return self.files.qmp.with_suffix(".m")

    def order(self, name: str, arguments: Mapping[str, Any] | None = None) -> Any:
        """A QMP command. Raises DomainFailed."""
        return self._do(name, arguments)

    def expect_migration(self) -> None:
        """Forget the outcome of an earlier one."""
        with self._changes:
            self._migration = ""

    def await_migration(self, *statuses: str) -> str:
        """Wait until the migration has one of these statuses, or is over: the status. Raises DomainFailed."""
        wanted = {*statuses, "completed", "failed", "cancelled"}
        with self._changes:
            self._changes.wait_for(lambda: self._migration in wanted or self._ended.is_set(), SAVE_SECONDS)
            if self._ended.is_set() and self._migration not in wanted:
                raise DomainFailed(self.config.vm, "it ended while its state was taken")
            if self._migration not in wanted:
                raise DomainFailed(self.config.vm, f"its state was not taken in {SAVE_SECONDS:.0f} s")
            return self._migration

    # consoles ----------------------------------------------------------------------------------------------------

    def _console(self, protocol: Protocols) -> socket.socket:
        if protocol == "vt100":
            return self._serial.console.connect()
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.settimeout(CONSOLE_SECONDS)
            connection.connect(str(self.files.vnc))
        except OSError as error:
            connection.close()
            raise DomainFailed(self.config.vm, f"its VNC server does not answer: {error}") from error
        return connection

    @property
    def text(self) -> str:
        """What the guest printed lately."""
        return self.printed().decode(errors="replace")

    def wait_for_text(self, text: str, timeout: float) -> bool:
        """Block until the guest has printed ``text``; False after ``timeout`` seconds."""
        return self._serial.console.wait_for(text.encode(), timeout)

    # devices -----------------------------------------------------------------------------------------------------

    def _do_plug_disk(self, disk: DiskConfig) -> None:
        if disk.source is None or disk.cdrom:
            raise DomainFailed(self.config.vm, "only disks are plugged into a running guest")
        self._do("blockdev-add", command.blockdev(disk.uuid, disk.source, read_only=disk.read_only))
        try:
            self._do("device_add", command.disk_device(disk, None))
        except DomainFailed:
            self._do("blockdev-del", {"node-name": command.node_name(disk.uuid)})
            raise

    def _do_unplug_disk(self, uuid: str, force: bool) -> None:
        self._unplug(command.disk_id(uuid), force)
        self._do("blockdev-del", {"node-name": command.node_name(uuid)})

    def _do_insert(self, uuid: str, source: DiskSource) -> None:
        self._do("blockdev-add", command.blockdev(uuid, source, read_only=True))
        try:
            self._do("blockdev-open-tray", {"id": command.disk_id(uuid), "force": True})
            self._do("blockdev-insert-medium", {"id": command.disk_id(uuid), "node-name": command.node_name(uuid)})
        except DomainFailed:
            self._do("blockdev-del", {"node-name": command.node_name(uuid)})
            raise
        self._do("blockdev-close-tray", {"id": command.disk_id(uuid)})

    def _do_eject(self, uuid: str) -> None:
        self._do("blockdev-open-tray", {"id": command.disk_id(uuid), "force": True})
        self._do("blockdev-remove-medium", {"id": command.disk_id(uuid)})
        self._do("blockdev-del", {"node-name": command.node_name(uuid)})
        self._do("blockdev-close-tray", {"id": command.disk_id(uuid)})

    def _do_plug_nic(self, nic: NicConfig) -> None:
        self._do("netdev_add", command.netdev(nic))
        try:
            self._do("device_add", command.nic_device(nic, None))
        except DomainFailed:
            self._do("netdev_del", {"id": command.netdev_id(nic.uuid)})
            raise

    def _do_unplug_nic(self, uuid: str, force: bool) -> None:
        self._unplug(command.nic_id(uuid), force)
        self._do("netdev_del", {"id": command.netdev_id(uuid)})

    def _do_set_vcpus(self, count: int) -> None:
        slots = self._do("query-hotpluggable-cpus")
        free = [slot for slot in reversed(slots) if "qom-path" not in slot]
        missing = count - (len(slots) - len(free))
        if missing < 0:
            raise DomainFailed(self.config.vm, "processors of a running guest are only added")
        for number, slot in enumerate(free[:missing]):
            identity = f"cpu-{len(slots) - len(free) + number}"
            self._do("device_add", {"driver": slot["type"], "id": identity, **slot["props"]})

    def set_memory(self, size: int) -> None:
        self._do("balloon", {"value": size})

    def _unplug(self, device: str, force: bool) -> None:
        self._do("device_del", {"id": device})
        with self._changes:
            done = self._changes.wait_for(lambda: device in self._removed, 1.0 if force else UNPLUG_SECONDS)
            self._removed.discard(device)
        if not done:
            raise DomainFailed(self.config.vm, "the guest keeps the device")

    # inside ------------------------------------------------------------------------------------------------------

    def _do(self, name: str, arguments: Mapping[str, Any] | None = None) -> Any:
        try:
            return self.qmp.execute(name, arguments)
        except (QmpError, QmpGone) as error:
            raise DomainFailed(self.config.vm, f"QEMU does not obey: {error}") from error

    def _event(self, name: str, data: Mapping[str, Any]) -> None:
        self._ready.wait(CONSOLE_SECONDS)
        match name:
            case "SHUTDOWN" if data.get("guest") or data.get("reason") == "guest-reset":
                self.guest_ended(str(data.get("reason")))
            case "GUEST_PANICKED":
                self._end(Ended(End.CRASHED, "the guest's kernel panicked"))
            case "DEVICE_DELETED" if "device" in data:
                with self._changes:
                    self._removed.add(data["device"])
                    self._changes.notify_all()
            case "MIGRATION":
                with self._changes:
                    self._migration = str(data.get("status"))
                    self._changes.notify_all()
            case "BLOCK_IO_ERROR":
                LOG.error("VM %s: %s error on disk %s: %s", self.config.vm, data.get("operation"),
                          data.get("node-name"), data.get("reason"))  # fmt: skip

    def guest_ended(self, reason: str) -> None:
        """The guest powered off or reset itself."""
        rebooted = reason == "guest-reset" or self._reboot_asked
        self._end(Ended(End.REBOOTED if rebooted else End.HALTED, reason))

    def _end(self, ended: Ended) -> None:
        with self._lock:
            if self._ending:
                return
            self._ending = True
        self.destroy()
        self._on_end(self, ended)

    def _watch(self) -> None:
        fd = self.process.open_pidfd()
        if fd is not None:
            try:
                select.select([fd], [], [])
            finally:
                os.close(fd)
        self._serial.drain(2.0)
        with self._lock:
            by_itself = not self._ending
            self._ending = True
        words = self._last_words()
        self.qmp.close()
        self._serial.close()
        self._gone(self)
        with self._changes:
            self._ended.set()
            self._changes.notify_all()
        if by_itself:
            LOG.error("QEMU of VM %s died: %s", self.config.vm, words or "it said nothing")
            self._on_end(self, Ended(End.CRASHED, f"QEMU died: {words or 'it said nothing'}"))
