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
"""The opening of RFB (RFC 6143, 7.1), once as client and once as server, with security type None.

Nova's proxy demands exactly 3.8 of a server; hosts speak 3.3, 3.7 or 3.8. After ClientInit all versions are alike, so
the two openings are done apart and the rest is copied. Whoever may connect was decided before the first byte.
"""

from __future__ import annotations

import re
import socket
from typing import Final

VERSION_3_8: Final = b"RFB 003.008\n"
_VERSION: Final = re.compile(rb"RFB (\d{3})\.(\d{3})\n")
_NONE: Final = 1
_MAX_REASON: Final = 4096


class RfbError(Exception):
    """The other side does not speak RFB, or demands what this relay does not have."""


def _exactly(sock: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        piece = sock.recv(count - len(data))
        if not piece:
            raise RfbError(f"the connection ended {count - len(data)} bytes early")
        data += piece
    return data


def _reason(sock: socket.socket) -> str:
    length = int.from_bytes(_exactly(sock, 4), "big")
    return _exactly(sock, min(length, _MAX_REASON)).decode("utf-8", "replace")


def as_client(sock: socket.socket) -> tuple[int, int]:
    """Open towards a host, up to where ClientInit is due; answers the version agreed on.

    The socket's timeout holds for each step. Raises RfbError, OSError.
    """
    match = _VERSION.fullmatch(_exactly(sock, 12))
    if match is None:
        raise RfbError("the host's console does not speak RFB")
    offered = int(match[1]), int(match[2])
    if offered < (3, 3):
        raise RfbError(f"the host's console speaks RFB {offered[0]}.{offered[1]}")
    version = (3, 8) if offered >= (3, 8) else (3, 7) if offered == (3, 7) else (3, 3)
    sock.sendall(b"RFB %03d.%03d\n" % version)
    if version == (3, 3):
        chosen = int.from_bytes(_exactly(sock, 4), "big")
        types = [] if chosen == 0 else [chosen]
    else:
        types = list(_exactly(sock, _exactly(sock, 1)[0]))
    if not types:
        raise RfbError(f"the host's console refuses: {_reason(sock)}")
    if _NONE not in types:
        raise RfbError(f"the host's console demands security type {types[0]}")
    if version != (3, 3):
        sock.sendall(bytes([_NONE]))
    if version == (3, 8) and int.from_bytes(_exactly(sock, 4), "big") != 0:
        raise RfbError(f"the host's console refuses: {_reason(sock)}")
    return version


def as_server(sock: socket.socket) -> None:
    """Open towards Nova's proxy, up to where ClientInit is due. Raises RfbError, OSError."""
    sock.sendall(VERSION_3_8)
    version = _exactly(sock, 12)
    if version != VERSION_3_8:
        raise RfbError(f"the proxy asks for {version[:11].decode('ascii', 'replace')}, not for RFB 3.8")
    sock.sendall(bytes([1, _NONE]))
    chosen = _exactly(sock, 1)[0]
    if chosen != _NONE:
        text = b"only security type None is offered"
        sock.sendall((1).to_bytes(4, "big") + len(text).to_bytes(4, "big") + text)
        raise RfbError(f"the proxy chose security type {chosen}, which was not offered")
    sock.sendall(bytes(4))
