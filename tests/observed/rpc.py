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
"""Calls as a plain XML-RPC client sends them; answers with the values that they have on the wire."""

from __future__ import annotations

import http.client
import xmlrpc.client as stdlib_xmlrpc
from typing import Any
from urllib.parse import urlsplit

from xapikit.wire import Failure, MalformedResponse, xmlrpc

SECONDS = 60
Outcome = dict[str, Any]
"""``status`` with ``value`` or ``error``; an answer that is no XML-RPC has its HTTP status and its ``body``."""


class RawCalls:
    """Sends calls to the hosts of a pool, one connection each."""

    def __init__(self, urls: list[str]) -> None:
        self._urls = urls

    def call(self, method: str, params: list[Any], *, host: int = 0) -> Outcome:
        text = stdlib_xmlrpc.dumps(tuple(params), method, allow_none=True)
        status, body = self.post(text.encode("utf-8"), host)
        try:
            return {"status": "Success", "value": _plain(xmlrpc.decode_response(body))}
        except Failure as failure:
            return {"status": "Failure", "error": failure.error}
        except MalformedResponse:
            return {"status": status, "body": body.decode("utf-8", "replace")}

    def post(self, body: bytes, host: int) -> tuple[str, bytes]:
        """The status and body of the answer to some bytes."""
        connection = http.client.HTTPConnection(urlsplit(self._urls[host]).netloc, timeout=SECONDS)
        try:
            connection.request("POST", "/", body)
            reply = connection.getresponse()
            return f"{reply.status} {reply.reason}", reply.read()
        finally:
            connection.close()


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, str) else value
