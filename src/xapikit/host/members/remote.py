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
"""A host's own calls to another pool's coordinator, as far as joining it needs them.

A host that joins does not know the coordinator's certificate yet: it takes what it finds, as real ones do.
"""

from __future__ import annotations

import http.client
import itertools
import json
import ssl
from typing import Any
from urllib.parse import urlsplit

from xapikit.host.errors import ApiError
from xapikit.wire import Failure, MalformedResponse, jsonrpc

_SECONDS = 60.0
_CONNECT_SECONDS = 5.0
_ORIGINATOR = "pool.join"


class Remote:
    """A session at another pool's coordinator. A context manager: leaving it logs out."""

    def __init__(
        self, address: str, user: str, password: str, *, https_port: int | None, http_port: int | None
    ) -> None:
        """``address`` may carry a port; else the ports are those given, which are the caller's own, then the usual.

        Raises JOINING_HOST_CONNECTION_FAILED, JOINING_HOST_SERVICE_FAILED, and what the log-in gives.
        """
        self._ids = itertools.count(1)
        self.session = ""
        self._connection = _connect(address, https_port, http_port)
        try:
            self.session = self._bare("session.login_with_password", user, password, "1.0", _ORIGINATOR)
        except BaseException:
            self._connection.close()
            raise

    def __enter__(self) -> Remote:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self("session.logout")
        except ApiError:
            pass  # it ends by itself in a day
        self._connection.close()

    def __call__(self, method: str, *params: Any) -> Any:
        """The value of a call. Raises ApiError."""
        return self._bare(method, self.session, *params)

    def control(self, path: str) -> dict[str, Any] | None:
        """What the server says under ``/_embedded``; None from one that has no such thing."""
        headers = {"Cookie": f"session_id={self.session}"}
        status, body = self._exchange("GET", f"/_embedded/{path}", b"", headers)
        if status != http.client.OK:
            return None
        try:
            said = json.loads(body)
        except ValueError:
            return None
        return said if isinstance(said, dict) else None

    def _bare(self, method: str, *params: Any) -> Any:
        body = jsonrpc.encode_request(method, params, next(self._ids))
        status, answer = self._exchange("POST", "/jsonrpc", body, {"Content-Type": jsonrpc.CONTENT_TYPE})
        if status != http.client.OK:
            raise ApiError("JOINING_HOST_SERVICE_FAILED")
        try:
            return jsonrpc.decode_response(answer)
        except Failure as failure:
            raise ApiError(*failure.error) from None
        except MalformedResponse:
            raise ApiError("JOINING_HOST_SERVICE_FAILED") from None

    def _exchange(self, verb: str, path: str, body: bytes, headers: dict[str, str]) -> tuple[int, bytes]:
        try:
            self._connection.request(verb, path, body, headers)
            reply = self._connection.getresponse()
            return reply.status, reply.read()
        except (OSError, http.client.HTTPException) as error:
            raise ApiError("JOINING_HOST_CONNECTION_FAILED") from error


def _connect(address: str, https_port: int | None, http_port: int | None) -> http.client.HTTPConnection:
    """A connection to the first of the possible listeners that answers: in the caller's own manner first."""
    try:
        parts = urlsplit(f"//{address}" if address.count(":") < 2 or address.startswith("[") else f"//[{address}]")
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if not host:
        raise ApiError("JOINING_HOST_CONNECTION_FAILED")
    secure = [(_secure, one) for one in ([port] if port else [https_port, 443]) if one]
    plain = [(_plain, one) for one in ([port] if port else [http_port, 80]) if one]
    for attempt, number in [*secure, *plain] if https_port else [*plain, *secure]:
        try:
            return attempt(host, number)
        except (OSError, http.client.HTTPException):
            continue
    raise ApiError("JOINING_HOST_CONNECTION_FAILED")


def _secure(host: str, port: int) -> http.client.HTTPConnection:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    connection = http.client.HTTPSConnection(host, port, timeout=_CONNECT_SECONDS, context=context)
    connection.connect()
    connection.sock.settimeout(_SECONDS)
    return connection


def _plain(host: str, port: int) -> http.client.HTTPConnection:
    """Raises what a listener that wants TLS makes of it."""
    connection = http.client.HTTPConnection(host, port, timeout=_CONNECT_SECONDS)
    try:
        connection.request("OPTIONS", "/")
        connection.getresponse().read()
    except (OSError, http.client.HTTPException):
        connection.close()
        raise
    connection.close()  # the next request opens it again
    connection.timeout = _SECONDS
    return connection
