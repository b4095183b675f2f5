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
"""XML-RPC documents to raw values, with expat.

A machine with one frame per open element: each element, when it ends, hands one value to the element around it.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from typing import Any, Final
from xml.parsers import expat

from xapikit.wire.envelope import MAX_DEPTH
from xapikit.wire.values import DateTime

# each level of a value takes up to four elements: value, struct, member, value
_MAX_ELEMENTS_DEEP: Final = 4 * MAX_DEPTH


class Unexpected(ValueError):
    """Well-formed XML that is not XML-RPC; the text is in the words of a real server."""

    def __init__(self, found: str, wanted: str) -> None:
        super().__init__(f'Xmlrpc.Parse_error("{found}", "{wanted}", _)')


_TYPES: Final = frozenset(
    ("string", "int", "i4", "i8", "double", "boolean", "dateTime.iso8601", "base64", "nil", "array", "struct")
)
# which elements may stand inside which; text is allowed in the others
_INSIDE: Final[dict[str, frozenset[str]]] = {
    "methodCall": frozenset(("methodName", "params")),
    "methodResponse": frozenset(("params", "fault")),
    "fault": frozenset(("value",)),
    "params": frozenset(("param",)),
    "param": frozenset(("value",)),
    "value": _TYPES,
    "array": frozenset(("data",)),
    "data": frozenset(("value",)),
    "struct": frozenset(("member",)),
    "member": frozenset(("name", "value")),
}
_NOTHING: Final = frozenset[str]()


class _Frame:
    __slots__ = ("children", "tag", "text")

    def __init__(self, tag: str) -> None:
        self.tag = tag
        self.text = ""
        self.children: list[Any] = []


def parse(document: bytes, root: str) -> Any:
    """Read a document whose root element is ``root``.

    ``methodCall`` gives ``(method, params)``, ``methodResponse`` its one value, ``value`` itself.
    Raises ``expat.ExpatError`` for bad XML and :class:`Unexpected` for other structures.
    """
    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.ordered_attributes = True
    top = _Frame("")
    stack: list[_Frame] = [top]

    def start(tag: str, attributes: list[str]) -> None:
        around = stack[-1]
        if around is top:
            if tag != root:
                raise Unexpected(f"open_tag({tag[:40]})", f"open_tag({root})")
        elif tag not in _INSIDE.get(around.tag, _NOTHING):
            raise Unexpected(f"open_tag({tag[:40]})", f"close_tag({around.tag})")
        if len(stack) > _MAX_ELEMENTS_DEEP:
            raise Unexpected(f"open_tag({tag[:40]})", "nesting within limits")
        stack.append(_Frame(tag))

    def end(tag: str) -> None:
        frame = stack.pop()
        stack[-1].children.append(_FINISH[tag](frame))

    def text(data: str) -> None:
        frame = stack[-1]
        if frame.tag in _INSIDE and frame.tag != "value":
            if not data.isspace():
                raise Unexpected("text", f"close_tag({frame.tag})")
        else:
            frame.text += data

    def doctype(*_: Any) -> None:
        raise Unexpected("document type declaration", f"open_tag({root})")

    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = text
    parser.StartDoctypeDeclHandler = doctype
    parser.Parse(document, True)
    return top.children[0]


def _value(frame: _Frame) -> Any:
    if not frame.children:
        return frame.text
    if len(frame.children) > 1 or not (frame.text == "" or frame.text.isspace()):
        raise Unexpected("text or a second type", "close_tag(value)")
    return frame.children[0]


def _text(frame: _Frame) -> str:
    return frame.text


def _int(frame: _Frame) -> int:
    text = frame.text.strip()
    # Python reads more scripts' digits and longer numbers than anybody means
    if len(text) > 40 or not text.isascii():
        raise Unexpected(text[:40], frame.tag)
    try:
        return int(text)
    except ValueError:
        raise Unexpected(text[:40], frame.tag) from None


def _double(frame: _Frame) -> float:
    try:
        return float(frame.text.strip()[:400])
    except ValueError:
        raise Unexpected(frame.text[:40], "double") from None


def _boolean(frame: _Frame) -> bool:
    # a real server reads every other word, "true" included, as false
    return frame.text.strip() == "1"


def _datetime(frame: _Frame) -> DateTime:
    if not frame.text:
        raise Unexpected("empty_dateTime.iso8601", "dateTime.iso8601")
    return DateTime(frame.text)


def _base64(frame: _Frame) -> bytes:
    try:
        return base64.b64decode(frame.text)
    except (binascii.Error, ValueError):
        raise Unexpected("text", "base64") from None


def _nil(frame: _Frame) -> None:
    return None


def _all(frame: _Frame) -> list[Any]:
    return frame.children


def _array(frame: _Frame) -> list[Any]:
    return _only(frame) if frame.children else []


def _only(frame: _Frame) -> Any:
    if len(frame.children) != 1:
        raise Unexpected(f"{len(frame.children)} elements", f"one element inside {frame.tag}")
    return frame.children[0]


class _Name(str):
    __slots__ = ()


def _name(frame: _Frame) -> _Name:
    if not frame.text:
        raise Unexpected("open_tag(value)", "close_tag(name)")
    return _Name(frame.text)


def _member(frame: _Frame) -> tuple[str, Any]:
    if len(frame.children) != 2 or type(frame.children[0]) is not _Name or type(frame.children[1]) is _Name:
        raise Unexpected("close_tag(member)", "name and value")
    return str(frame.children[0]), frame.children[1]


def _struct(frame: _Frame) -> dict[str, Any]:
    return dict(frame.children)


def _call(frame: _Frame) -> tuple[str, list[Any]]:
    if not frame.children or type(frame.children[0]) is not _Name:
        raise Unexpected("close_tag(methodCall)", "open_tag(methodName)")
    if len(frame.children) > 2 or (len(frame.children) == 2 and type(frame.children[1]) is not list):
        raise Unexpected("open_tag(params)", "close_tag(methodCall)")
    return str(frame.children[0]), frame.children[1] if len(frame.children) == 2 else []


def _response(frame: _Frame) -> Any:
    params = _only(frame)
    if not isinstance(params, list) or len(params) != 1:
        raise Unexpected("fault or several values", "one value")
    return params[0]


def _fault(frame: _Frame) -> None:
    # XAPI never sends one for an API error; whoever does is not XAPI
    return None


_FINISH: Final[dict[str, Callable[[_Frame], Any]]] = {
    "methodCall": _call,
    "methodResponse": _response,
    "methodName": _name,
    "fault": _fault,
    "params": _all,
    "param": _only,
    "value": _value,
    "string": _text,
    "int": _int,
    "i4": _int,
    "i8": _int,
    "double": _double,
    "boolean": _boolean,
    "dateTime.iso8601": _datetime,
    "base64": _base64,
    "nil": _nil,
    "array": _array,
    "data": _all,
    "struct": _struct,
    "member": _member,
    "name": _name,
}
