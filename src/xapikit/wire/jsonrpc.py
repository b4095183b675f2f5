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
"""JSON-RPC 1.0 and 2.0 as XAPI speaks them on ``POST /jsonrpc``.

Only positional parameters, no notifications, no batches. The version is that of the ``jsonrpc`` member.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final

from xapikit.wire.envelope import MAX_REQUEST_BYTES, Request
from xapikit.wire.errors import Failure, MalformedRequest, MalformedResponse

CONTENT_TYPE: Final = "application/json"
_VOID: Final = ""

_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), check_circular=False).encode
_decode = json.JSONDecoder().decode


def encode_request(method: str, params: Sequence[Any], request_id: int | str = 0) -> bytes:
    """A call in version 2.0. ``params`` start with the session where the call takes one."""
    call = {"jsonrpc": "2.0", "id": request_id, "method": method, "params": list(params)}
    return _encode(call).encode()


def decode_request(body: bytes, max_bytes: int = MAX_REQUEST_BYTES) -> Request:
    """Read a call of either version. Raises :class:`MalformedRequest`."""
    if len(body) > max_bytes:
        raise MalformedRequest(f"request body of {len(body)} bytes, at most {max_bytes} are read")
    try:
        call = _load(body)
    except (ValueError, RecursionError) as error:
        raise MalformedRequest(f'Yojson__Common.Json_error("{_reason(error, body)}")') from None
    if not isinstance(call, dict):
        raise _malformed("Invalid request body")
    version = call.get("jsonrpc", None)
    if "jsonrpc" in call and version != "2.0":
        raise _malformed("Invalid field 'jsonrpc' in request body")
    identity = call.get("id")
    if isinstance(identity, bool) or not isinstance(identity, int | str):
        raise _malformed("Invalid field 'id' in request body")
    method = call.get("method")
    if not isinstance(method, str):
        raise _malformed("Invalid field 'method' in request body")
    params = call.get("params", [])
    if isinstance(params, dict):
        params = [params]
    elif not isinstance(params, list):
        raise _malformed("Invalid field 'params' in request body")
    return Request(method, params, identity, "json2" if version else "json1")


def encode_success(request: Request, value: Any) -> bytes:
    """The reply to ``request``; None is void."""
    result = _VOID if value is None else value
    if request.version == "json1":
        return _encode({"result": result, "error": None, "id": request.id}).encode("utf-8", "replace")
    return _encode({"jsonrpc": "2.0", "result": result, "id": request.id}).encode("utf-8", "replace")


def encode_failure(request: Request, error: Sequence[str]) -> bytes:
    """The reply to ``request`` that failed with ``[CODE, parameter...]``."""
    reply: dict[str, Any]
    if request.version == "json1":
        reply = {"result": None, "error": list(error), "id": request.id}
    else:
        detail = {"code": 1, "message": error[0], "data": list(error[1:])}
        reply = {"jsonrpc": "2.0", "error": detail, "id": request.id}
    return _encode(reply).encode("utf-8", "replace")


def decode_response(body: bytes) -> Any:
    """The value of a reply. Raises :class:`Failure` (the call failed) and :class:`MalformedResponse`."""
    try:
        reply = _load(body)
    except (ValueError, RecursionError) as error:
        raise MalformedResponse(f"not JSON: {type(error).__name__}") from None
    if not isinstance(reply, dict):
        raise MalformedResponse("a JSON-RPC reply is an object")
    failed = reply.get("error")
    if failed is not None:
        raise Failure(_failure(failed))
    if "result" not in reply:
        raise MalformedResponse("neither result nor error in the reply")
    return reply["result"]


def _failure(error: Any) -> list[str]:
    if isinstance(error, dict):
        data = error.get("data")
        error = [error.get("message"), *(data if isinstance(data, list) else [])]
    if not isinstance(error, list) or not error or not isinstance(error[0], str):
        raise MalformedResponse("an error without a code")
    return [item if isinstance(item, str) else _encode(item) for item in error]


def _load(body: bytes) -> Any:
    value = _decode(body.decode("utf-8"))
    if b"\\ud" in body or b"\\uD" in body:
        # an escape can smuggle in half a surrogate pair, which no encoder takes back
        _encode(value).encode("utf-8")
    return value


def _malformed(text: str) -> MalformedRequest:
    return MalformedRequest(f'Jsonrpc.Malformed_method_request("{text}")')


def _reason(error: Exception, body: bytes) -> str:
    if isinstance(error, json.JSONDecodeError):
        if error.pos >= len(error.doc.rstrip()):
            return f"Line {error.lineno}, bytes {max(error.colno - 2, 0)}-{error.colno - 1}:\\nUnexpected end of input"
        return f"Line {error.lineno}, bytes {error.colno - 1}-{error.colno}:\\nInvalid token"
    if isinstance(error, RecursionError):
        return "nested too deeply"
    return "invalid UTF-8 or number out of bounds"
