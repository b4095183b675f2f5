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
"""XML-RPC as plug-ins speak it: the call on their command line, the reply on their standard output.

What a reply of another shape means is as a host treats it (observed/plugins.json); text after the document is ignored.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping
from typing import Any
from xml.sax.saxutils import escape

from xapikit.host.dom0.programs import failure
from xapikit.host.errors import ApiError

_CHARACTER = re.compile(r"&#(x?[0-9A-Fa-f]+);")


def plugin_call(function: str, session: str, arguments: Mapping[str, str]) -> str:
    """The one argument of a plug-in: no prolog, strings without a tag."""
    members = "".join(
        f"<member><name>{escape(name)}</name><value>{escape(value)}</value></member>"
        for name, value in arguments.items()
    )
    struct = f"<struct>{members}</struct>" if members else "<struct/>"
    params = f"<param><value>{escape(session)}</value></param><param><value>{struct}</value></param>"
    return f"<methodCall><methodName>{escape(function)}</methodName><params>{params}</params></methodCall>"


def plugin_result(stdout: bytes) -> str:
    """The string that a plug-in returns. Raises the ApiError that it reports, or what a host makes of nonsense."""
    try:
        text = stdout.decode("utf-8")
    except UnicodeDecodeError:
        raise ApiError("INTERNAL_ERROR", "Db_exn.Invalid_value") from None
    root = _document(text)
    if root.tag != "methodResponse":
        raise _type_error(f"unbox: Element={root.tag} should contain 'methodResponse'")
    fault = root.find("fault/value")
    if fault is not None:
        members = _members(fault)
        code, reason = (members.get(name) for name in ("faultCode", "faultString"))
        raise failure("fault", *("".join(item.itertext()) if item is not None else "" for item in (code, reason)))
    value = root.find("params/param/value")
    if value is None:
        raise _type_error("unbox: Element=methodResponse should contain 'params'")
    members = _members(value)
    status = members.get("Status")
    if status is None:
        raise _type_error("Status")
    word = _string(status)
    if word == "Success" and "Value" in members:
        return _string(members["Value"])
    if word == "Failure" and "ErrorDescription" in members:
        items = members["ErrorDescription"].findall("array/data/value")
        if not items:
            raise _type_error("Empty array of error strings")
        raise ApiError(*(_string(item) for item in items))
    raise _type_error("Value" if word == "Success" else word)


def _document(text: str) -> ElementTree.Element:
    parser: ElementTree.XMLPullParser[Any] = ElementTree.XMLPullParser(["start", "end"])
    parser.feed(text)
    depth = 0
    events: Any = parser.read_events()
    try:
        # an error behind the document is never reached: what follows it is ignored
        for event, element in events:
            depth += 1 if event == "start" else -1
            if not depth:
                assert isinstance(element, ElementTree.Element)
                return element
    except ElementTree.ParseError as error:
        raise failure("failed to parse plugin output", text, _reason(error, text, depth)) from None
    raise failure("failed to parse plugin output", text, "unexpected end of input line 1")


def _reason(error: ElementTree.ParseError, text: str, depth: int) -> str:
    line = error.position[0]
    reference = _CHARACTER.search(text)
    if error.code == 14 and reference:  # XML_ERROR_BAD_CHAR_REF
        return f"illegal character reference (#{reference[1]}) line {line}"
    return f"expected root element line {line}" if not depth else f"malformed XML line {line}"


def _members(value: ElementTree.Element) -> dict[str, ElementTree.Element]:
    struct = value.find("struct")
    if struct is None:
        inner = f"Element={value[0].tag}" if len(value) else f"PCData={value.text or ''}"
        raise _type_error(f"unbox: {inner} should contain 'struct'")
    found: dict[str, ElementTree.Element] = {}
    for member in struct.findall("member"):
        name, item = member.find("name"), member.find("value")
        if name is not None and item is not None:
            found[name.text or ""] = item
    return found


def _string(value: ElementTree.Element) -> str:
    if not len(value):
        return value.text or ""
    if value[0].tag == "string":
        return value[0].text or ""
    raise _type_error(f"unbox: Element={value[0].tag} should contain 'string'")


def _type_error(text: str) -> ApiError:
    return ApiError("INTERNAL_ERROR", f'XMLRPC.RunTimeTypeError("{text}", _)')
