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
"""A small XAPI-like server for what only a server that misbehaves to order can show: real sockets, real TLS.

It answers JSON-RPC calls with what a handler returns, and cuts connections where it is told to. Tests of behaviour
use the embedded host; this one is for the transport.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import ipaddress
import socket
import ssl
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from xapikit.wire import Failure, jsonrpc, new_ref

Handler = Callable[[str, list[Any]], Any]


def make_certificate(directory: Path, name: str = "localhost") -> tuple[Path, str]:
    """A self-signed certificate for loopback: path of key and certificate in one file, fingerprint in plain hex."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.timezone.utc)
    names: list[x509.GeneralName] = [x509.DNSName(name), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=30))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = directory / f"{name}.pem"
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path.write_bytes(pem + certificate.public_bytes(serialization.Encoding.PEM))
    return path, certificate.fingerprint(hashes.SHA256()).hex()


class Cut(Exception):
    """Raised by a handler: close the connection instead of answering."""


class SmallServer:
    """``handler(method, params)`` returns the value of a call, raises Failure or Cut. Log-in is built in."""

    def __init__(self, handler: Handler | None = None, certificate: Path | None = None, address: str = "127.0.0.1"):
        self.handler = handler or (lambda method, params: "")
        self.certificate = certificate
        self.address = address
        self.port = 0
        self.password = "right"
        self.sessions: set[str] = set()
        self.calls: Counter[str] = Counter()
        self.connections = 0
        self.requests: list[str] = []
        self.http: dict[str, Callable[[str, dict[str, str], Any], None]] = {}
        self.extra_headers = ""
        self._cuts: dict[str, list[str]] = {}
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._listener: socket.socket | None = None
        self._context: ssl.SSLContext | None = None
        if certificate is not None:
            self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._context.load_cert_chain(certificate)

    # ------------------------------------------------------------------------------------------- control

    @property
    def url(self) -> str:
        host = f"[{self.address}]" if ":" in self.address else self.address
        return f"{'https' if self.certificate else 'http'}://{host}:{self.port}"

    def start(self) -> SmallServer:
        family = socket.AF_INET6 if ":" in self.address else socket.AF_INET
        listener = socket.create_server((self.address, self.port), family=family)
        self.port = listener.getsockname()[1]
        self._listener = listener
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()
        return self

    def stop(self) -> None:
        listener, self._listener = self._listener, None
        if listener is not None:
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        self.close_connections()

    def restart(self) -> None:
        """As a toolstack restart: connections cut, sessions forgotten."""
        self.stop()
        self.sessions.clear()
        self.start()

    def close_connections(self) -> None:
        with self._lock:
            connections, self._open = list(self._open), set()
        for connection in connections:
            with contextlib.suppress(OSError):
                socket.socket.shutdown(connection, socket.SHUT_RDWR)
            connection.close()

    def cut(self, method: str, when: str) -> None:
        """The next call of ``method`` ends with its connection: ``before`` or ``after`` its effect."""
        self._cuts.setdefault(method, []).append(when)

    def __enter__(self) -> SmallServer:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    # ------------------------------------------------------------------------------------------- serving

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with self._lock:
                self._open.add(connection)
                self.connections += 1
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            if self._context is not None:
                plain, connection = connection, self._context.wrap_socket(connection, server_side=True)
                with self._lock:
                    self._open.discard(plain)
                    self._open.add(connection)
            stream = connection.makefile("rb")
            while self._one(connection, stream):
                pass
        except (OSError, Cut, ValueError):
            pass
        finally:
            with self._lock:
                self._open.discard(connection)
            with contextlib.suppress(OSError):
                socket.socket.shutdown(connection, socket.SHUT_RDWR)
            connection.close()

    def _one(self, connection: socket.socket, stream: Any) -> bool:
        first = stream.readline().decode().rstrip()
        if not first:
            return False
        method, target, _ = first.split(" ")
        headers = {}
        for line in iter(lambda: stream.readline().decode().rstrip(), ""):
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        self.requests.append(first)
        if method != "POST":
            path = target.partition("?")[0]
            with self._lock:
                self._open.discard(connection)
            self.http[f"{method} {path}"](target, headers, _Stream(connection, stream))
            return False
        request = jsonrpc.decode_request(stream.read(int(headers["content-length"])))
        cuts = self._cuts.get(request.method)
        when = cuts.pop(0) if cuts else ""
        if when == "before":
            raise Cut
        with self._lock:
            self.calls[request.method] += 1
        try:
            value = self._call(request.method, request.params)
            body = jsonrpc.encode_success(request, value)
        except Failure as failure:
            body = jsonrpc.encode_failure(request, failure.error)
        if when == "after":
            raise Cut
        head = f"HTTP/1.1 200 OK\r\ncontent-length: {len(body)}\r\nconnection: keep-alive\r\n"
        head += self.extra_headers
        if when == "inside":
            connection.sendall(head.encode() + b"\r\n" + body[: len(body) // 2])
            raise Cut
        connection.sendall(head.encode() + b"content-type: application/json\r\n\r\n" + body)
        return True

    def _call(self, method: str, params: list[Any]) -> Any:
        if method == "session.login_with_password":
            if params[1] != self.password:
                raise Failure(["SESSION_AUTHENTICATION_FAILED", params[0], "Authentication failure"])
            session = new_ref()
            self.sessions.add(session)
            return session
        session = params[0] if params else ""
        if session not in self.sessions:
            raise Failure(["SESSION_INVALID", session])
        if method == "session.logout":
            self.sessions.discard(session)
            return ""
        return self.handler(method, params[1:])


class _Stream:
    """Both directions of a connection after the head of a request."""

    def __init__(self, connection: socket.socket, reader: Any) -> None:
        self.socket = connection
        self.read = reader.read
        self.write = connection.sendall


@contextlib.contextmanager
def serving(handler: Handler | None = None, certificate: Path | None = None, **settings: Any) -> Iterator[SmallServer]:
    with SmallServer(handler, certificate, **settings) as server:
        yield server
