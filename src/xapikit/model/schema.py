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
"""Vocabulary in which the XenAPI data model is declared: types, fields, calls, classes.

The declarations themselves are in :mod:`xapikit.model.classes`, one module per class. Nothing here does I/O and
nothing here knows how a value looks on the wire (that is :mod:`xapikit.wire`).
"""

from __future__ import annotations

import enum
import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

NULL_REF: Final = "OpaqueRef:NULL"


class Kind(enum.Enum):
    """The shapes a value can have."""

    STRING = "string"
    SECRET = "secret"  # noqa: S105 - the name of a type
    INT = "int"
    FLOAT = "float"
    BOOL = "bool"
    DATETIME = "datetime"
    ENUM = "enum"
    REF = "ref"
    RECORD = "record"
    SET = "set"
    MAP = "map"
    OPTION = "option"
    EVENT_BATCH = "event_batch"
    """What ``event.from`` returns: a struct of its own, whose counters are 32-bit on the wire."""


@dataclass(frozen=True)
class Type:
    """A XenAPI type. ``name`` is the enum or class meant; ``args`` the element types of set, map and option."""

    kind: Kind
    name: str = ""
    args: tuple[Type, ...] = ()

    def __str__(self) -> str:
        if self.args:
            return f"{self.kind.value}({','.join(map(str, self.args))})"
        return f"{self.kind.value}:{self.name}" if self.name else self.kind.value

    def zero(self) -> Any:
        """The value of a field of this type that nobody has set: ``""``, 0, ``[]``, the null reference..."""
        return _ZERO[self.kind]() if self.kind in _ZERO else ""


_ZERO: Final[dict[Kind, Any]] = {
    Kind.INT: int,
    Kind.FLOAT: float,
    Kind.BOOL: bool,
    Kind.SET: list,
    Kind.MAP: dict,
    Kind.OPTION: lambda: None,
    Kind.RECORD: dict,
    Kind.REF: lambda: NULL_REF,
    Kind.DATETIME: lambda: "19700101T00:00:00Z",
}


@functools.cache
def parse_type(text: str) -> Type:
    """Read a type expression such as ``map(string,ref:VM)``. Raises ValueError."""
    head, bracket, tail = text.partition("(")
    if bracket:
        if not tail.endswith(")"):
            raise ValueError(f"unbalanced type expression {text!r}")
        return Type(Kind(head), args=tuple(parse_type(part) for part in _split(tail[:-1])))
    word, colon, name = text.partition(":")
    kind = Kind(word)
    if (kind in (Kind.ENUM, Kind.REF, Kind.RECORD)) != bool(colon and name):
        raise ValueError(f"type {text!r} needs a name" if not colon else f"type {text!r} takes no name")
    return Type(kind, name)


def _split(text: str) -> Iterator[str]:
    depth = start = 0
    for position, char in enumerate(text):
        depth += (char == "(") - (char == ")")
        if char == "," and not depth:
            yield text[start:position]
            start = position + 1
    yield text[start:]


class Qualifier(enum.Enum):
    """Who may write a field: RW = constructor and setter, StaticRO = constructor, DynamicRO = the server alone."""

    RW = "RW"
    STATIC_RO = "StaticRO"
    DYNAMIC_RO = "DynamicRO"


class _Missing(enum.Enum):
    MISSING = "missing"

    def __repr__(self) -> str:
        return "MISSING"


MISSING: Final = _Missing.MISSING


@dataclass(frozen=True)
class Life:
    """State (``published``, ``prototyped``, ``deprecated``, ``removed``) and its history ``transition@release``."""

    state: str
    history: tuple[str, ...] = ()

    @property
    def removed(self) -> bool:
        return self.state == "removed"


def life(text: str) -> Life:
    """Read ``"published@rio"`` or ``"removed published@rio removed@tampa"`` (state first unless last)."""
    words = text.split()
    if "@" in words[0]:
        return Life(words[-1].partition("@")[0], tuple(words))
    return Life(words[0], tuple(words[1:]))


@dataclass(frozen=True)
class FieldSpec:
    """One field of a class, named as in records (``name_label``, ``HVM_boot_params``)."""

    name: str
    type: Type
    qualifier: Qualifier
    life: Life
    default: Any = MISSING
    persist: bool = True
    internal_only: bool = False
    has_effect: bool = False
    """A setter that does more than store the value: it is declared among the messages."""
    read_role: str = ""
    write_role: str = ""
    key_roles: Mapping[str, str] = field(default_factory=dict)

    @property
    def mandatory(self) -> bool:
        """Must be present in the record given to the constructor."""
        return self.default is MISSING and self.qualifier is not Qualifier.DYNAMIC_RO

    def initial(self) -> Any:
        """A fresh value for a new row."""
        if self.default is MISSING:
            return self.type.zero()
        if isinstance(self.default, list | dict):
            return self.default.copy()
        return self.default


def F(name: str, type_: str, qualifier: str, since: str, **extra: Any) -> FieldSpec:
    """Declare a field."""
    return FieldSpec(name, parse_type(type_), Qualifier(qualifier), life(since), **extra)


@dataclass(frozen=True)
class ParamSpec:
    name: str
    type: Type
    default: Any = MISSING


@dataclass(frozen=True)
class MessageSpec:
    """A call ``CLASS.name``. ``params`` leaves the session out; ``result`` is None for void."""

    name: str
    params: tuple[ParamSpec, ...]
    result: Type | None
    life: Life
    role: str = ""
    errors: tuple[str, ...] = ()
    is_async: bool = False
    no_session: bool = False
    pool_internal: bool = False
    hidden: bool = False
    secret: bool = False
    host_extension: str = ""
    custom_marshaller: bool = False
    key_roles: Mapping[str, str] = field(default_factory=dict)
    derived: bool = False
    """True for the calls that every class has by rule (getters, setters, get_all_records...)."""

    @property
    def required(self) -> int:
        """How many parameters (session excluded) must be given."""
        return sum(p.default is MISSING for p in self.params)


def M(
    name: str,
    params: str,
    result: str,
    since: str,
    role: str,
    *,
    defaults: Mapping[str, Any] | None = None,
    **extra: Any,
) -> MessageSpec:
    """Declare a call; ``params`` is ``"self=ref:VM force=bool"``, ``defaults`` the values of optional parameters."""
    given = defaults or {}
    specs = []
    for word in params.split():
        name_, _, type_ = word.partition("=")
        specs.append(ParamSpec(name_, parse_type(type_), given.get(name_, MISSING)))
    return MessageSpec(name, tuple(specs), parse_type(result) if result else None, life(since), role, **extra)


@dataclass(frozen=True)
class ClassSpec:
    """One class. ``messages`` holds declared and derived calls alike (see :attr:`MessageSpec.derived`)."""

    name: str
    life: Life
    declared_fields: tuple[FieldSpec, ...] = ()
    declared_messages: tuple[MessageSpec, ...] = ()
    in_db: bool = True
    events: bool = True
    persist: bool = True
    ctor_dtor: bool = False
    """``create`` and ``destroy`` are the plain record ones."""
    get_all: bool = True
    named: bool = True
    """Has ``get_by_name_label`` when it has a ``name_label`` (the one pool of a pool is not looked up by name)."""

    @functools.cached_property
    def fields(self) -> Mapping[str, FieldSpec]:
        return {f.name: f for f in self.declared_fields}

    @functools.cached_property
    def wire_fields(self) -> Mapping[str, FieldSpec]:
        """Fields that clients see."""
        return {f.name: f for f in self.declared_fields if not f.internal_only}

    @functools.cached_property
    def messages(self) -> Mapping[str, MessageSpec]:
        from xapikit.model.derive import derived_messages

        declared = {m.name: m for m in self.declared_messages}
        return {**{m.name: m for m in derived_messages(self) if m.name not in declared}, **declared}


@dataclass(frozen=True)
class Relation:
    """``left_class.left_field`` and ``right_class.right_field`` are two views of one link."""

    left_class: str
    left_field: str
    right_class: str
    right_field: str


@dataclass(frozen=True)
class HttpHandlerSpec:
    action: str
    method: str
    path: str
    """Longest registered prefix of the undecoded path wins."""
    args: tuple[str, ...]
    role: str


@dataclass(frozen=True)
class Release:
    """A named release of the product; every numbered one comes later."""

    name: str
    api_version: str
    product: str


@dataclass(frozen=True)
class DataModel:
    """The whole of it."""

    api_version: tuple[int, int]
    classes: Mapping[str, ClassSpec]
    enums: Mapping[str, tuple[str, ...]]
    errors: Mapping[str, tuple[str, ...] | None]
    """Parameter names per error code; None: the code exists, its parameters are not documented and vary."""
    relations: tuple[Relation, ...]
    roles: tuple[str, ...]
    """Lowest first."""
    releases: tuple[Release, ...]
    http_handlers: tuple[HttpHandlerSpec, ...]
    http_no_rbac: frozenset[str]
    emergency_calls: frozenset[str]
    no_task_for_classes: frozenset[str]
    alert_priorities: Mapping[str, int]

    @functools.cached_property
    def class_by_lower_name(self) -> Mapping[str, ClassSpec]:
        """Events name classes in lower case."""
        return {name.lower(): spec for name, spec in self.classes.items()}

    def message(self, method: str) -> tuple[ClassSpec, MessageSpec]:
        """Find ``Class.call`` or ``Class_call``. Raises KeyError."""
        class_name, dot, name = method.partition(".")
        if dot:
            spec = self.classes[class_name]
            return spec, spec.messages[name]
        # class names may hold an underscore themselves (VM_metrics): try each split
        for position, char in enumerate(method):
            found = self.classes.get(method[:position]) if char == "_" else None
            if found is not None and method[position + 1 :] in found.messages:
                return found, found.messages[method[position + 1 :]]
        raise KeyError(method)
