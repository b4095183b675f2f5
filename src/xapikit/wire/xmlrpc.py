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
"""XML-RPC as XAPI speaks it on ``POST /``: text without a tag for strings and 64-bit integers, Status envelopes.

Decoding drives expat directly. Document types are refused, so there are no entities to expand and nothing is fetched.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, Final
from xml.parsers import expat

from xapikit.wire import _xmltree
from xapikit.wire.envelope import MAX_REQUEST_BYTES, Request
from xapikit.wire.errors import Failure, MalformedRequest, MalformedResponse
from xapikit.wire.values import DateTime, Int32, Raw

CONTENT_TYPE: Final = "text/xml"

_PROLOG: Final = '<?xml version="1.0"?>'
_REPLY: Final = f"{_PROLOG}<methodResponse><params><param>"
_REPLY_END: Final = "</param></params></methodResponse>"
_STATUS: Final = "<value><struct><member><name>Status</name><value>{}</value></member><member><name>{}</name>"
_SUCCESS: Final = _REPLY + _STATUS.format("Success", "Value")
_FAILURE: Final = _REPLY + _STATUS.format("Failure", "ErrorDescription")
_END: Final = f"</member></struct></value>{_REPLY_END}"

_SPECIAL: Final = re.compile('[&<>"\x00-\x08\x0b-\x1f\ud800-\udfff\ufffe\uffff]')
_ESCAPES: Final = {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "\r": "&#13;"}


def encode_request(method: str, params: Sequence[Any], request_id: int | str = 0) -> bytes:
    """A call. ``params`` start with the session where the call takes one; XML-RPC has no use for ``request_id``."""
    out = [f"{_PROLOG}<methodCall><methodName>{_escape(method)}</methodName><params>"]
    for value in params:
        out.append("<param>")
        _value(value, out)
        out.append("</param>")
    out.append("</params></methodCall>")
    return "".join(out).encode()


def decode_request(body: bytes, max_bytes: int = MAX_REQUEST_BYTES) -> Request:
    """Read a call. Raises :class:`MalformedRequest`."""
    if len(body) > max_bytes:
        raise MalformedRequest(f"request body of {len(body)} bytes, at most {max_bytes} are read")
    try:
        method, params = _xmltree.parse(body, "methodCall")
    except expat.ExpatError as error:
        raise MalformedRequest(_xmlm(error)) from None
    except _xmltree.Unexpected as error:
        raise MalformedRequest(str(error)) from None
    return Request(method, params)


def encode_success(request: Request, value: Any) -> bytes:
    """The reply to ``request``; None is void."""
    bare = request.method == "system.listMethods"  # the one call outside the envelope
    out = [_REPLY if bare else _SUCCESS]
    _value("" if value is None else value, out)
    out.append(_REPLY_END if bare else _END)
    return "".join(out).encode()


def encode_failure(request: Request, error: Sequence[str]) -> bytes:
    """The reply to ``request`` that failed with ``[CODE, parameter...]``."""
    out = [_FAILURE]
    _value(list(error), out)
    out.append(_END)
    return "".join(out).encode()


def decode_response(body: bytes) -> Raw:
    """The raw value of a reply (integers are text). Raises :class:`Failure` and :class:`MalformedResponse`."""
    try:
        value = _xmltree.parse(body, "methodResponse")
    except (expat.ExpatError, _xmltree.Unexpected) as error:
        raise MalformedResponse(f"not an XML-RPC reply: {error}") from None
    if not isinstance(value, dict) or "Status" not in value:
        return value  # system.listMethods
    if value["Status"] == "Success" and "Value" in value:
        return value["Value"]
    failed = value.get("ErrorDescription")
    if isinstance(failed, list) and failed and all(isinstance(item, str) for item in failed):
        raise Failure(failed)
    raise MalformedResponse("neither Value nor ErrorDescription in the reply")


def encode_fragment(value: Any) -> str:
    """``<value>...</value>``: the form of ``task.result``; None is void."""
    out: list[str] = []
    _value("" if value is None else value, out)
    return "".join(out)


def decode_fragment(text: str) -> Raw:
    """The raw value of a ``task.result``. Raises :class:`MalformedResponse`."""
    try:
        return _xmltree.parse(text.encode("utf-8", "replace"), "value")
    except (expat.ExpatError, _xmltree.Unexpected) as error:
        raise MalformedResponse(f"not an XML-RPC value: {error}") from None


def _xmlm(error: expat.ExpatError) -> str:
    what = expat.ErrorString(error.code)
    if error.code == expat.errors.codes[expat.errors.XML_ERROR_NO_ELEMENTS]:
        what = "unexpected end of input"
    elif (error.lineno, error.offset) == (1, 0):  # something else where the document should begin
        what = "expected root element"
    return f'Xmlm.Error({error.lineno}:{error.offset + 1}, "{what}")'


def _replace(found: re.Match[str]) -> str:
    return _ESCAPES.get(found[0], "\ufffd")


def _escape(text: str) -> str:
    return _SPECIAL.sub(_replace, text) if _SPECIAL.search(text) else text


def _str(value: str, out: list[str]) -> None:
    out.append(f"<value>{_escape(value)}</value>")


def _bool(value: bool, out: list[str]) -> None:
    out.append("<value><boolean>1</boolean></value>" if value else "<value><boolean>0</boolean></value>")


def _int(value: int, out: list[str]) -> None:
    out.append(f"<value>{value}</value>")


def _int32(value: int, out: list[str]) -> None:
    out.append(f"<value><i4>{int(value)}</i4></value>")


def _float(value: float, out: list[str]) -> None:
    text = f"{value:.16g}"
    if float(text) != value and value == value:  # sixteen digits do not always bring a double back
        text = f"{value:.17g}"
    out.append(f"<value><double>{text}</double></value>")


def _datetime(value: str, out: list[str]) -> None:
    out.append(f"<value><dateTime.iso8601>{_escape(value)}</dateTime.iso8601></value>")


def _list(value: Sequence[Any], out: list[str]) -> None:
    out.append("<value><array><data>")
    for item in value:
        _value(item, out)
    out.append("</data></array></value>")


def _dict(value: dict[Any, Any], out: list[str]) -> None:
    out.append("<value><struct>")
    for name, item in value.items():
        out.append(f"<member><name>{_escape(name if isinstance(name, str) else str(name))}</name>")
        _value(item, out)
        out.append("</member>")
    out.append("</struct></value>")


_ENCODERS: Final[dict[type, Callable[[Any, list[str]], None]]] = {
    str: _str,
    bool: _bool,
    int: _int,
    Int32: _int32,
    float: _float,
    DateTime: _datetime,
    list: _list,
    tuple: _list,
    dict: _dict,
}


def _value(value: Any, out: list[str]) -> None:
    encoder = _ENCODERS.get(type(value))
    if encoder is None:
        encoder = next((_ENCODERS[base] for base in type(value).__mro__ if base in _ENCODERS), None)
        if encoder is None:
            raise TypeError(f"{type(value).__name__} has no form in XML-RPC")
    encoder(value, out)
