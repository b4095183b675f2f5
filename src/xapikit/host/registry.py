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
"""Which function implements which call and which HTTP handler.

``@implements("VM.start")`` and ``@handler("put_import_raw_vdi")`` put functions into tables of this module while the
class modules are imported; after :func:`xapikit.host.classes.load_all` the tables do not change any more. A call
without an entry is answered generically from the data model (getters, setters...) or refused as a host refuses it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias, TypeVar

from xapikit.model import MODEL

Implementation: TypeAlias = Callable[..., Any]
"""``f(ctx, *args)``: arguments arrive typed and with defaults filled; the result is a native value."""

HandlerFunction: TypeAlias = Callable[..., None]
"""``f(request, connection, ctx)``; see :mod:`xapikit.host.server.http`."""

C = TypeVar("C", bound=Callable[..., Any])

_CALLS: dict[str, Implementation] = {}
_HANDLERS: dict[str, HandlerFunction] = {}
_PUBLIC: set[str] = set()
_ACTIONS = frozenset(spec.action for spec in MODEL.http_handlers)


def implements(*methods: str) -> Callable[[C], C]:
    """Declare the implementation of calls named as in the data model (``"VM.start"``, ``"VM.set_name_label"``)."""

    def register(function: C) -> C:
        for method in methods:
            MODEL.message(method)  # a name that the data model lacks is a defect: KeyError at import
            if _CALLS.setdefault(method, function) is not function:
                raise ValueError(f"{method} is implemented twice")
        return function

    return register


def handler(*actions: str, public: bool = False) -> Callable[[C], C]:
    """Declare the function that serves HTTP actions named as in the data model (``"get_export_raw_vdi"``).

    ``public``: also called without credentials (``ctx.session`` is then the null reference); it decides itself.
    """

    def register(function: C) -> C:
        for action in actions:
            if action not in _ACTIONS:
                raise KeyError(action)
            if _HANDLERS.setdefault(action, function) is not function:
                raise ValueError(f"handler {action} is implemented twice")
            if public:
                _PUBLIC.add(action)
        return function

    return register


def calls() -> Mapping[str, Implementation]:
    """Implementations by method name."""
    return _CALLS


def handlers() -> Mapping[str, HandlerFunction]:
    """Handlers by action name."""
    return _HANDLERS


def is_public(action: str) -> bool:
    """Whether the handler of an action decides itself who may use it."""
    return action in _PUBLIC
