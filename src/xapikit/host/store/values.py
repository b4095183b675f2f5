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
"""Fields of rows: fresh rows from the data model, and the check that a value fits its field.

A wrong value here is a defect of this server (clients' values were coerced before), hence ``TypeError``.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

from xapikit.model import MODEL, ClassSpec, Kind, Type
from xapikit.wire import DateTime

# ``message`` is no database class in the data model (no session can filter it, its counter stays 0), but its
# objects have to live somewhere and the store is the one place that persists and announces.
STORED_CLASSES = tuple(spec.name for spec in MODEL.classes.values() if spec.in_db or spec.name == "message")

# a tuple: members are found by identity, while a set would call the hash function of the enumeration
_TEXT = (Kind.STRING, Kind.REF, Kind.ENUM, Kind.SECRET)


def fresh_row(spec: ClassSpec, values: Mapping[str, Any]) -> dict[str, Any]:
    """A complete row: ``values`` over the defaults of the data model, in the order of the declaration."""
    unknown = values.keys() - spec.fields.keys()
    if unknown:
        raise TypeError(f"class {spec.name} has no field {', '.join(sorted(unknown))}")
    row = dict(_defaults(spec.name))
    for name, value in values.items():
        initial = row[name]
        # rows are never changed in place, so all of them may share the defaults; of thousands of rows that are loaded
        # most values are that, and need neither a check nor memory of their own
        if type(value) is not type(initial) or value != initial:
            row[name] = checked(spec.name, name, value)
    return row


@functools.cache
def _defaults(class_name: str) -> Mapping[str, Any]:
    fields = MODEL.classes[class_name].fields
    return {name: checked(class_name, name, field.initial()) for name, field in fields.items()}


def checked(class_name: str, field_name: str, value: Any) -> Any:
    """The value as it is stored: containers copied (rows are never changed in place), dates as ``DateTime``."""
    field = MODEL.classes[class_name].fields.get(field_name)
    if field is None:
        raise TypeError(f"class {class_name} has no field {field_name}")
    try:
        return fit(field.type, value)
    except TypeError as error:
        raise TypeError(f"{class_name}.{field_name} ({field.type}): {error}") from None


def fit(kind: Type, value: Any) -> Any:
    """Check one value against a type and return what is stored. Raises TypeError."""
    match kind.kind:
        case text if text in _TEXT and isinstance(value, str):  # nearly all values, hence first
            return value
        case Kind.INT if isinstance(value, int) and not isinstance(value, bool):
            return value
        case Kind.FLOAT if isinstance(value, int | float) and not isinstance(value, bool):
            return float(value)
        case Kind.BOOL if isinstance(value, bool):
            return value
        case Kind.DATETIME if isinstance(value, str):
            return value if isinstance(value, DateTime) else DateTime(value)
        case Kind.SET if isinstance(value, list | tuple):
            return [fit(kind.args[0], item) for item in value]
        case Kind.MAP if isinstance(value, Mapping):
            key_type, value_type = kind.args
            if key_type.kind in _TEXT and value_type.kind in _TEXT:  # nearly all maps: worth the short way
                if all(isinstance(k, str) and isinstance(v, str) for k, v in value.items()):
                    return dict(value)
            else:
                return {fit(key_type, k): fit(value_type, v) for k, v in value.items()}
        case Kind.OPTION if kind.args:
            return None if value is None else fit(kind.args[0], value)
    raise TypeError(f"{type(value).__name__} {value!r} does not fit")


@functools.cache
def persistent_fields(class_name: str) -> frozenset[str]:
    """Fields that survive a restart: what is derived or belongs to running operations does not."""
    from xapikit.host.store.relations import MIRRORS

    spec = MODEL.classes[class_name]
    if not (spec.persist or class_name == "message"):
        return frozenset()
    return frozenset(f.name for f in spec.fields.values() if f.persist and (class_name, f.name) not in MIRRORS)
