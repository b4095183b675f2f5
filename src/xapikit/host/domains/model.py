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
"""What a domain is to the rest of the host: its configuration, its handle, and what a kind of domain offers.

A kind knows neither rows nor sessions; it gets plain values and calls ``on_end`` when a guest ends by itself.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any, Literal, Protocol, TypeAlias

Protocols = Literal["rfb", "vt100"]


@dataclass(frozen=True)
class DiskSource:
    """Where the content of a disk comes from: an NBD server on a Unix socket, or a raw file that is only read."""

    kind: Literal["nbd", "file"]
    path: str
    export: str = ""


@dataclass(frozen=True)
class DiskConfig:
    """One VBD. ``source`` None is an empty drive."""

    uuid: str
    position: int
    """Device number: 0 is xvda."""
    source: DiskSource | None
    read_only: bool
    cdrom: bool = False
    bootable: bool = False


@dataclass(frozen=True)
class NicConfig:
    """One VIF. ``mtu`` in bytes; ``network`` is the uuid of the network, ``bridge`` its bridge."""

    uuid: str
    position: int
    mac: str
    mtu: int = 1500
    network: str = ""
    bridge: str = ""


@dataclass(frozen=True)
class DomainConfig:
    """All that a kind needs to build a guest."""

    vm: str
    """uuid of the VM: domains are kept by it."""
    name: str
    domid: int
    host: str
    """uuid of the host where it runs."""
    memory_bytes: int
    vcpus: int
    vcpus_max: int
    cores_per_socket: int = 1
    firmware: Literal["bios", "uefi"] = "bios"
    boot_order: str = "cd"
    """Letters of HVM_boot_params: c disk, d CD, n network."""
    platform: Mapping[str, str] = field(default_factory=dict)
    bios_strings: Mapping[str, str] = field(default_factory=dict)
    disks: tuple[DiskConfig, ...] = ()
    nics: tuple[NicConfig, ...] = ()
    places: Mapping[str, str] = field(default_factory=dict)
    """Where devices were put in a guest that goes on elsewhere, as its kind names devices and places: they must be
    found there again. Empty for a guest that boots."""

    def to_json(self) -> dict[str, Any]:
        """Plain values for the record of a running domain."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> DomainConfig:
        """Read what ``to_json`` wrote. Raises TypeError, KeyError."""
        disks = tuple(
            DiskConfig(**{**disk, "source": DiskSource(**disk["source"]) if disk["source"] else None})
            for disk in data["disks"]
        )
        return cls(**{**data, "disks": disks, "nics": tuple(NicConfig(**nic) for nic in data["nics"])})


Write: TypeAlias = Callable[[bytes | bytearray | memoryview], object]
"""Takes the next bytes of the state of a guest."""


class Readable(Protocol):
    """Where the state of a guest comes from: an open file, a connection."""

    def read(self, size: int, /) -> bytes:
        """At most ``size`` bytes; none at the end."""
        ...


class End(Enum):
    """How a guest ended."""

    HALTED = "halted"
    REBOOTED = "rebooted"
    CRASHED = "crashed"


@dataclass(frozen=True)
class Ended:
    """The end of a domain that nobody asked for through ``destroy``; ``detail`` is for people."""

    end: End
    detail: str = ""


class DomainFailed(Exception):
    """A domain did not start or did not obey. ``domain`` is the uuid of its VM, ``why`` says what to do about it."""

    def __init__(self, domain: str, why: str) -> None:
        self.domain = domain
        self.why = why
        super().__init__(f"domain of VM {domain}: {why}")


class MissingProgram(DomainFailed):
    """A program that a kind of domain needs is not installed."""

    def __init__(self, domain: str, program: str, package: str) -> None:
        self.program = program
        self.package = package
        super().__init__(domain, f"{program} is not installed (Debian: apt-get install {package})")


class Domain(Protocol):
    """A built guest. All calls are safe from any thread; each raises DomainFailed when the guest does not obey."""

    @property
    def config(self) -> DomainConfig: ...

    @property
    def paused(self) -> bool:
        """Whether the guest's processors stand still on request."""
        ...

    def pause(self) -> None: ...

    def unpause(self) -> None: ...

    def request_shutdown(self) -> bool:
        """Ask the guest to power off. False when the guest cannot be asked; its end comes through ``on_end``."""
        ...

    def request_reboot(self) -> bool:
        """Ask the guest to reboot, as ``request_shutdown``."""
        ...

    def destroy(self) -> None:
        """End the domain at once; ``on_end`` is not called. Does nothing when it has ended."""
        ...

    def end_by_itself(self, end: End, detail: str = "") -> None:
        """Have the guest crash, power off or reboot of its own accord (for tests and scenarios of faults)."""
        ...

    def is_alive(self) -> bool: ...

    def consoles(self) -> Iterable[Protocols]:
        """Protocols of the consoles there are."""
        ...

    def open_console(self, protocol: Protocols) -> socket.socket:
        """A connected stream that speaks the protocol. The caller closes it. Raises DomainFailed."""
        ...

    def plug_disk(self, disk: DiskConfig) -> None: ...

    def unplug_disk(self, uuid: str, *, force: bool = False) -> None:
        """Take a disk away. Raises DomainFailed when the guest keeps it."""
        ...

    def insert(self, uuid: str, source: DiskSource) -> None:
        """Put a medium into an empty drive."""
        ...

    def eject(self, uuid: str) -> None: ...

    def plug_nic(self, nic: NicConfig) -> None: ...

    def unplug_nic(self, uuid: str, *, force: bool = False) -> None: ...

    def set_vcpus(self, count: int) -> None:
        """Change the number of processors of the running guest."""
        ...

    def set_memory(self, size: int) -> None:
        """Set the balloon target in bytes."""
        ...

    def save(self, path: Path, *, keep: bool = False) -> None:
        """Write the state of the guest into a file. The domain ends (``on_end`` is not called), or with ``keep``
        goes on standing still."""
        ...

    def send(self, write: Write, *, stopped: Callable[[], None] | None = None) -> None:
        """Hand over the state of the guest piece by piece while it runs on; at the end it stands still, and whoever
        took the state can go on in its place. ``stopped`` is called once, when it has come to stand still (all that
        it wrote is flushed) and before the last piece.

        Raises DomainFailed, and what ``write`` and ``stopped`` raise: the guest runs on as before then.
        """
        ...


OnEnd = Callable[[Domain, Ended], None]
"""Called once, from a thread of the kind, when a guest ends by itself."""


class DomainKind(Protocol):
    """A way to run guests."""

    name: str

    def check(self) -> None:
        """Raise DomainFailed when nothing can be started, for example because a program is missing."""
        ...

    def start(self, config: DomainConfig, *, paused: bool, on_end: OnEnd, state: Readable | None = None) -> Domain:
        """Build a guest and, unless ``paused``, let it run; ``state`` continues one that ``save`` or ``send`` wrote,
        and is read to its end.

        Raises DomainFailed, and what reading raises; nothing is left behind then.
        """
        ...

    def adopt(self, known: Mapping[str, DomainConfig], on_end: OnEnd) -> dict[str, Domain]:
        """Find domains of an earlier server again, by uuid of the VM.

        ``known`` tells what the rows say of VMs that should run (a kind without processes builds from that). What
        still runs and is not known is ended. A domain that ended meanwhile is reported through ``on_end``.
        """
        ...

    def keepsake(self, vm: str) -> bytes | None:
        """What is kept of a VM (by its uuid) beside its disks while it does not run; None when there is nothing."""
        ...

    def keep(self, vm: str, content: bytes | None) -> None:
        """Take over the keepsake of a VM that comes from elsewhere, or forget that of one that went."""
        ...

    def stop(self, *, stop_guests: bool) -> None:
        """The server ends. Guests with processes of their own go on unless ``stop_guests``."""
        ...
