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
"""The state of a QEMU guest leaves one process and enters another: live, through sockets of this server.

QEMU gets no file names and no addresses for it. It copies memory while the guest runs, stops the guest when the rest is
small, and waits (``pre-switchover``) until the disks are in order too; then the rest follows.

The state is one line of JSON (how the machine is built), pieces of QEMU's stream with their lengths before them (four
bytes, big endian; zero ends them), and one line of JSON with what the guest printed last.
"""

from __future__ import annotations

import json
import logging
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from xapikit.host.domains.model import DomainConfig, DomainFailed, Readable, Write
from xapikit.host.domains.textconsole import HISTORY_BYTES

if TYPE_CHECKING:
    from xapikit.host.domains.qemu.domain import QemuDomain

LOG = logging.getLogger(__name__)

CONNECT_SECONDS = 10.0
STATE_SECONDS = 600.0
PIECE = 1 << 20
DOWNTIME_MILLISECONDS = 200
"""How long the guest may stand still for the last of its memory; the pieces before go while it runs."""
BANDWIDTH = 10 << 30
"""Bytes per second: no limit in practice."""
_END = (0).to_bytes(4, "big")
_LONGEST_LINE = 4 * HISTORY_BYTES + (1 << 20)
_MACHINE = ("memory_bytes", "vcpus", "vcpus_max", "cores_per_socket", "firmware")
"""What the guest was built with: its rows may say something else by now, for its next start."""


def send(domain: QemuDomain, write: Write, stopped: Callable[[], None] | None) -> None:
    """See :meth:`xapikit.host.domains.model.Domain.send`."""
    _capabilities(domain, "events", "auto-converge", *(["pause-before-switchover"] if stopped is not None else []))
    domain.order("migrate-set-parameters", {"downtime-limit": DOWNTIME_MILLISECONDS, "max-bandwidth": BANDWIDTH})
    domain.expect_migration()
    was_paused = domain.paused
    write(_line({"machine": _machine(domain)}))
    relay: _Relay | None = None
    try:
        relay = _Relay(domain, write)
        if stopped is not None and domain.await_migration("pre-switchover") == "pre-switchover":
            stopped()
            domain.order("migrate-continue", {"state": "pre-switchover"})
        outcome = domain.await_migration()
        relay.finish()
        if outcome != "completed":
            raise DomainFailed(domain.config.vm, f"its state was not taken: {outcome}")
        write(_END + _line({"printed": domain.printed().decode("latin-1")}))
    except BaseException:
        _go_on(domain, was_paused)
        if relay is not None:
            relay.finish()  # what went wrong there is the reason of what went wrong here
        raise


def _go_on(domain: QemuDomain, paused: bool) -> None:
    """The guest is needed here after all."""
    try:
        domain.order("migrate_cancel")
        if not paused:
            domain.order("cont")
    except DomainFailed as error:
        LOG.info("a guest whose state was to be taken does not go on: %s", error)


class _Relay:
    """Takes what QEMU sends, in a thread of its own."""

    def __init__(self, domain: QemuDomain, write: Write) -> None:
        self._write = write
        self._error: BaseException | None = None
        domain.gate.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
            try:
                listener.bind(str(domain.gate))
                listener.listen(1)
                listener.settimeout(CONNECT_SECONDS)
                domain.order("migrate", {"uri": f"unix:{domain.gate}"})
                self._connection, _ = listener.accept()
            except OSError as error:
                raise DomainFailed(domain.config.vm, f"its state cannot be taken: {error}") from error
            finally:
                domain.gate.unlink(missing_ok=True)
        self._connection.settimeout(STATE_SECONDS)
        self._thread = threading.Thread(target=self._run, name="guest-state", daemon=True)
        self._thread.start()

    def finish(self) -> None:
        """Wait until all is written. Raises what writing raised."""
        self._thread.join()
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        try:
            with self._connection:  # closing it is what makes QEMU give up
                while data := self._connection.recv(PIECE):
                    self._write(len(data).to_bytes(4, "big"))
                    self._write(data)
        except BaseException as error:
            self._error = error


class Incoming:
    """The state of a guest as it arrives. ``config`` is the wanted one, adapted to the machine that the guest knows.

    Raises DomainFailed for what is no state of a QEMU guest.
    """

    def __init__(self, config: DomainConfig, state: Readable) -> None:
        self._state = state
        self._vm = config.vm
        self._buffer = bytearray()
        try:
            machine = self._json()["machine"]
            mtus = {nic["uuid"]: nic["mtu"] for nic in machine["nics"]}
            nics = tuple(replace(nic, mtu=mtus.get(nic.uuid, nic.mtu)) for nic in config.nics)
            self.config = replace(
                config, nics=nics, places=machine["places"], **{name: machine[name] for name in _MACHINE}
            )
        except (KeyError, TypeError) as error:
            raise self._nonsense() from error

    def pieces(self) -> Iterator[bytes]:
        """QEMU's own stream."""
        while length := int.from_bytes(self._exactly(4), "big"):
            if length > PIECE:
                raise self._nonsense()
            yield self._exactly(length)

    def printed(self) -> bytes:
        """What the guest printed, at the end."""
        text: str = self._json().get("printed", "")
        return text.encode("latin-1", "replace")

    def _json(self) -> Any:
        end = -1
        while (end := self._buffer.find(b"\n")) < 0:
            if len(self._buffer) > _LONGEST_LINE:
                raise self._nonsense()
            self._more()
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        try:
            found = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise self._nonsense() from error
        if not isinstance(found, dict):
            raise self._nonsense()
        return found

    def _exactly(self, length: int) -> bytes:
        while len(self._buffer) < length:
            self._more()
        data = bytes(self._buffer[:length])
        del self._buffer[:length]
        return data

    def _more(self) -> None:
        data = self._state.read(PIECE)
        if not data:
            raise DomainFailed(self._vm, "its state is not complete")
        self._buffer += data

    def _nonsense(self) -> DomainFailed:
        return DomainFailed(self._vm, "its state was not written by a guest of QEMU")


def receive(domain: QemuDomain, state: Incoming) -> None:
    """Feed a process that was started to take the state of a guest. Raises DomainFailed, and what reading raises."""
    _capabilities(domain, "events")
    domain.expect_migration()
    domain.order("migrate-incoming", {"uri": f"unix:{domain.gate}"})
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(STATE_SECONDS)
            connection.connect(str(domain.gate))
            for data in state.pieces():
                try:
                    connection.sendall(data)
                except OSError as error:
                    raise DomainFailed(domain.config.vm, f"its state was not taken: {error}") from error
        outcome = domain.await_migration()
        if outcome != "completed":
            raise DomainFailed(domain.config.vm, f"its state was not taken: {outcome}")
        domain.precede(state.printed())
    except OSError as error:
        raise DomainFailed(domain.config.vm, f"its state does not arrive: {error}") from error
    finally:
        domain.gate.unlink(missing_ok=True)


def _line(content: dict[str, Any]) -> bytes:
    return json.dumps(content).encode() + b"\n"


def _machine(domain: QemuDomain) -> dict[str, Any]:
    config = domain.config
    nics = [{"uuid": nic.uuid, "mtu": nic.mtu} for nic in config.nics]
    return {**{name: getattr(config, name) for name in _MACHINE}, "nics": nics, "places": places(domain)}


def places(domain: QemuDomain) -> dict[str, str]:
    """PCI addresses (``SLOT.FUNCTION``) by device, for the process that takes over: devices that were added while the
    guest ran are not where a fresh start would put them."""
    found: dict[str, str] = {}
    for bus in domain.order("query-pci"):
        for device in bus["devices"]:
            if device.get("qdev_id"):
                found[device["qdev_id"]] = f"{device['slot']:x}.{device['function']}"
    return found


def _capabilities(domain: QemuDomain, *wanted: str) -> None:
    known = ("events", "auto-converge", "pause-before-switchover")
    states = [{"capability": name, "state": name in wanted} for name in known]
    domain.order("migrate-set-capabilities", {"capabilities": states})
