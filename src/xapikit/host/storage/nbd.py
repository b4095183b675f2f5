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
"""The server's side of one NBD connection (fixed newstyle handshake), for QEMU and the tools of its family.

Written after the protocol description of the NBD project (doc/proto.md). Served: READ, WRITE with FUA, FLUSH, TRIM
(advice, ignored), WRITE_ZEROES, STARTTLS where a certificate is given, which is demanded then; CACHE not. Not served,
and refused as the protocol wants it: structured replies, metadata contexts. The socket is the caller's, and so is the
choice of the disk: a data path (:mod:`.datapath`) has one, :mod:`xapikit.host.nbd` those of the pool.
"""

from __future__ import annotations

import contextlib
import errno
import socket
import ssl
import struct
from collections.abc import Callable
from dataclasses import dataclass

from xapikit.host.storage.disks import Disk
from xapikit.vhd import OutOfRange, VhdError

_INIT = 0x4E42444D41474943  # "NBDMAGIC"
_OPTION = 0x49484156454F5054  # "IHAVEOPT"
_OPTION_REPLY = 0x3E889045565A9
_REQUEST = 0x25609513
_REPLY = 0x67446698

_FIXED_NEWSTYLE, _NO_ZEROES = 1, 2

_OPT_EXPORT_NAME, _OPT_ABORT, _OPT_LIST, _OPT_STARTTLS, _OPT_INFO, _OPT_GO = 1, 2, 3, 5, 6, 7
_REP_ACK, _REP_SERVER, _REP_INFO = 1, 2, 3
_REP_ERR_UNSUP, _REP_ERR_POLICY, _REP_ERR_INVALID = 0x80000001, 0x80000002, 0x80000003
_REP_ERR_TLS_REQD, _REP_ERR_UNKNOWN = 0x80000005, 0x80000006
_INFO_EXPORT, _INFO_BLOCK_SIZE = 0, 3

_HAS_FLAGS, _READ_ONLY, _SEND_FLUSH, _SEND_FUA, _SEND_TRIM, _SEND_ZEROES, _MULTI_CONN = 1, 2, 4, 8, 32, 64, 256

_READ, _WRITE, _DISC, _FLUSH, _TRIM, _CACHE, _WRITE_ZEROES = 0, 1, 2, 3, 4, 5, 6
_FLAG_FUA = 1

MAX_PAYLOAD = 32 << 20
"""Longest READ and WRITE; clients keep to it by themselves."""
_MAX_OPTION = 1 << 16

_REQUEST_FORMAT = struct.Struct(">IHHQQI")
_REPLY_FORMAT = struct.Struct(">IIQ")
_OPTION_FORMAT = struct.Struct(">QII")
_OPTION_REPLY_FORMAT = struct.Struct(">QIII")


class ProtocolError(Exception):
    """The client does not speak NBD as it should; its connection ends."""


class ExportRefused(Exception):
    """There is no such export, or not for this client; the text is for the client."""


@dataclass
class Counters:
    """What was transferred, for statistics. Bytes and requests."""

    reads: int = 0
    writes: int = 0
    read_bytes: int = 0
    written_bytes: int = 0


class Session:
    """One client connection. ``serve`` runs in a thread of its own until the client goes."""

    def __init__(
        self,
        connection: socket.socket,
        choose: Callable[[str], Disk],
        *,
        read_only: bool,
        counters: Counters,
        tls: ssl.SSLContext | None = None,
        listed: bool = True,
    ) -> None:
        """``choose(name)`` gives the disk of an export or raises ExportRefused; it is asked once per name. With
        ``tls`` nothing but its start is answered in plain. ``listed``: the export without a name is told to whoever
        asks for a list."""
        self._socket = connection
        self._choose = choose
        self._read_only = read_only
        self._counters = counters
        self._tls = tls
        self._listed = listed
        self._chosen: tuple[str, Disk] | None = None
        self._buffer = bytearray(1 << 20)

    @property
    def socket(self) -> socket.socket:
        """The connection, which another object stands for once TLS began."""
        return self._socket

    def cut(self) -> None:
        """Let whoever serves this connection come to its end."""
        with contextlib.suppress(OSError):  # gone already
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._socket.close()

    def serve(self) -> None:
        """Talk until the client disconnects. Raises ProtocolError, OSError (a broken connection)."""
        if self.handshake():
            self.transmit()

    def transmit(self) -> None:
        """Serve requests until the client disconnects. Raises as ``serve``."""
        while self._request():
            pass

    # handshake ---------------------------------------------------------------------------------------------------

    def handshake(self) -> bool:
        """Agree on an export; False when the client went. Raises as ``serve``."""
        self._socket.sendall(struct.pack(">QQH", _INIT, _OPTION, _FIXED_NEWSTYLE | _NO_ZEROES))
        (client_flags,) = struct.unpack(">I", self._exactly(4))
        if client_flags & ~(_FIXED_NEWSTYLE | _NO_ZEROES):
            raise ProtocolError(f"unknown client flags {client_flags:#x}")
        while True:
            magic, option, length = _OPTION_FORMAT.unpack(self._exactly(_OPTION_FORMAT.size))
            if magic != _OPTION or length > _MAX_OPTION:
                raise ProtocolError("not an NBD option")
            data = self._exactly(length)
            if self._tls is not None and option not in (_OPT_STARTTLS, _OPT_ABORT):
                if option == _OPT_EXPORT_NAME:  # it has no way to be refused
                    raise ProtocolError("an export is asked for before TLS began")
                self._option_reply(option, _REP_ERR_TLS_REQD)
            elif option == _OPT_STARTTLS:
                self._start_tls(data)
            elif option == _OPT_EXPORT_NAME:
                try:
                    disk = self._disk_of(data)
                except ExportRefused as refused:
                    raise ProtocolError(str(refused)) from refused
                padding = b"" if client_flags & _NO_ZEROES else bytes(124)
                self._socket.sendall(struct.pack(">QH", disk.size, self._flags()) + padding)
                return True
            elif option == _OPT_ABORT:
                self._option_reply(option, _REP_ACK)
                return False
            elif option == _OPT_LIST:
                if self._listed:
                    self._option_reply(option, _REP_SERVER, struct.pack(">I", 0))
                    self._option_reply(option, _REP_ACK)
                else:
                    self._option_reply(option, _REP_ERR_POLICY)
            elif option in (_OPT_INFO, _OPT_GO):
                if self._info(option, data) and option == _OPT_GO:
                    return True
            else:
                self._option_reply(option, _REP_ERR_UNSUP)

    def _start_tls(self, data: bytes) -> None:
        if self._tls is None:
            self._option_reply(
                _OPT_STARTTLS, _REP_ERR_INVALID if isinstance(self._socket, ssl.SSLSocket) else _REP_ERR_POLICY
            )
        elif data:
            self._option_reply(_OPT_STARTTLS, _REP_ERR_INVALID)
        else:
            self._option_reply(_OPT_STARTTLS, _REP_ACK)
            self._socket, self._tls = self._tls.wrap_socket(self._socket, server_side=True), None

    def _disk_of(self, name: bytes) -> Disk:
        try:
            text = name.decode()
        except UnicodeDecodeError:
            raise ExportRefused("the name of an export is UTF-8") from None
        if self._chosen is None or self._chosen[0] != text:
            self._chosen = (text, self._choose(text))
        return self._chosen[1]

    def _info(self, option: int, data: bytes) -> bool:
        length = struct.unpack(">I", data[:4])[0] if len(data) >= 6 else len(data)
        if len(data) < 6 + length:
            self._option_reply(option, _REP_ERR_INVALID)
            return False
        try:
            disk = self._disk_of(data[4 : 4 + length])
        except ExportRefused as refused:
            self._option_reply(option, _REP_ERR_UNKNOWN, str(refused).encode())
            return False
        self._option_reply(option, _REP_INFO, struct.pack(">HQH", _INFO_EXPORT, disk.size, self._flags()))
        self._option_reply(option, _REP_INFO, struct.pack(">HIII", _INFO_BLOCK_SIZE, 512, 4096, MAX_PAYLOAD))
        self._option_reply(option, _REP_ACK)
        return True

    def _option_reply(self, option: int, kind: int, data: bytes = b"") -> None:
        self._socket.sendall(_OPTION_REPLY_FORMAT.pack(_OPTION_REPLY, option, kind, len(data)) + data)

    def _flags(self) -> int:
        flags = _HAS_FLAGS | _SEND_FLUSH | _SEND_FUA | _MULTI_CONN
        return flags | _READ_ONLY if self._read_only else flags | _SEND_TRIM | _SEND_ZEROES

    # transmission ------------------------------------------------------------------------------------------------

    def _request(self) -> bool:
        header = self._buffer_for(_REQUEST_FORMAT.size)
        if not self._fill(header, may_end=True):
            return False
        magic, flags, kind, handle, offset, length = _REQUEST_FORMAT.unpack(header)
        if magic != _REQUEST:
            raise ProtocolError("not an NBD request")
        if kind == _DISC:
            return False
        if kind in (_READ, _WRITE) and length > MAX_PAYLOAD:
            raise ProtocolError(f"{length} bytes in one request")
        try:
            payload = self._serve(kind, flags, offset, length)
            error = 0
        except OutOfRange:
            payload, error = None, errno.ENOSPC if kind in (_WRITE, _WRITE_ZEROES) else errno.EINVAL
        except VhdError:
            payload, error = None, errno.EIO
        except OSError as failure:
            if failure.filename is None and isinstance(failure, ConnectionError):
                raise
            known = (errno.EPERM, errno.ENOMEM, errno.EINVAL, errno.ENOSPC)
            payload, error = None, failure.errno if failure.errno in known else errno.EIO
        reply = _REPLY_FORMAT.pack(_REPLY, error or 0, handle)
        if payload is None:
            self._socket.sendall(reply)
        else:
            self._send(reply, payload)
        return True

    def _serve(self, kind: int, flags: int, offset: int, length: int) -> memoryview | None:
        assert self._chosen is not None, "the handshake has chosen"
        disk = self._chosen[1]
        if kind == _READ:
            view = self._buffer_for(length)
            disk.pread_into(offset, view)
            self._counters.reads += 1
            self._counters.read_bytes += length
            return view
        if kind == _WRITE:
            view = self._buffer_for(length)
            self._fill(view)  # taken in any case: the next request follows behind it
            self._writable()
            disk.pwrite(offset, view)
            self._counters.writes += 1
            self._counters.written_bytes += length
        elif kind == _WRITE_ZEROES:
            self._writable()
            disk.write_zeroes(offset, length)
        elif kind == _TRIM:
            self._writable()
        elif kind != _FLUSH:
            raise OSError(errno.EINVAL, f"NBD command {kind}")
        if kind == _FLUSH or flags & _FLAG_FUA:
            disk.flush()
        return None

    def _writable(self) -> None:
        if self._read_only:
            raise OSError(errno.EPERM, "the disk is attached read-only")

    # bytes -------------------------------------------------------------------------------------------------------

    def _buffer_for(self, length: int) -> memoryview:
        if len(self._buffer) < length:
            self._buffer = bytearray(length)
        return memoryview(self._buffer)[:length]

    def _fill(self, view: memoryview, *, may_end: bool = False) -> bool:
        done = 0
        while done < len(view):
            count = self._socket.recv_into(view[done:])
            if count == 0:
                if may_end and done == 0:
                    return False
                raise ConnectionResetError("the client went in the middle of a message")
            done += count
        return True

    def _exactly(self, length: int) -> bytes:
        data = bytearray(length)
        self._fill(memoryview(data))
        return bytes(data)

    def _send(self, head: bytes, payload: memoryview) -> None:
        if isinstance(self._socket, ssl.SSLSocket):  # it has no sendmsg
            self._socket.sendall(head)
            self._socket.sendall(payload)
            return
        sent = self._socket.sendmsg([head, payload])
        if sent < len(head):
            self._socket.sendall(head[sent:])
            sent = len(head)
        if sent < len(head) + len(payload):
            self._socket.sendall(payload[sent - len(head) :])
