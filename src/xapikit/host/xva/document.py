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
"""``ova.xml``: the objects of an archive as one XML-RPC value (wire reference 5.3).

A struct of ``version`` (of the host that wrote it) and ``objects``, each ``{class, id, snapshot}``: the record as
``get_record`` answers it, with the references replaced by the ``Ref:N`` of the archive.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from xapikit.host import facts
from xapikit.host.errors import ApiError
from xapikit.model import MODEL, NULL_REF, Kind
from xapikit.wire import CoercionError, MalformedResponse
from xapikit.wire.coerce import coerce
from xapikit.wire.xmlrpc import decode_fragment, encode_fragment

FILE: Final = "ova.xml"
FORM: Final = 2
"""``export_vsn``: chunks have their checksums behind them, and no table of checksums ends the archive."""
_ABSENT: Final = object()
LARGEST: Final = 128 << 20
"""Bytes of an ``ova.xml`` that are read at most; one of ten thousand VMs has about that."""


@dataclass(frozen=True)
class Exported:
    """One object. ``snapshot`` has typed values when it is written, raw ones when it was read."""

    class_name: str
    id: str
    snapshot: Mapping[str, Any]

    @functools.cached_property
    def record(self) -> Mapping[str, Any]:
        """What was read, typed: members that its host did not know by their defaults, members that this host does not
        know left out. Raises IMPORT_ERROR for values of another type."""
        found: dict[str, Any] = {}
        for name, field in MODEL.classes[self.class_name].wire_fields.items():
            raw = self.snapshot.get(name, _ABSENT)
            if raw is _ABSENT or (field.type.kind is Kind.ENUM and not raw):
                found[name] = field.initial()
                continue
            try:
                value = coerce(field.type, raw)
            except CoercionError as error:
                raise ApiError("IMPORT_ERROR", f"{self.class_name}.{name}: {error}") from None
            if field.type.kind is Kind.OPTION:
                value = value[0] if value else None
            found[name] = value
        return found


@dataclass(frozen=True)
class Version:
    """Who wrote an archive."""

    xapi: tuple[int, int]
    form: int
    """0: no checksums in the stream, 1: those and a table at the end, 2: those in the stream alone."""


@dataclass(frozen=True)
class Document:
    """What an ``ova.xml`` says."""

    version: Version
    objects: tuple[Exported, ...]

    @functools.cached_property
    def _by_id(self) -> Mapping[str, Exported]:
        return {item.id: item for item in reversed(self.objects)}

    def of(self, class_name: str) -> list[Exported]:
        return [item for item in self.objects if item.class_name == class_name]

    def find(self, identity: str) -> Exported:
        """The object of that ``Ref:N``. Raises IMPORT_ERROR_FAILED_TO_FIND_OBJECT."""
        found = self._by_id.get(identity)
        if found is None:
            raise ApiError("IMPORT_ERROR_FAILED_TO_FIND_OBJECT", identity)
        return found


def _own_version() -> tuple[int, int]:
    major, minor = facts.software_version("")["xapi"].split(".")[:2]
    return int(major), int(minor)


def write(objects: Iterable[Exported], hostname: str) -> bytes:
    """The text of an ``ova.xml``."""
    software = facts.software_version(hostname)
    major, minor = _own_version()
    version = {
        **{name: software[name] for name in ("hostname", "date", "product_version", "product_brand", "build_number")},
        "xapi_major": major,
        "xapi_minor": minor,
        "export_vsn": FORM,
    }
    listed = [{"class": item.class_name, "id": item.id, "snapshot": dict(item.snapshot)} for item in objects]
    return encode_fragment({"version": version, "objects": listed}).encode("utf-8", "replace")


def read(text: bytes) -> Document:
    """Parse an ``ova.xml``. Raises IMPORT_ERROR for what is none, IMPORT_INCOMPATIBLE_VERSION for that of a newer
    host."""
    try:
        value = decode_fragment(text.decode("utf-8"))
        said, listed = value["version"], value["objects"]
        version = Version((int(said["xapi_major"]), int(said["xapi_minor"])), int(said.get("export_vsn", 0)))
        objects = tuple(_object(item) for item in listed)
    except (MalformedResponse, UnicodeDecodeError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise ApiError("IMPORT_ERROR", f"not an {FILE}: {error}") from error
    if version.xapi > _own_version():
        raise ApiError("IMPORT_INCOMPATIBLE_VERSION")
    return Document(version, objects)


def _object(item: Any) -> Exported:
    class_name, identity, snapshot = item["class"], item["id"], item["snapshot"]
    if not isinstance(class_name, str) or not isinstance(identity, str) or not isinstance(snapshot, dict):
        raise TypeError("an object is a class, an id and a record")
    return Exported(class_name, identity, snapshot)


def external(class_name: str, record_: Mapping[str, Any], ids: Mapping[str, str]) -> dict[str, Any]:
    """A record with its references as the archive names them; what is not in the archive is not referred to."""
    fields = MODEL.classes[class_name].wire_fields
    return {name: _external(fields[name].type, value, ids) for name, value in record_.items()}


def _external(kind: Any, value: Any, ids: Mapping[str, str]) -> Any:
    if kind.kind is Kind.REF:
        return ids.get(value, NULL_REF)
    if kind.kind is Kind.SET and kind.args[0].kind is Kind.REF:
        return [ids[ref] for ref in value if ref in ids]
    if kind.kind is Kind.MAP and Kind.REF in (kind.args[0].kind, kind.args[1].kind):
        return {}
    return value
