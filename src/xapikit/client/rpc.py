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
"""One JSON-RPC exchange over one connection; no policy."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any, Final

from xapikit.client.connection import USER_AGENT, Connection
from xapikit.client.deadline import Deadline
from xapikit.client.errors import HostIsSlave, HttpError, TransportError, xapi_error
from xapikit.wire import MAX_REQUEST_BYTES, Failure, MalformedResponse, jsonrpc

_PAGE_SHOWN: Final = 200
# a member that is asked so tells, with HOST_IS_SLAVE, the fingerprint of its coordinator's certificate (reference 1.2)
_ASK_FINGERPRINT: Final = "x-xenapi-request-host-certificate-thumbprint: sha-256:master\r\n"
_TOLD_FINGERPRINT: Final = "x-xenapi-response-host-certificate-thumbprint"


class Rpc:
    """Encodes calls, decodes replies. ``redact`` cleans what may be shown of a server's words."""

    def __init__(self, redact: Callable[[str], str]) -> None:
        self._ids = itertools.count(1)
        self._redact = redact

    def exchange(self, connection: Connection, method: str, params: Sequence[Any], deadline: Deadline) -> Any:
        """Send one call and return its value.

        Raises :class:`~xapikit.client.errors.XapiError` (a subclass by code), ``NotSent``, ``MaybeSent``,
        ``CallTimedOut``, ``HttpError``; ValueError for a call that no XAPI server would read.
        """
        body = jsonrpc.encode_request(method, params, next(self._ids))
        if len(body) > MAX_REQUEST_BYTES:
            raise ValueError(f"{method}: call of {len(body)} bytes; a XAPI server reads {MAX_REQUEST_BYTES}")
        asking = _ASK_FINGERPRINT if connection.endpoint.secure else ""
        head = (
            f"POST /jsonrpc HTTP/1.1\r\nHost: {connection.endpoint.netloc}\r\nUser-Agent: {USER_AGENT}\r\n"
            f"Content-Type: {jsonrpc.CONTENT_TYPE}\r\nContent-Length: {len(body)}\r\n{asking}\r\n"
        )
        try:
            reply, data = connection.request(head.encode("latin-1") + body, deadline)
        except TransportError as error:
            error.method = method
            raise
        if reply.status != 200:
            raise HttpError(
                self._status(reply.status, reply.reason, data), reply.status, str(connection.endpoint), method
            )
        try:
            return jsonrpc.decode_response(data)
        except Failure as failure:
            raised = xapi_error([self._redact(text) for text in failure.error], method)
            if isinstance(raised, HostIsSlave):
                raised.coordinator_fingerprint = reply.headers.get(_TOLD_FINGERPRINT, "")
            raise raised from None
        except MalformedResponse as error:
            raise HttpError(f"not a XAPI server: {error}", reply.status, str(connection.endpoint), method) from None

    def _status(self, status: int, reason: str, page: bytes) -> str:
        """The last words of an error page, which hold the server's reason."""
        text = page.decode("utf-8", "replace").rpartition("</h1>")[2].removesuffix("</body></html>")
        return self._redact(f"HTTP {status} {reason} {text[:_PAGE_SHOWN]}".strip())
