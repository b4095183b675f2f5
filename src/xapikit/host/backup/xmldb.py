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
"""The database as XML, in the form of a host's ``state.db``: a manifest, a table per class, a row per object.

A row is one element with its columns as attributes, all as text: sets ``('a' 'b')``, maps ``(('k' 'v'))``, and white
space written so that XML keeps it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final
from xml.parsers import expat
from xml.sax.saxutils import quoteattr

from xapikit.host import facts
from xapikit.host.server.columns import column, fields_by_column
from xapikit.host.server.filter import stored_text
from xapikit.host.store import Store
from xapikit.host.store.values import persistent_fields
from xapikit.model import MODEL, Kind, Type
from xapikit.wire import CoercionError
from xapikit.wire.coerce import coerce

TABLES: Final = tuple(spec.name for spec in MODEL.classes.values() if spec.in_db)
"""Every table is named in a dump, with its rows where they outlive a restart."""
_SPACES: Final = {" ": "%.", "\t": "%t", "\n": "%n", "\r": "%r", "%": "%%"}
_UNSPACED: Final = {code: text for text, code in _SPACES.items()}
_STAMPS: Final = ("ref", "__ctime", "__mtime")
_TOKEN: Final = re.compile(r"\s*(?:(?P<sign>[()])|'(?P<text>(?:[^'\\]|\\.)*)')", re.DOTALL)
_LARGEST_DEPTH: Final = 8

Rows = Mapping[str, Mapping[str, Mapping[str, Any]]]
"""Fields by class and reference."""


class NoDatabase(ValueError):
    """A text that is no database, or not of this kind of host."""


@dataclass(frozen=True)
class Dump:
    """What a text says."""

    schema: tuple[int, int]
    rows: Rows


def schema_version() -> tuple[int, int]:
    major, minor = facts.software_version("")["db_schema"].split(".")
    return int(major), int(minor)


# writing -------------------------------------------------------------------------------------------------------------


def write(store: Store) -> Iterator[str]:
    """The database in pieces; each table is of one moment."""
    major, minor = schema_version()
    yield "<?xml version='1.0' encoding='UTF-8'?>\n<database><manifest>"
    for key, value in (
        ("schema_major_vsn", major),
        ("schema_minor_vsn", minor),
        ("generation_count", store.generation),
    ):
        yield f'<pair key="{key}" value="{value}"/>'
    yield "</manifest>"
    for name in TABLES:
        yield f'<table name="{name}">'
        if MODEL.classes[name].persist:
            fields = MODEL.classes[name].fields.values()
            columns = [(column(name, field.name), field.name) for field in fields]
            for ref, entry in store.entries(name):
                words = [f'ref="{ref}" __ctime="{entry.created}" __mtime="{entry.modified}"']
                words += [f"{key}={quoteattr(_protected(text(entry.row[field])))}" for key, field in columns]
                yield f"<row {' '.join(words)}/>"
        yield "</table>"
    yield "</database>"


def text(value: Any) -> str:
    """A value as a column holds it."""
    if value is None:
        return ""
    if isinstance(value, list | tuple):
        return f"({' '.join(_quoted(item) for item in value)})"
    if isinstance(value, Mapping):
        return f"({' '.join(f'({_quoted(key)} {_quoted(item)})' for key, item in value.items())})"
    return stored_text(value) or ""


def _quoted(item: Any) -> str:
    return "'" + text(item).replace("\\", "\\\\").replace("'", "\\'") + "'"


def _protected(value: str) -> str:
    return re.sub(r"[ \t\n\r%]", lambda found: _SPACES[found[0]], value)


# reading -------------------------------------------------------------------------------------------------------------


def read(data: bytes) -> Dump:
    """Parse a dump. Columns that this host does not keep are passed over. Raises NoDatabase."""
    manifest: dict[str, str] = {}
    rows: dict[str, dict[str, dict[str, Any]]] = {}
    path: list[str] = []
    table = ""

    def start(tag: str, attributes: dict[str, str]) -> None:
        nonlocal table
        path.append(tag)
        match path:
            case ["database"] | ["database", "manifest"]:
                pass
            case ["database", "manifest", "pair"]:
                manifest[attributes["key"]] = attributes["value"]
            case ["database", "table"]:
                table = attributes["name"]
            case ["database", "table", "row"]:
                if table in TABLES and MODEL.classes[table].persist:
                    rows.setdefault(table, {})[attributes["ref"]] = _row(table, attributes)
            case _:
                raise NoDatabase(f"unexpected element {tag[:40]}")

    def refuse(*_: object) -> None:
        raise NoDatabase("a document type")

    parser = expat.ParserCreate()
    parser.StartElementHandler = start
    parser.EndElementHandler = lambda _: path.pop()
    parser.StartDoctypeDeclHandler = refuse
    try:
        parser.Parse(data, True)
        schema = int(manifest["schema_major_vsn"]), int(manifest["schema_minor_vsn"])
    except (expat.ExpatError, KeyError, CoercionError, ValueError) as error:
        raise NoDatabase(str(error)) from error
    return Dump(schema, rows)


def _row(class_name: str, attributes: Mapping[str, str]) -> dict[str, Any]:
    fields, kept = fields_by_column(class_name), persistent_fields(class_name)
    found: dict[str, Any] = {}
    for key, value in attributes.items():
        if key in _STAMPS:
            continue
        name = fields.get(key)
        if name is None:
            raise NoDatabase(f"unexpected column in table {class_name}: {key[:60]}")
        if name in kept:
            found[name] = _value(MODEL.classes[class_name].fields[name].type, _unprotected(value))
    return found


def _unprotected(value: str) -> str:
    return re.sub(r"%[.tnr%]", lambda found: _UNSPACED[found[0]], value)


def _value(kind: Type, value: str) -> Any:
    match kind.kind:
        case Kind.SET:
            return [_value(kind.args[0], item) for item in _list(value, str)]
        case Kind.MAP:
            pairs = [(str(pair[0]), str(pair[1])) for pair in _list(value, list) if len(pair) == 2]
            return {_value(kind.args[0], key): _value(kind.args[1], item) for key, item in pairs}
        case Kind.BOOL:
            return value == "true"
        case Kind.ENUM:
            return value  # words of older hosts, too
        case Kind.OPTION:
            return None if not value else _value(kind.args[0], value)
        case _:
            return coerce(kind, value)


def _list(value: str, of: Callable[..., Any]) -> list[Any]:
    found = _expression(value)
    if not isinstance(found, list) or not all(type(item) is of for item in found):
        raise NoDatabase(f"not a set or map: {value[:60]}")
    return found


def _expression(value: str) -> Any:
    """Read ``('a' ('b' 'c'))``."""
    stack: list[list[Any]] = [[]]
    position = 0
    while position < len(value):
        found = _TOKEN.match(value, position)
        if found is None:
            raise NoDatabase(f"not a set or map: {value[:60]}")
        position = found.end()
        if found["text"] is not None:
            stack[-1].append(re.sub(r"\\(.)", r"\1", found["text"], flags=re.DOTALL))
        elif found["sign"] == "(":
            if len(stack) > _LARGEST_DEPTH:
                raise NoDatabase("nested too deeply")
            stack.append([])
        elif len(stack) > 1:
            inner = stack.pop()
            stack[-1].append(inner)
        else:
            raise NoDatabase("a bracket too many")
    if len(stack) != 1 or len(stack[0]) != 1:
        raise NoDatabase(f"not a set or map: {value[:60]}")
    return stack[0][0]
