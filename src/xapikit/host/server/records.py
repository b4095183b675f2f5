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
"""Records as clients see them, encoded once per generation of their row.

A call may return a :class:`RowRecord`, a map of them or an :class:`EventBatch` instead of plain dictionaries; the
encoders then reuse the bytes kept with the row. ``plain`` gives the ordinary value for whoever needs that.
"""

from __future__ import annotations

import functools
import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeAlias

from xapikit.host.store import Row
from xapikit.host.store.table import Entry
from xapikit.model import MODEL, Kind
from xapikit.wire import Int32, Request, jsonrpc, xmlrpc

Protocol_: TypeAlias = Literal["xml", "json"]
Operation: TypeAlias = Literal["add", "mod", "del"]

_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), check_circular=False).encode


@functools.cache
def _wire_fields(class_name: str) -> tuple[tuple[str, bool], ...]:
    fields = MODEL.classes[class_name].wire_fields.values()
    return tuple((field.name, field.type.kind is Kind.OPTION) for field in fields)


def wire_record(class_name: str, row: Row) -> dict[str, Any]:
    """A row without its internal fields, as ``get_record`` answers it."""
    return {
        name: ([] if row[name] is None else [row[name]]) if option else row[name]
        for name, option in _wire_fields(class_name)
    }


def _piece(class_name: str, entry: Entry, protocol: Protocol_) -> bytes:
    known = entry.encoded.get(protocol)
    if known is None:
        record = wire_record(class_name, entry.row)
        text = xmlrpc.encode_fragment(record) if protocol == "xml" else _json(record)
        known = entry.encoded[protocol] = text.encode("utf-8", "replace")
    return known


class Prepared(Protocol):
    """A result that knows how to become bytes quickly."""

    def plain(self) -> Any:
        """The same as an ordinary value."""
        ...

    def encode(self, request: Request) -> bytes:
        """The whole reply."""
        ...


@dataclass(frozen=True)
class RowRecord:
    """One record."""

    class_name: str
    entry: Entry

    def plain(self) -> dict[str, Any]:
        return wire_record(self.class_name, self.entry.row)

    def encode(self, request: Request) -> bytes:
        return _fill(request, lambda hole: hole, [_piece(self.class_name, self.entry, _protocol(request))])


@dataclass(frozen=True)
class RowRecords:
    """A map from reference to record, as ``get_all_records`` answers it."""

    class_name: str
    entries: Sequence[tuple[str, Entry]]

    def plain(self) -> dict[str, Any]:
        return {ref: wire_record(self.class_name, entry.row) for ref, entry in self.entries}

    def encode(self, request: Request) -> bytes:
        if _protocol(request) == "xml":
            members = [
                b"<member><name>%b</name>%b</member>" % (ref.encode(), _piece(self.class_name, entry, "xml"))
                for ref, entry in self.entries
            ]
            body = b"<value><struct>" + b"".join(members) + b"</struct></value>"
        else:
            items = [b'"%b":%b' % (ref.encode(), _piece(self.class_name, entry, "json")) for ref, entry in self.entries]
            body = b"{" + b",".join(items) + b"}"
        return _fill(request, lambda hole: hole, [body])


@dataclass(frozen=True)
class EventRecord:
    """One event; ``entry`` is None for a deletion."""

    class_name: str
    operation: Operation
    ref: str
    generation: int
    entry: Entry | None
    timestamp: str = "0.0"

    def members(self, snapshot: Any) -> dict[str, Any]:
        event = {
            "id": str(self.generation),
            "timestamp": self.timestamp,
            "class": self.class_name.lower(),
            "operation": self.operation,
            "ref": self.ref,
        }
        if self.entry is not None:
            event["snapshot"] = snapshot
        return event


@dataclass(frozen=True)
class EventBatch:
    """What ``event.from`` answers (``token`` None: the bare list of ``event.next``)."""

    events: Sequence[EventRecord]
    token: str | None
    counts: dict[str, int]

    def plain(self) -> Any:
        return self._value([wire_record(e.class_name, e.entry.row) if e.entry else None for e in self.events])

    def encode(self, request: Request) -> bytes:
        protocol = _protocol(request)
        pieces = [_piece(e.class_name, e.entry, protocol) for e in self.events if e.entry]
        return _fill(request, lambda hole: self._value([hole] * len(self.events)), pieces)

    def _value(self, snapshots: Sequence[Any]) -> Any:
        events = [event.members(snapshot) for event, snapshot in zip(self.events, snapshots, strict=True)]
        if self.token is None:
            return events
        counts = {name: Int32(count) for name, count in self.counts.items()}
        return {"events": events, "valid_ref_counts": counts, "token": self.token}


def encode_result(request: Request, value: Any) -> bytes:
    """The reply to a call that succeeded, for plain and prepared values alike."""
    if isinstance(value, RowRecord | RowRecords | EventBatch):
        return value.encode(request)
    if request.version == "xmlrpc":
        return xmlrpc.encode_success(request, value)
    return jsonrpc.encode_success(request, value)


def encode_error(request: Request, error: Sequence[str]) -> bytes:
    if request.version == "xmlrpc":
        return xmlrpc.encode_failure(request, error)
    return jsonrpc.encode_failure(request, error)


def plain_result(value: Any) -> Any:
    """The ordinary value of a call's result."""
    return value.plain() if isinstance(value, RowRecord | RowRecords | EventBatch) else value


def _protocol(request: Request) -> Protocol_:
    return "xml" if request.version == "xmlrpc" else "json"


def _fill(request: Request, value: Any, pieces: Sequence[bytes]) -> bytes:
    """Encode ``value(hole)`` where ``hole`` is an unguessable text, then put the pieces into the holes."""
    hole = secrets.token_hex(16)
    if request.version == "xmlrpc":
        frame, mark = xmlrpc.encode_success(request, value(hole)), f"<value>{hole}</value>".encode()
    else:
        frame, mark = jsonrpc.encode_success(request, value(hole)), f'"{hole}"'.encode()
    parts = frame.split(mark)
    out = [parts[0]]
    for piece, part in zip(pieces, parts[1:], strict=True):
        out.append(piece)
        out.append(part)
    return b"".join(out)
