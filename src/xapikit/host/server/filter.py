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
"""The filter language of ``get_all_where`` and ``get_all_records_where`` (wire reference 1.5, rule 13).

``expr := value = value | expr and expr | expr or expr | not expr | true | false | ( expr )``, a value being
``field "column"`` or a literal in double quotes. Values compare in their stored text form; maps and sets never match.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from xapikit.host.errors import ApiError
from xapikit.host.server.columns import fields_by_column
from xapikit.host.store import Row

Predicate: TypeAlias = Callable[[Row], bool]
_Operand: TypeAlias = Callable[[Row], str | None]

_TOKEN = re.compile(r'[ \t\r\n]+|(?P<word>field|and|or|not|true|false)|"(?P<text>(?:[^"\\]|\\.)*)"|(?P<sign>[()=])')
_LEXING = 'Failure("lexing: empty token")'
_PARSING = "Xapi_database.Db_filter_parse.MenhirBasics.Error"
# A client may send any text: more nesting than this is no filter that anybody wrote.
_MAX_DEPTH = 100


def compile_filter(class_name: str, expression: str) -> Predicate:
    """Turn an expression into a predicate. Raises ApiError INVALID_VALUE (syntax), INTERNAL_ERROR (no such column)."""
    return _Parser(class_name, expression).parse()


def stored_text(value: Any) -> str | None:
    """The text a value is compared as; None for what never matches."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return value
    if isinstance(value, float):
        return f"{value:.16g}"
    return str(value) if isinstance(value, int) else None


class _Parser:
    def __init__(self, class_name: str, expression: str) -> None:
        self._columns: Mapping[str, str] = fields_by_column(class_name)
        self._expression = expression
        self._tokens = self._lex(expression)
        self._next = 0
        self._depth = 0

    def _lex(self, text: str) -> list[tuple[str, str]]:
        tokens: list[tuple[str, str]] = []
        position = 0
        while position < len(text):
            found = _TOKEN.match(text, position)
            if found is None:
                raise self._error(_LEXING)
            position = found.end()
            if found["word"]:
                tokens.append((found["word"], ""))
            elif found["sign"]:
                tokens.append((found["sign"], ""))
            elif found["text"] is not None:
                tokens.append(("text", re.sub(r"\\(.)", r"\1", found["text"])))
        return tokens

    def parse(self) -> Predicate:
        predicate = self._disjunction()
        if self._next != len(self._tokens):
            raise self._error(_PARSING)
        return predicate

    def _disjunction(self) -> Predicate:
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise self._error(_PARSING)
        terms = [self._conjunction()]
        while self._accept("or"):
            terms.append(self._conjunction())
        self._depth -= 1
        return terms[0] if len(terms) == 1 else lambda row: any(term(row) for term in terms)

    def _conjunction(self) -> Predicate:
        terms = [self._negation()]
        while self._accept("and"):
            terms.append(self._negation())
        return terms[0] if len(terms) == 1 else lambda row: all(term(row) for term in terms)

    def _negation(self) -> Predicate:
        negate = False
        while self._accept("not"):
            negate = not negate
        inner = self._atom()
        return (lambda row: not inner(row)) if negate else inner

    def _atom(self) -> Predicate:
        if self._accept("("):
            inner = self._disjunction()
            self._expect(")")
            return inner
        if self._accept("true"):
            return lambda row: True
        if self._accept("false"):
            return lambda row: False
        left = self._operand()
        self._expect("=")
        right = self._operand()

        def equal(row: Row) -> bool:
            value = left(row)
            return value is not None and value == right(row)

        return equal

    def _operand(self) -> _Operand:
        if self._accept("field"):
            name = self._expect("text")
            field = self._columns.get(name)
            if field is None:
                raise ApiError("INTERNAL_ERROR", "missing field", name, "")
            return lambda row: stored_text(row[field])
        literal = self._expect("text")
        return lambda row: literal

    def _accept(self, kind: str) -> bool:
        if self._next < len(self._tokens) and self._tokens[self._next][0] == kind:
            self._next += 1
            return True
        return False

    def _expect(self, kind: str) -> str:
        if not self._accept(kind):
            raise self._error(_PARSING)
        return self._tokens[self._next - 1][1]

    def _error(self, reason: str) -> ApiError:
        return ApiError("INVALID_VALUE", self._expression, reason)
