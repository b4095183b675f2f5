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
"""The kind ``timed`` and its domains."""

from __future__ import annotations

import json
import logging
import socket
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from xapikit.host.clock import Clock
from xapikit.host.domains.guest import Guest
from xapikit.host.domains.model import (
    Domain,
    DomainConfig,
    DomainFailed,
    End,
    Ended,
    OnEnd,
    Protocols,
    Readable,
    Write,
)
from xapikit.host.domains.textconsole import TextConsole
from xapikit.host.domains.timed import rfb, testcard

LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Delays:
    """Seconds that things take; all 0 makes everything immediate."""

    build: float = 0.01
    shutdown: float = 0.05
    save: float = 0.02

    def scaled(self, factor: float) -> Delays:
        return Delays(self.build * factor, self.shutdown * factor, self.save * factor)


class TimedDomain(Guest):
    """A guest that does nothing, at its own pace. It obeys shutdown requests unless its platform says otherwise."""

    def __init__(
        self, kind: TimedKind, config: DomainConfig, paused: bool, on_end: OnEnd, printed: bytes | None = None
    ) -> None:
        """``printed`` is what the guest has printed so far, for one that goes on."""
        super().__init__(config, paused=paused)
        self._kind = kind
        self._on_end = on_end
        self._alive = True
        self._text = TextConsole(self._input, history=printed) if printed is not None else None
        self._typed = bytearray()
        if not paused:
            self._boot()

    # power -------------------------------------------------------------------------------------------------------

    def pause(self) -> None:
        self.paused = True

    def unpause(self) -> None:
        with self._lock:
            self.paused = False
            self._boot()

    def request_shutdown(self) -> bool:
        return self._ask(End.HALTED)

    def request_reboot(self) -> bool:
        return self._ask(End.REBOOTED)

    def end_by_itself(self, end: End, detail: str = "") -> None:
        """The guest powers off, reboots or crashes of its own accord (for tests and fault rules)."""
        with self._lock:
            if not self._alive:
                return
            self._alive = False
            if self._text is not None:
                self._text.close()
        self._on_end(self, Ended(end, detail))

    def destroy(self) -> None:
        with self._lock:
            self._alive = False
            if self._text is not None:
                self._text.close()

    def is_alive(self) -> bool:
        return self._alive

    def send(self, write: Write, *, stopped: Callable[[], None] | None = None) -> None:
        self._kind.wait(self._kind.delays.save)
        if not self._alive:
            raise DomainFailed(self.config.vm, "it ended before its state was taken")
        text = self._console_text().history().decode("latin-1")
        if stopped is not None:
            stopped()
        write(json.dumps({"timed": self.config.vm, "text": text}).encode())
        self.paused = True

    def _ask(self, end: End) -> bool:
        if self.config.platform.get("timed_ignores_requests") == "true":
            return True  # a guest that takes the request and does not act on it
        self._kind.clock.later(self._kind.delays.shutdown, lambda: self.end_by_itself(end))
        return True

    # consoles ----------------------------------------------------------------------------------------------------

    def _console(self, protocol: Protocols) -> socket.socket:
        return rfb.serve(self._picture) if protocol == "rfb" else self._console_text().connect()

    def _picture(self) -> tuple[str, testcard.Picture]:
        lines = (self.config.name, f"domain {self.config.domid}", self.config.vm[:32])
        return f"{self.config.name} (domain {self.config.domid})", testcard.draw(lines)

    def _console_text(self) -> TextConsole:
        with self._lock:
            if self._text is None:  # most guests of a test are never looked at
                self._text = TextConsole(self._input)
                if not self.paused:
                    self._print_boot(self._text)
            return self._text

    def _boot(self) -> None:
        if self._text is not None and not self._text.history():
            self._print_boot(self._text)

    def _print_boot(self, console: TextConsole) -> None:
        config = self.config
        lines = [
            f"Booting {config.name} ({config.vm}) from order {config.boot_order!r}",
            f"memory {config.memory_bytes // 2**20} MiB, {config.vcpus} of {config.vcpus_max} processors",
            *(f"disk {disk.position}: {'read-only ' if disk.read_only else ''}{disk.uuid}" for disk in config.disks),
            *(f"network {nic.position}: {nic.mac} mtu {nic.mtu}" for nic in config.nics),
            "",
            "This guest is timed: it has power states and consoles, and runs nothing.",
            "",
            f"{config.name} login: ",
        ]
        console.write("\r\n".join(lines).encode())

    def _input(self, data: bytes) -> None:
        console = self._console_text()
        for byte in data:
            if byte in (10, 13):
                self._typed.clear()
                console.write(f"\r\nnobody is here\r\n{self.config.name} login: ".encode())
            else:
                self._typed.append(byte)
                console.write(bytes([byte]))

    # devices: the configuration is all there is -----------------------------------------------------------------------

    def _do_unplug_disk(self, uuid: str, force: bool) -> None:
        self._let_go(force)

    def _do_unplug_nic(self, uuid: str, force: bool) -> None:
        self._let_go(force)

    def _let_go(self, force: bool) -> None:
        if self.config.platform.get("timed_keeps_devices") == "true" and not force:
            raise DomainFailed(self.config.vm, "the guest keeps the device")

    def set_memory(self, size: int) -> None:
        self._remember(memory_bytes=size)


class TimedKind:
    """Makes timed guests. ``delays`` scaled to 0 makes every transition immediate."""

    name = "timed"

    def __init__(self, delays: Delays | None = None) -> None:
        self.delays = delays or Delays()
        self.clock = Clock("timed-domains")
        self._stopping = threading.Event()

    def wait(self, seconds: float) -> None:
        """Take some time, unless the server ends."""
        if seconds > 0:
            self._stopping.wait(seconds)

    def check(self) -> None:
        """Nothing is needed."""

    def start(self, config: DomainConfig, *, paused: bool, on_end: OnEnd, state: Readable | None = None) -> Domain:
        self.wait(self.delays.build)
        printed = None if state is None else _printed(config, b"".join(iter(lambda: state.read(1 << 20), b"")))
        return TimedDomain(self, config, paused, on_end, printed)

    def adopt(self, known: Mapping[str, DomainConfig], on_end: OnEnd) -> dict[str, Domain]:
        return {vm: TimedDomain(self, config, False, on_end) for vm, config in known.items()}

    def keepsake(self, vm: str) -> bytes | None:
        return None

    def keep(self, vm: str, content: bytes | None) -> None:
        """Nothing is kept."""

    def stop(self, *, stop_guests: bool) -> None:
        self._stopping.set()
        self.clock.stop()


def _printed(config: DomainConfig, state: bytes) -> bytes:
    """What a guest had printed when its state was taken."""
    try:
        content = json.loads(state)
        _, text = content["timed"], content["text"].encode("latin-1")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DomainFailed(config.vm, "its state was not written by a timed guest") from error
    printed: bytes = text
    return printed
