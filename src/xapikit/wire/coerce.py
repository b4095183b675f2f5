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
"""From raw values to values of a declared type, by the rules a XAPI host applies to arguments.

Numbers are never turned into text nor floats into integers; texts of numbers are read as numbers. The texts of the
errors are those of a real server as far as they were recorded; nobody should depend on them.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

from xapikit.model import MODEL, DataModel, Kind, Qualifier, Type
from xapikit.wire.errors import CoercionError
from xapikit.wire.values import DateTime, Raw

_INT: Final = re.compile(
    r"([+-]?)(0[xX](?P<hex>[0-9a-fA-F][0-9a-fA-F_]*)|0[oO](?P<oct>[0-7][0-7_]*)|0[bB](?P<bin>[01][01_]*)"
    r"|(?:0[uU])?(?P<dec>[0-9][0-9_]*))",
    re.ASCII,
)
_BASES: Final = {"hex": 16, "oct": 8, "bin": 2, "dec": 10}
_FLOAT: Final = re.compile(
    r"[+-]?(?:nan|inf(?:inity)?|(?:\d[\d_]*(?:\.[\d_]*)?|\.\d[\d_]*)(?:e[+-]?\d+)?)", re.ASCII | re.IGNORECASE
)
# what XML 1.0 cannot carry and the database therefore refuses
_UNSTORABLE: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
_SHOWN: Final = 200


def coerce(type_: Type, raw: Raw, model: DataModel = MODEL) -> Any:
    """The value of type ``type_`` that ``raw`` stands for. Raises :class:`CoercionError`.

    Records (of constructors) come back with the members that a constructor may set, each coerced; absent optional
    members stay absent, surplus and read-only ones are dropped. An option is a list of none or one element.
    """
    return _COERCE[type_.kind](type_, raw, model)


def show(raw: Raw, depth: int = 3) -> str:
    """A raw value in a real server's notation (``S(text)``, ``I(5)``), cut to a decent length."""
    if isinstance(raw, bool):
        text = f"B({str(raw).lower()})"
    elif isinstance(raw, int):
        text = f"I({raw})"
    elif isinstance(raw, float):
        text = f"F({raw:g})"
    elif isinstance(raw, DateTime):
        text = f"D({raw[:_SHOWN]})"
    elif isinstance(raw, str):
        text = f"S({raw[:_SHOWN]})"
    elif isinstance(raw, bytes):
        text = f"B64({raw[:_SHOWN].decode('utf-8', 'replace')})"
    elif isinstance(raw, list):
        text = "[" + (";".join(show(item, depth - 1) for item in raw[:8]) if depth else "...") + "]"
    elif isinstance(raw, dict):
        pairs = (f"{name[:_SHOWN]}:{show(item, depth - 1)}" for name, item in list(raw.items())[:8])
        text = "{" + (";".join(pairs) if depth else "...") + "}"
    else:
        text = "N"
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "..."


def _expected(what: str, raw: Raw) -> CoercionError:
    return CoercionError(f"Failure(\"Expected {what}, got '{show(raw)}'\")")


def _expecting(what: str, raw: Raw) -> CoercionError:
    return CoercionError(f"Failure(\"Expecting Rpc.{what}, but found '{show(raw)}'\")")


def _text(type_: Type, raw: Raw, model: DataModel) -> str:
    if not isinstance(raw, str) or isinstance(raw, DateTime):
        raise _expected("string", raw)
    if _UNSTORABLE.search(raw):
        raise CoercionError("Db_exn.Invalid_value")
    return raw


def parse_int(text: str) -> int:
    """Read an integer as the server does: signs, ``0x``, ``0o``, ``0b`` and ``_`` allowed, 64 bits. ValueError."""
    found = _INT.fullmatch(text)
    if found is None:
        raise ValueError(f"not an integer: {text[:32]!r}")
    group = next(name for name in _BASES if found[name] is not None)
    digits = found[group].replace("_", "")
    if len(digits) > 64:
        digits = digits.lstrip("0") or "0"
        if len(digits) > 64:
            raise ValueError("integer beyond 64 bits")
    magnitude = int(digits, _BASES[group])
    value = -magnitude if found[1] == "-" else magnitude
    if group != "dec" and 1 << 63 <= magnitude < 1 << 64:
        # other bases name bit patterns: 0xFFFFFFFFFFFFFFFF is -1
        value = value - (1 << 64) if value > 0 else value + (1 << 64)
    if not -(1 << 63) <= value < 1 << 63:
        raise ValueError("integer beyond 64 bits")
    return value


def _int(type_: Type, raw: Raw, model: DataModel) -> int:
    if isinstance(raw, bool):
        raise _expected("int64", raw)
    if isinstance(raw, int):
        if -(1 << 63) <= raw < 1 << 63:
            return raw
        raise CoercionError('Failure("Int64.of_string")')
    if isinstance(raw, str) and not isinstance(raw, DateTime):
        try:
            return parse_int(raw)
        except ValueError as error:
            raise CoercionError('Failure("Int64.of_string")') from error
    raise _expected("int64", raw)


def _float(type_: Type, raw: Raw, model: DataModel) -> float:
    if isinstance(raw, bool):
        raise _expected("float", raw)
    if isinstance(raw, int | float):
        try:
            return float(raw)
        except OverflowError as error:
            raise CoercionError('Failure("float_of_string")') from error
    if isinstance(raw, str) and not isinstance(raw, DateTime):
        if _FLOAT.fullmatch(raw):
            return float(raw.replace("_", ""))
        raise CoercionError('Failure("float_of_string")')
    raise _expected("float", raw)


def _bool(type_: Type, raw: Raw, model: DataModel) -> bool:
    if isinstance(raw, bool):
        return raw
    raise _expected("bool", raw)


def _datetime(type_: Type, raw: Raw, model: DataModel) -> DateTime:
    if not isinstance(raw, str):
        raise _expected("datetime", raw)
    try:
        return DateTime.parse(raw)
    except ValueError as error:
        raise CoercionError(f"Invalid argument: Clock__Date.of_iso8601: {raw[:_SHOWN]}") from error


def _enum(type_: Type, raw: Raw, model: DataModel) -> str:
    word = _text(type_, raw, model)
    words = model.enums[type_.name]
    if word in words:
        return word
    lower = word.lower()
    for known in words:
        if known.lower() == lower:
            return known
    raise CoercionError('Failure("Unknown tag/contents")')


def _set(type_: Type, raw: Raw, model: DataModel) -> list[Any]:
    if not isinstance(raw, list):
        raise _expecting("Enum", raw)
    (element,) = type_.args
    step = _COERCE[element.kind]
    return [step(element, item, model) for item in raw]


def _map(type_: Type, raw: Raw, model: DataModel) -> dict[Any, Any]:
    if not isinstance(raw, dict):
        raise _expecting("Dict", raw)
    key, value = type_.args
    key_step, value_step = _COERCE[key.kind], _COERCE[value.kind]
    return {key_step(key, name, model): value_step(value, item, model) for name, item in raw.items()}


def _record(type_: Type, raw: Raw, model: DataModel) -> dict[str, Any]:
    if not isinstance(raw, dict):
        raise CoercionError('Failure("bad __structure")')
    members: dict[str, Any] = {}
    for name, spec in model.classes[type_.name].wire_fields.items():
        if spec.qualifier is Qualifier.DYNAMIC_RO:
            continue
        if name in raw:
            members[name] = coerce(spec.type, raw[name], model)
        elif spec.mandatory:
            raise CoercionError(f'Server_helpers.Dispatcher_FieldNotFound("{name}")')
    return members


def _option(type_: Type, raw: Raw, model: DataModel) -> list[Any]:
    if not isinstance(raw, list) or len(raw) > 1:
        raise _expecting("Enum", raw)
    return [coerce(type_.args[0], item, model) for item in raw]


def _event_batch(type_: Type, raw: Raw, model: DataModel) -> dict[str, Any]:
    if not isinstance(raw, dict):
        raise _expecting("Dict", raw)
    return raw


_COERCE: Final[dict[Kind, Callable[[Type, Raw, DataModel], Any]]] = {
    Kind.STRING: _text,
    Kind.SECRET: _text,
    Kind.REF: _text,
    Kind.INT: _int,
    Kind.FLOAT: _float,
    Kind.BOOL: _bool,
    Kind.DATETIME: _datetime,
    Kind.ENUM: _enum,
    Kind.SET: _set,
    Kind.MAP: _map,
    Kind.RECORD: _record,
    Kind.OPTION: _option,
    Kind.EVENT_BATCH: _event_batch,
}
