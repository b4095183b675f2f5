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
"""How the server of a host that joined another server's pool and that server know each other.

The pool's database, guests and storage stay with the server that has them, the pool's *home*. The server of a host that
joined is its *front*: it keeps the host's addresses and passes every connection on to the home, over a Unix socket in
the home's state directory. Both must see each other's directories, so both run on one machine, for one user.

Which of the two a server is stands in one file of its state directory:

``member.json``   it is the front of a host of the pool whose home is named there
``joining.json``  it asked to be: the home knows whether it was taken in
``ejected.json``  it was put out of the pool, and what it had is being wiped
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import struct
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from xapikit.host.domains.sockets import LONGEST_PATH, socket_directory
from xapikit.host.members.machines import write_whole

MEMBER: Final = "member.json"
JOINING: Final = "joining.json"
EJECTED: Final = "ejected.json"
WIPED: Final = ("db", "sr", "machines.json", "rrd", "blobs", "nvram", "dom0", "run", "xenstore")
"""What an ejected host loses: its database and its disks. ISO images, shares, certificate and password stay."""
ANSWER_SECONDS: Final = 60.0
LARGEST_MESSAGE: Final = 1 << 30
_SOCKET: Final = "home"


@dataclass(frozen=True)
class Link:
    """A front's memory of its pool."""

    home: str
    """State directory of the home."""
    host: str
    """uuid of the host."""
    join: str
    """Names one attempt to join, so that the home can say what became of it."""
    accounts: dict[str, str] = field(default_factory=dict, repr=False)
    """Hashed passwords of the pool, for log-ins at this host alone while the home cannot be reached."""
    decided: bool = True

    @classmethod
    def read(cls, state: Path) -> Link | None:
        """What a state directory says; None where it holds a pool of its own. Raises OSError, ValueError."""
        for name, decided in ((MEMBER, True), (JOINING, False)):
            if (state / name).exists():
                return replace(cls(**json.loads((state / name).read_text())), decided=decided)
        return None

    def write(self, state: Path, name: str) -> None:
        """Remember it. Raises OSError."""
        members = asdict(self)
        del members["decided"]
        write_whole(state / name, members)


def confirm(state: Path, link: Link) -> Link:
    """The home has taken the host in."""
    link = replace(link, decided=True)
    link.write(state, MEMBER)
    (state / JOINING).unlink(missing_ok=True)
    return link


def withdraw(state: Path) -> None:
    """The home has not: the host keeps the pool that it had."""
    (state / JOINING).unlink(missing_ok=True)


def leave(state: Path) -> None:
    """Forget the pool and all that the host had; begun again by the next start when it is cut off."""
    write_whole(state / EJECTED, {})
    (state / MEMBER).unlink(missing_ok=True)
    finish_leaving(state)


def finish_leaving(state: Path) -> None:
    """Wipe what is left of a host that was ejected."""
    if not (state / EJECTED).exists():
        return
    for name in WIPED:
        path = state / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    (state / EJECTED).unlink()


# the wire ------------------------------------------------------------------------------------------------------------


def listen(state: Path) -> socket.socket:
    """The socket at which fronts reach the home in that state directory. Raises OSError."""
    path = socket_directory(state / "run" / "home", _SOCKET) / _SOCKET
    path.unlink(missing_ok=True)  # the lock of the database says that nobody else is home
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listening.bind(str(path))
        path.chmod(0o600)
        listening.listen(128)
    except OSError:
        listening.close()
        raise
    return listening


def call(home: str, message: dict[str, Any]) -> socket.socket:
    """Connect to a home and say who calls, and what for. Raises OSError."""
    run = Path(home) / "run" / "home"
    link = run / "sockets"
    path = (link.readlink() if link.is_symlink() else run) / _SOCKET
    if len(os.fsencode(str(path))) > LONGEST_PATH:
        raise FileNotFoundError(f"no server is at home in {home}")
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.settimeout(ANSWER_SECONDS)
        connection.connect(str(path))
        send(connection, message)
    except OSError:
        connection.close()
        raise
    return connection


def ask(home: str, message: dict[str, Any]) -> dict[str, Any]:
    """One question to a home and its answer. Raises OSError."""
    with call(home, message) as connection:
        return receive(connection)


def send(connection: socket.socket, message: dict[str, Any]) -> None:
    body = json.dumps(message).encode()
    connection.sendall(struct.pack(">Q", len(body)) + body)


def receive(connection: socket.socket) -> dict[str, Any]:
    """The next message, not a byte more. Raises OSError at the end of the stream and for nonsense."""
    (size,) = struct.unpack(">Q", _exactly(connection, 8))
    if size > LARGEST_MESSAGE:
        raise OSError(f"a message of {size} bytes")
    try:
        message = json.loads(_exactly(connection, size))
    except ValueError as error:
        raise OSError(f"not a message: {error}") from None
    if not isinstance(message, dict):
        raise OSError("not a message")
    return message


def _exactly(connection: socket.socket, size: int) -> bytes:
    parts: list[bytes] = []
    while size > 0:
        part = connection.recv(min(size, 1 << 20))
        if not part:
            raise ConnectionResetError("the other server has gone")
        parts.append(part)
        size -= len(part)
    return b"".join(parts)
