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
"""Where the demo keeps what it makes: the state directory, its ports and its passwords.

STATE/demo.json     what `demo up` was asked for (port base, versions), read by the other commands
STATE/secrets.json  random passwords, mode 0600
STATE/etc           configuration of the services, mode 0700 (it holds passwords)
STATE/data          databases, images, the pool's storage
STATE/log           one log per service
STATE/run           one record per started process (see processes)
STATE/guest         the guest image, kept by the hash of what it is made from
"""

from __future__ import annotations

import json
import os
import secrets
import socket
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nova_xapi.demo.errors import DemoError, Missing, PortInUse

LOOPBACK = "127.0.0.1"
DEFAULT_PORT_BASE = 28770
HOSTS = 2

# distance of each port from the base; the order is also the order of the documentation
PORT_OFFSETS = {
    "keystone": 0,
    "glance": 1,
    "placement": 2,
    "neutron": 3,
    "nova-api": 4,
    "nova-novncproxy": 5,
    "xapi-host": 6,
    "mariadb": 10,
    "rabbitmq": 11,
    "rabbitmq (distribution)": 12,
    "epmd": 13,
    "memcached": 14,
}
PORT_SPAN = 20
# a Unix socket's path has at most 107 bytes; the longest name below the state directory is a data path's socket
MAX_STATE_LENGTH = 40


def default_state() -> Path:
    """/var/lib/nova-xapi/demo for root (the databases run as users that cannot look into /root), else below HOME."""
    if os.geteuid() == 0:
        return Path("/var/lib/nova-xapi/demo")
    return Path.home() / ".local/share/nova-xapi/demo"


@dataclass(frozen=True)
class Ports:
    """Loopback ports of the demo, all from one base."""

    base: int = DEFAULT_PORT_BASE

    def __post_init__(self) -> None:
        if not 1024 <= self.base <= 65535 - PORT_SPAN:
            raise DemoError(f"--port-base {self.base} is out of range", f"choose one from 1024 to {65535 - PORT_SPAN}")

    def __getitem__(self, name: str) -> int:
        return self.base + PORT_OFFSETS[name]

    def url(self, name: str, path: str = "", scheme: str = "http") -> str:
        return f"{scheme}://{LOOPBACK}:{self[name]}{path}"

    def check_free(self, names: Iterable[str]) -> None:
        """Raise PortInUse for the first of these ports that cannot be bound now."""
        for name in names:
            with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind((LOOPBACK, self[name]))
                    probe.listen(1)
                except OSError as error:
                    raise PortInUse(name, self[name], holder_of(self[name]), self.base) from error


def holder_of(port: int) -> str:
    """The process that listens on a TCP port, as far as this user may see it: `python3 (pid 123)` or ''."""
    inodes = set()
    for table in (Path("/proc/net/tcp"), Path("/proc/net/tcp6")):
        for line in table.read_text().splitlines()[1:] if table.exists() else []:
            fields = line.split()
            if fields[3] == "0A" and int(fields[1].rpartition(":")[2], 16) == port:
                inodes.add(f"socket:[{fields[9]}]")
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if any(str(fd.readlink()) in inodes for fd in (process / "fd").iterdir()):
                return f"{(process / 'comm').read_text().strip()} (pid {process.name})"
        except OSError:
            continue  # it ended meanwhile, or is not ours to look into
    return ""


@dataclass
class Secrets:
    """Random passwords of one state directory. Never printed: repr shows names only."""

    values: dict[str, str] = field(repr=False)

    NAMES = ("admin", "service", "database", "rabbitmq", "xapi", "metadata")

    def __getitem__(self, name: str) -> str:
        return self.values[name]


@dataclass
class State:
    """One state directory. Making the object touches nothing; `prepare` makes the directories."""

    root: Path
    ports: Ports = field(default_factory=Ports)

    def __post_init__(self) -> None:
        self.root = self.root.absolute()
        self.etc = self.root / "etc"
        self.data = self.root / "data"
        self.log = self.root / "log"
        self.run = self.root / "run"
        self.guest = self.root / "guest"

    @classmethod
    def open(cls, root: Path) -> State:
        """The state directory of an earlier `demo up`; raises Missing when there is none."""
        path = root / "demo.json"
        if not path.exists():
            raise Missing(f"no demo in {root}", "start one with: nova-xapi demo up (or name its directory: --state)")
        return cls(root, Ports(json.loads(path.read_text())["port_base"]))

    def prepare(self) -> None:
        """Make the directories (idempotent) and check that the demo can live there."""
        if len(str(self.root).encode()) > MAX_STATE_LENGTH:
            raise DemoError(
                f"the path {self.root} is too long for the Unix sockets below it",
                f"choose a --state of at most {MAX_STATE_LENGTH} bytes",
            )
        path = self.root / "demo.json"
        if path.exists() and (base := json.loads(path.read_text())["port_base"]) != self.ports.base:
            raise DemoError(
                f"the demo in {self.root} was made with --port-base {base}, and its catalog says so",
                f"use --port-base {base}, another --state, or remove it first: nova-xapi demo down --purge",
            )
        for directory, mode in (
            (self.root, 0o711),
            (self.etc, 0o700),
            (self.data, 0o711),
            (self.log, 0o700),
            (self.run, 0o700),
            (self.guest, 0o700),
        ):
            directory.mkdir(parents=True, exist_ok=True)
            directory.chmod(mode)
        if not path.exists():
            self.write(path, json.dumps({"port_base": self.ports.base}) + "\n")

    def secrets(self) -> Secrets:
        """The passwords, made at the first call."""
        path = self.root / "secrets.json"
        if not path.exists():
            values = {name: secrets.token_urlsafe(18).replace("-", "x") for name in Secrets.NAMES}
            self.write(path, json.dumps(values) + "\n", mode=0o600)
        return Secrets(json.loads(path.read_text()))

    def write(self, path: Path, text: str, mode: int = 0o600) -> None:
        """Write a file whole or not at all; it never exists with a wider mode than asked for."""
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(path.name + ".new")
        temporary.unlink(missing_ok=True)
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w") as file:
            file.write(text)
        temporary.rename(path)

    def remember(self, name: str, value: dict[str, Any]) -> None:
        """Keep facts about this cloud (run nonce, server ids) under STATE/run/NAME.facts."""
        self.write(self.run / f"{name}.facts", json.dumps(value) + "\n")

    def recall(self, name: str) -> dict[str, Any]:
        """What `remember` kept under this name, or nothing."""
        path = self.run / f"{name}.facts"
        return dict(json.loads(path.read_text())) if path.exists() else {}

    def done(self, step: str) -> Path:
        """Marks a step that is done once per state directory (schemas, catalog)."""
        return self.run / f"{step}.done"
