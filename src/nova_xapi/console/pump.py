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
"""Copy bytes both ways between two sockets, TLS or not, in one thread, until either ends.

What one side does not take is not read from the other: memory is bounded, and neither direction waits for the other.
"""

from __future__ import annotations

import selectors
import socket
import ssl
from typing import Final

#: bytes that may wait in each direction
LIMIT: Final = 1 << 18
_PIECE: Final = 1 << 16

_WAIT: Final = (BlockingIOError, InterruptedError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class _Flow:
    """One direction."""

    def __init__(self, source: socket.socket, target: socket.socket) -> None:
        self.source = source
        self.target = target
        self.waiting = bytearray()
        self.ended = False

    @property
    def room(self) -> bool:
        return not self.ended and len(self.waiting) < LIMIT

    @property
    def over(self) -> bool:
        return self.ended and not self.waiting

    def move(self) -> bool:
        """Read and write what is possible now; whether there is more to read that no selector would tell of."""
        while self.room:
            try:
                data = self.source.recv(_PIECE)
            except _WAIT:
                break
            if not data:
                self.ended = True
                break
            self.waiting += data
            if not _more(self.source):
                break
        while self.waiting:
            try:
                # as long as the same bytes are offered again, TLS is content with a repeated write
                sent = self.target.send(self.waiting[:_PIECE])
            except _WAIT:
                break
            del self.waiting[:sent]
        return self.room and _more(self.source)


def _more(sock: socket.socket) -> bool:
    """Whether TLS holds bytes that it has already taken off the network."""
    return isinstance(sock, ssl.SSLSocket) and sock.pending() > 0


def pump(one: socket.socket, other: socket.socket) -> None:
    """Copy until either side ends, what it sent has been passed on, or a connection breaks (OSError).

    Another thread ends it with `abort` on one of the sockets. Closing them is left to the caller.
    """
    one.setblocking(False)
    other.setblocking(False)
    flows = (_Flow(one, other), _Flow(other, one))
    with selectors.DefaultSelector() as selector:
        registered: dict[socket.socket, int] = {}
        while True:
            hidden = [flow.move() for flow in flows]
            if any(flow.over for flow in flows):
                return
            if any(hidden):
                continue
            for sock in (one, other):
                events = 0
                for flow in flows:
                    if flow.source is sock and flow.room:
                        events |= selectors.EVENT_READ
                    if flow.target is sock and flow.waiting:
                        events |= selectors.EVENT_WRITE
                if registered.get(sock, 0) == events:
                    continue
                if not registered.get(sock):
                    selector.register(sock, events)
                elif events:
                    selector.modify(sock, events)
                else:
                    selector.unregister(sock)
                registered[sock] = events
            selector.select()


def abort(sock: socket.socket) -> None:
    """Make whoever waits on this socket see its end. Callable from any thread."""
    try:
        # past SSLSocket's own shutdown, which would take the TLS object from under the other thread
        socket.socket.shutdown(sock, socket.SHUT_RDWR)
    except OSError:
        pass  # not connected any more


def keep_alive(sock: socket.socket) -> None:
    """Find out within minutes that the other side vanished, however idle the session is; send small writes at once."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 60)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 20)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 6)
