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
"""Reaching another pool: connections to its ``/services`` and the question what became of a VM.

``host.migrate_receive`` gives the URLs; one of a host with a certificate of its own making names the certificate's
SHA-256 (``fingerprint``), and that very certificate is accepted. Others must be signed by somebody the system trusts.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import socket
import ssl
from collections.abc import Iterable, Mapping
from typing import Any, Final
from urllib.parse import parse_qs, quote, urlencode, urlsplit

from xapikit.host.errors import ApiError
from xapikit.host.migration.channel import Channel
from xapikit.host.storage.disks import Buffer

FINGERPRINT: Final = "fingerprint"
KEY: Final = "x-migration-key"
"""Header with the secret that only the two pools know."""
CONNECT_SECONDS: Final = 10.0
ANSWER_SECONDS: Final = 600.0
"""How long the other pool may take for one answer."""


class Unreachable(Exception):
    """The other pool does not answer, or is not the one that was meant."""


def service_url(base: str, service: str, certificate: str) -> str:
    """What ``host.migrate_receive`` tells of a service; ``certificate`` is that of the host, in PEM, or empty."""
    url = f"{base}/services/{service}"
    if not certificate or not base.startswith("https:"):
        return url
    digest = hashlib.sha256(ssl.PEM_cert_to_DER_cert(certificate)).hexdigest()
    return f"{url}?{urlencode({FINGERPRINT: digest})}"


def connect(url: str, session: str, host: str, **arguments: str) -> Channel:
    """Open a channel to a service. Raises CANNOT_CONTACT_HOST, SESSION_INVALID, RBAC_PERMISSION_DENIED,
    VM_MIGRATE_CONTACT_REMOTE_SERVICE_FAILED."""
    try:
        connection = _dial(url)
    except (Unreachable, OSError) as error:
        raise ApiError("CANNOT_CONTACT_HOST", host) from error
    target = urlsplit(url).path + (f"?{urlencode(arguments)}" if arguments else "")
    head = (
        f"POST {target} HTTP/1.1\r\nHost: {urlsplit(url).netloc}\r\nConnection: close\r\n"
        f"Cookie: session_id={quote(session)}\r\n\r\n"
    )
    reader = connection.makefile("rb")
    try:
        connection.sendall(head.encode())
        status = reader.readline(1024).split()
        while reader.readline(4096).strip():
            pass
        code = int(status[1])
    except (OSError, ValueError, IndexError) as error:
        connection.close()
        raise ApiError("VM_MIGRATE_CONTACT_REMOTE_SERVICE_FAILED") from error
    if code != 200:
        connection.close()
        if code == 401:
            raise ApiError("SESSION_INVALID", session)
        if code == 403:
            raise ApiError("RBAC_PERMISSION_DENIED", f"http{urlsplit(url).path}", "No permission in user session")
        raise ApiError("VM_MIGRATE_CONTACT_REMOTE_SERVICE_FAILED")

    def close() -> None:
        reader.close()
        try:
            connection.shutdown(socket.SHUT_RDWR)
        except OSError:  # the other side was faster
            pass
        connection.close()

    return Channel(reader.read, connection.sendall, close)


def outcome(url: str, identity: str, key: str) -> str:
    """What the other pool knows of a move that it was asked to complete: ``committed``, ``undone``, or ``busy``.

    Raises Unreachable.
    """
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=CONNECT_SECONDS)
    try:
        connection.sock = _dial(url)
        headers = {KEY: key, "Connection": "close"}
        connection.request("GET", f"{parts.path}?{urlencode({'migration': identity})}", headers=headers)
        reply = connection.getresponse()
        body = reply.read(4096)
        state = json.loads(body).get("state") if reply.status == 200 else None
    except (OSError, http.client.HTTPException, ValueError, AttributeError) as error:
        raise Unreachable(str(error)) from error
    finally:
        connection.close()
    if state not in ("committed", "undone", "busy"):
        raise Unreachable(f"{reply.status} {reply.reason}")
    return str(state)


def _dial(url: str) -> socket.socket:
    """A connection, encrypted where the URL says so. Raises OSError, Unreachable."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise Unreachable(f"not the URL of a service: {parts.scheme}:...")
    port = parts.port or (443 if parts.scheme == "https" else 80)
    connection = socket.create_connection((parts.hostname, port), timeout=CONNECT_SECONDS)
    try:
        if parts.scheme == "https":
            connection = _secured(connection, parts.hostname, parse_qs(parts.query).get(FINGERPRINT, [""])[0])
        connection.settimeout(ANSWER_SECONDS)
    except BaseException:
        connection.close()
        raise
    return connection


def _secured(connection: socket.socket, name: str, fingerprint: str) -> ssl.SSLSocket:
    context = ssl.create_default_context()
    if fingerprint:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE  # it is compared below, byte by byte
    secured = context.wrap_socket(connection, server_hostname=name)
    if fingerprint:
        certificate = secured.getpeercert(binary_form=True) or b""
        if hashlib.sha256(certificate).hexdigest() != fingerprint.lower():
            secured.close()
            raise Unreachable("the host has another certificate than the one that was named")
    return secured


class RemoteTarget:
    """The disks of a VM on its way, seen from where it comes: a :class:`xapikit.host.migration.targets.Target`."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    def create(self, sr: str, size: int, fields: Mapping[str, Any], mark: str) -> str:
        return str(self._channel.ask("create", sr=sr, size=size, fields=dict(fields), mark=mark)["disk"])

    def write(self, disk: str, pieces: Iterable[Buffer]) -> None:
        self._channel.ask("write", pieces, disk=disk)

    def grow(self, disk: str, size: int) -> None:
        self._channel.ask("grow", disk=disk, size=size)

    def snapshot(self, disk: str) -> str:
        return str(self._channel.ask("snapshot", disk=disk)["disk"])
