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
"""XML-RPC and JSON-RPC over HTTP: bytes in, bytes out, with counting and faults around the dispatch."""

from __future__ import annotations

import hashlib
import logging
import ssl
from collections.abc import Callable
from typing import Any

from xapikit.host.errors import ApiError
from xapikit.host.faults import Faults, Verdict
from xapikit.host.pool import Pool
from xapikit.host.server.dispatch import Dispatcher, Origin
from xapikit.host.server.http import HttpConnection, HttpRequest, internal_error
from xapikit.host.server.records import encode_error, encode_result
from xapikit.wire import MAX_REQUEST_BYTES, MalformedRequest, Request, jsonrpc, xmlrpc

LOG = logging.getLogger(__name__)

_COMMON = (
    ("cache-control", "no-cache, no-store"),
    ("content-type", "{type}"),
    ("Access-Control-Allow-Origin", "*"),
    ("Access-Control-Allow-Headers", "X-Requested-With"),
)


_ASKED = "x-xenapi-request-host-certificate-thumbprint"
_TOLD = "x-xenapi-response-host-certificate-thumbprint"
_THUMBPRINTS = {"sha-256:master": "sha256", "sha-1:master": "sha1"}


class Rpc:
    """Answers POSTed calls on one pool."""

    def __init__(self, pool: Pool, dispatcher: Dispatcher, faults: Faults) -> None:
        self._pool = pool
        self._dispatcher = dispatcher
        self._faults = faults

    def xml(self, request: HttpRequest, connection: HttpConnection, host: str) -> bool:
        return self._serve(request, connection, host, xmlrpc.decode_request, "text/xml")

    def json(self, request: HttpRequest, connection: HttpConnection, host: str) -> bool:
        return self._serve(request, connection, host, jsonrpc.decode_request, "application/json")

    def _serve(
        self,
        request: HttpRequest,
        connection: HttpConnection,
        host: str,
        decode: Callable[[bytes], Request],
        content_type: str,
    ) -> bool:
        length = request.content_length
        if length is None or "transfer-encoding" in request.headers:
            raise internal_error('Failure("We require a content-length: HTTP header")')
        if length > MAX_REQUEST_BYTES:
            raise internal_error(f'Failure("request body of {length} bytes, at most {MAX_REQUEST_BYTES} are read")')
        body = connection.read(length)
        if len(body) < length:
            return False
        try:
            call = decode(body)
        except MalformedRequest as error:
            raise internal_error(str(error)) from None
        verdict = self._faults.call_received(call.method, call.params, host)
        verdict.delay()
        reply = self._answer(call, Origin(host, request.client_address, request.https), verdict)
        if reply is None:
            connection.cut()
            return False
        if verdict.cut_during is not None:
            connection.cut_after(verdict.cut_during)
        keep = request.keep_alive
        headers = [("connection", "keep-alive" if keep else "close")]
        headers += [(name, value.format(type=content_type)) for name, value in _COMMON]
        headers += self._thumbprint(request, host) if b"HOST_IS_SLAVE" in reply else []
        connection.reply("200 OK", headers, reply, version=request.version)
        self._pool.answered()
        return keep

    def _thumbprint(self, request: HttpRequest, host: str) -> list[tuple[str, str]]:
        """A member that is asked for it tells what certificate the coordinator shows (wire reference 1.2)."""
        algorithm = _THUMBPRINTS.get(request.headers.get(_ASKED, ""))
        if algorithm is None or host == self._pool.coordinator:
            return []
        pem = self._pool.certificate_of(self._pool.coordinator)
        if not pem:
            return []
        name = request.headers[_ASKED].partition(":")[0]
        digest = hashlib.new(algorithm, ssl.PEM_cert_to_DER_cert(pem), usedforsecurity=False).hexdigest()
        return [(_TOLD, f"{name}:{digest}")]

    def _answer(self, call: Request, origin: Origin, verdict: Verdict) -> bytes | None:
        """The reply, or None when a fault cuts the connection."""
        if verdict.cut_before:
            return None
        if verdict.error is not None:
            return encode_error(call, verdict.error)
        try:
            value: Any = self._dispatcher.dispatch(call.method, call.params, origin)
            reply = encode_result(call, value)
        except ApiError as error:
            reply = encode_error(call, error.description)
        return None if verdict.cut_after else reply
