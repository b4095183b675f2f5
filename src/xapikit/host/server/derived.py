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
"""Calls that every class has by rule: getters, setters, map and set operations, look-ups, plain constructors.

Each is made from the data model once, as a function like any implemented one: ``f(ctx, *typed arguments)``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from xapikit.host.context import Context
from xapikit.host.errors import ApiError
from xapikit.host.registry import Implementation
from xapikit.host.server.columns import column
from xapikit.host.server.filter import compile_filter
from xapikit.host.server.records import RowRecord, RowRecords
from xapikit.host.store.relations import MIRRORS
from xapikit.model import ClassSpec, FieldSpec, Kind, MessageSpec, Qualifier, Type


def derived_call(spec: ClassSpec, message: MessageSpec) -> Implementation | None:
    """The implementation of a call that follows from the data model alone; None when it does not."""
    name = message.name
    if message.derived:
        whole_class = _WHOLE_CLASS.get(name)
        if whole_class is not None:
            return whole_class(spec)
        for prefix, make in _PER_FIELD:
            field = spec.fields.get(name.removeprefix(prefix)) if name.startswith(prefix) else None
            if field is not None and not (make is _setter and field.qualifier is not Qualifier.RW):
                return make(spec, field)
    if spec.ctor_dtor and name in ("create", "destroy"):
        return _create(spec) if name == "create" else _destroy(spec)
    return _declared_accessor(spec, message)


def _declared_accessor(spec: ClassSpec, message: MessageSpec) -> Implementation | None:
    """Setters of fields "with effect" are declared calls; without an effect of our own they store the value."""
    for prefix, make in _PER_FIELD:
        if not message.name.startswith(prefix):
            continue
        field = spec.fields.get(message.name.removeprefix(prefix))
        if field is None or (spec.name, field.name) in MIRRORS:
            continue
        types = [p.type for p in message.params[1:]]
        expected = _operands(make, field)
        if types == expected and message.params and message.params[0].type.name == spec.name:
            return make(spec, field)
    return None


def _operands(make: Callable[[ClassSpec, FieldSpec], Implementation], field: FieldSpec) -> list[Type]:
    """Types of the arguments after the object."""
    if make is _getter:
        return []
    if make is _setter:
        return [field.type]
    return list(field.type.args[: 2 if make is _add_to_map else 1])


# whole class ---------------------------------------------------------------------------------------------------------


def _get_all(spec: ClassSpec) -> Implementation:
    return lambda ctx: list(ctx.store.all(spec.name))


def _get_all_records(spec: ClassSpec) -> Implementation:
    return lambda ctx: RowRecords(spec.name, ctx.store.entries(spec.name))


def _get_all_where(spec: ClassSpec) -> Implementation:
    def call(ctx: Context, expression: str) -> list[str]:
        matches = compile_filter(spec.name, expression)
        return [ref for ref, row in ctx.store.all(spec.name).items() if matches(row)]

    return call


def _get_all_records_where(spec: ClassSpec) -> Implementation:
    def call(ctx: Context, expression: str) -> RowRecords:
        matches = compile_filter(spec.name, expression)
        return RowRecords(spec.name, [(ref, e) for ref, e in ctx.store.entries(spec.name) if matches(e.row)])

    return call


def _get_by_uuid(spec: ClassSpec) -> Implementation:
    def call(ctx: Context, uuid: str) -> str:
        ref = ctx.store.by_uuid(spec.name, uuid)
        if ref is None:
            raise ApiError("UUID_INVALID", spec.name, uuid)
        return ref

    return call


def _get_by_name_label(spec: ClassSpec) -> Implementation:
    return lambda ctx, label: list(ctx.store.find(spec.name, name_label=label))


def _get_record(spec: ClassSpec) -> Implementation:
    def call(ctx: Context, ref: str) -> RowRecord:
        entry = ctx.store.entry(spec.name, ref)
        if entry is None:
            raise ApiError("HANDLE_INVALID", spec.name, ref)
        return RowRecord(spec.name, entry)

    return call


_WHOLE_CLASS: dict[str, Callable[[ClassSpec], Implementation]] = {
    "get_all": _get_all,
    "get_all_records": _get_all_records,
    "get_all_where": _get_all_where,
    "get_all_records_where": _get_all_records_where,
    "get_by_uuid": _get_by_uuid,
    "get_by_name_label": _get_by_name_label,
    "get_record": _get_record,
}


# one field -----------------------------------------------------------------------------------------------------------


def _getter(spec: ClassSpec, field: FieldSpec) -> Implementation:
    def call(ctx: Context, ref: str) -> Any:
        value = ctx.store.get(spec.name, ref)[field.name]
        return ([] if value is None else [value]) if field.type.kind is Kind.OPTION else value

    return call


def _setter(spec: ClassSpec, field: FieldSpec) -> Implementation:
    def call(ctx: Context, ref: str, value: Any) -> None:
        with ctx.store.transaction() as tx:
            tx.update(spec.name, ref, **{field.name: value})

    return call


def _add_to_map(spec: ClassSpec, field: FieldSpec) -> Implementation:
    def call(ctx: Context, ref: str, key: Any, value: Any) -> None:
        with ctx.store.transaction() as tx:
            old = tx.get(spec.name, ref)[field.name]
            if key in old:
                raise ApiError("MAP_DUPLICATE_KEY", spec.name, column(spec.name, field.name), ref, key)
            tx.update(spec.name, ref, **{field.name: {key: value, **old}})

    return call


def _remove_from_map(spec: ClassSpec, field: FieldSpec) -> Implementation:
    def call(ctx: Context, ref: str, key: Any) -> None:
        with ctx.store.transaction() as tx:
            old = tx.get(spec.name, ref)[field.name]
            if key in old:
                tx.update(spec.name, ref, **{field.name: {k: v for k, v in old.items() if k != key}})

    return call


def _add_to_set(spec: ClassSpec, field: FieldSpec) -> Implementation:
    def call(ctx: Context, ref: str, value: Any) -> None:
        with ctx.store.transaction() as tx:
            old = tx.get(spec.name, ref)[field.name]
            if value not in old:
                tx.update(spec.name, ref, **{field.name: [value, *old]})

    return call


def _remove_from_set(spec: ClassSpec, field: FieldSpec) -> Implementation:
    def call(ctx: Context, ref: str, value: Any) -> None:
        with ctx.store.transaction() as tx:
            old = tx.get(spec.name, ref)[field.name]
            tx.update(spec.name, ref, **{field.name: [item for item in old if item != value]})

    return call


# the order matters: "add_to_" before "add_"
_PER_FIELD: tuple[tuple[str, Callable[[ClassSpec, FieldSpec], Implementation]], ...] = (
    ("get_", _getter),
    ("set_", _setter),
    ("add_to_", _add_to_map),
    ("remove_from_", _remove_from_map),
    ("add_", _add_to_set),
    ("remove_", _remove_from_set),
)


# plain constructors --------------------------------------------------------------------------------------------------


def _create(spec: ClassSpec) -> Implementation:
    def call(ctx: Context, record: dict[str, Any]) -> str:
        with ctx.store.transaction() as tx:
            return tx.create(spec.name, {k: v for k, v in record.items() if k != "uuid"})

    return call


def _destroy(spec: ClassSpec) -> Implementation:
    def call(ctx: Context, ref: str) -> None:
        with ctx.store.transaction() as tx:
            tx.delete(spec.name, ref)

    return call
