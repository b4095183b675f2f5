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
"""The calls that every class has by rule, computed from its fields.

Rules: reference rule 12 of the wire description, confirmed against the complete list of derived names of the
published data model (see ``tests/model``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from xapikit.model.schema import ClassSpec, FieldSpec, Kind, Life, MessageSpec, ParamSpec, Qualifier, Type, parse_type

STRING = parse_type("string")


def derived_messages(spec: ClassSpec) -> Iterator[MessageSpec]:
    """All derived calls of a class; a declared call of the same name takes precedence (the caller's business)."""
    if not spec.in_db:
        return
    ref, record = Type(Kind.REF, spec.name), Type(Kind.RECORD, spec.name)
    me = ParamSpec("self", ref)
    if spec.get_all:
        expr = ParamSpec("expr", STRING)
        for name, params, result in (
            ("get_all", (), Type(Kind.SET, args=(ref,))),
            ("get_all_where", (expr,), Type(Kind.SET, args=(ref,))),
            ("get_all_records_where", (expr,), Type(Kind.MAP, args=(ref, record))),
            ("get_all_records", (), Type(Kind.MAP, args=(ref, record))),
        ):
            yield _message(name, params, result, spec.life, hidden=name == "get_all_where")
    if "uuid" in spec.fields:
        yield _message("get_by_uuid", (ParamSpec("uuid", STRING),), ref, spec.life)
    yield _message("get_record", (me,), record, spec.life)
    if spec.named and "name_label" in spec.fields:
        yield _message("get_by_name_label", (ParamSpec("label", STRING),), Type(Kind.SET, args=(ref,)), spec.life)
    for field in spec.wire_fields.values():
        yield from _field_messages(me, field)


def _field_messages(me: ParamSpec, field: FieldSpec) -> Iterator[MessageSpec]:
    value = ParamSpec("value", field.type)
    yield _message(f"get_{field.name}", (me,), field.type, field.life, field.read_role or "read-only")
    if field.qualifier is not Qualifier.RW:
        return
    role = field.write_role or "pool-operator"
    yield _message(f"set_{field.name}", (me, value), None, field.life, role)
    if field.type.kind is Kind.SET:
        element = ParamSpec("value", field.type.args[0])
        yield _message(f"add_{field.name}", (me, element), None, field.life, role)
        yield _message(f"remove_{field.name}", (me, element), None, field.life, role)
    elif field.type.kind is Kind.MAP:
        key, item = ParamSpec("key", field.type.args[0]), ParamSpec("value", field.type.args[1])
        roles = field.key_roles
        yield _message(f"add_to_{field.name}", (me, key, item), None, field.life, role, key_roles=roles)
        yield _message(f"remove_from_{field.name}", (me, key), None, field.life, role, key_roles=roles)


def _message(
    name: str,
    params: tuple[ParamSpec, ...],
    result: Type | None,
    life: Life,
    role: str = "read-only",
    *,
    hidden: bool = False,
    key_roles: Mapping[str, str] | None = None,
) -> MessageSpec:
    return MessageSpec(name, params, result, life, role, hidden=hidden, derived=True, key_roles=dict(key_roles or {}))
