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
"""From a decoded request to the function that answers it: the order of checks of wire reference 1.5 and 1.6.

arity -> session -> member of a pool -> removed -> internal -> role -> no async form -> arguments -> the call itself,
under a task where the call has one. What the calls do is elsewhere.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from xapikit.host.context import Context, TaskHandle
from xapikit.host.errors import ApiError
from xapikit.host.members import Standing
from xapikit.host.pool import Pool
from xapikit.host.registry import Implementation, calls
from xapikit.host.server.audit import is_audited
from xapikit.host.server.derived import derived_call
from xapikit.host.server.records import plain_result
from xapikit.host.server.refusals import refusal
from xapikit.model import MISSING, MODEL, NULL_REF, ClassSpec, MessageSpec
from xapikit.wire import CoercionError, Raw, coerce

LOG = logging.getLogger(__name__)

LIST_METHODS = "system.listMethods"
# With a live database a session of the host alone may read the pool even on a member (observed/login.json).
_LOGINS_ON_MEMBERS = frozenset(
    {"session.slave_local_login", "session.slave_local_login_with_password", "session.local_logout"}
)
# Setters that storage drivers use; no session from outside may (observed: PERMISSION_DENIED [""]).
SERVER_SETTERS = frozenset(
    {"SR.set_virtual_allocation", "SR.set_physical_utilisation"}
    | {f"VDI.set_{field}" for field in ("managed", "missing", "virtual_size", "physical_utilisation")}
    | {f"VDI.set_{field}" for field in ("is_a_snapshot", "snapshot_of", "snapshot_time", "metadata_of_pool")}
    | {"VDI.set_cbt_enabled"}
)


@dataclass(frozen=True)
class Call:
    """A call of the data model with the function that serves it."""

    spec: ClassSpec
    message: MessageSpec
    implementation: Implementation
    implemented: bool
    """False for a call that is only refused."""
    derived: bool
    """True when the function follows from the data model."""

    @property
    def method(self) -> str:
        return f"{self.spec.name}.{self.message.name}"

    @property
    def has_task(self) -> bool:
        """A synchronous call shows up as a task while it runs."""
        return self.message.is_async and self.spec.name not in MODEL.no_task_for_classes


@dataclass(frozen=True)
class Origin:
    """Where a request came from: which host was addressed, by whom."""

    host: str
    client_address: str = ""
    https: bool = False


def build_calls() -> Mapping[str, Call]:
    """Every call of the data model, by ``Class.method`` and ``Class_method``."""
    implemented = calls()
    table: dict[str, Call] = {}
    for spec in MODEL.classes.values():
        for message in spec.messages.values():
            method = f"{spec.name}.{message.name}"
            own = implemented.get(method)
            made = derived_call(spec, message) if own is None else None
            function = own or made or refusal(spec, message)
            call = Call(spec, message, function, bool(own or made), made is not None)
            table[method] = call
            table.setdefault(f"{spec.name}_{message.name}", call)
    return table


class Dispatcher:
    """Answers calls on one pool. Raises ApiError for every failure that a client is told."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._calls = build_calls()

    @property
    def calls(self) -> Mapping[str, Call]:
        return self._calls

    def dispatch(self, method: str, params: Sequence[Raw], origin: Origin) -> Any:
        """The result of a call: a native value or a prepared record."""
        name = method.removeprefix("Async.") if method.startswith("Async.") else method
        asynchronous = name is not method
        if name == LIST_METHODS:
            return self._list_methods()
        call = self._calls.get(name)
        if call is None:
            if origin.host != self._pool.coordinator:
                self._check_emergency(name, origin)
            raise self._unknown(name, params, origin)
        message = call.message
        if origin.host != self._pool.coordinator:
            self._check_emergency(call.method, origin)
        given = len(params) if message.no_session else len(params) - 1
        self._check_arity(call, given)
        if message.no_session:
            session = NULL_REF
            member = origin.host != self._pool.coordinator
            if member and call.method not in _LOGINS_ON_MEMBERS:
                raise self._slave(origin)
            arguments = params
        else:
            session = self._session(params[0], call.method, origin)
            arguments = params[1:]
        if message.life.removed:
            raise ApiError("MESSAGE_REMOVED")
        if message.pool_internal or call.method in SERVER_SETTERS:
            raise ApiError("PERMISSION_DENIED", "")
        if not message.no_session:
            try:
                self._pool.sessions.require(session, call.method, message.role)
            except ApiError as error:
                self._pool.audit.call(session, call.method, (), (), error)
                raise
            if message.key_roles and len(arguments) > 1:
                self._check_key_role(session, call, arguments[1])
        if asynchronous and not message.is_async:
            raise ApiError("Fault", f"No async mode for this operation (rpc: {call.method})")
        typed = self._arguments(message, arguments)
        return self._run(call, typed, session, origin, method if asynchronous else "")

    # checks ------------------------------------------------------------------------------------------------------

    @staticmethod
    def _check_arity(call: Call, given: int) -> None:
        required, known = call.message.required, len(call.message.params)
        # surplus arguments after an optional tail are ignored
        if given < required or (given > known and required == known):
            raise ApiError("MESSAGE_PARAMETER_COUNT_MISMATCH", call.method, required, given)

    def _session(self, raw: Raw, method: str, origin: Origin) -> str:
        session = _text(raw)
        sessions = self._pool.sessions
        if method == "session.local_logout":
            return session
        sessions.check(session)
        if sessions.is_local(session) and not sessions.is_local(session, origin.host):
            raise ApiError("SESSION_INVALID", session)
        if origin.host != self._pool.coordinator and not sessions.is_local(session, origin.host):
            raise self._slave(origin)
        return session

    def _check_emergency(self, method: str, origin: Origin) -> None:
        """A host that has no coordinator answers emergency calls alone; this is said before anything is looked at."""
        if method not in MODEL.emergency_calls:
            standing = self._pool.standing(origin.host)
            if standing is Standing.EMERGENCY:
                raise ApiError("HOST_IN_EMERGENCY_MODE")
            if standing is Standing.BOOTING:
                raise ApiError("HOST_STILL_BOOTING")

    def _slave(self, origin: Origin) -> ApiError:
        return ApiError("HOST_IS_SLAVE", self._pool.coordinator_address(https=origin.https))

    def _unknown(self, name: str, params: Sequence[Raw], origin: Origin) -> ApiError:
        if params:
            try:
                self._session(params[0], name, origin)
            except ApiError as error:
                return error
        return ApiError("MESSAGE_METHOD_UNKNOWN", name)

    def _check_key_role(self, session: str, call: Call, key: Raw) -> None:
        keys = key if isinstance(key, dict) else [key]
        for name in keys:
            role = next((r for pattern, r in call.message.key_roles.items() if _matches(pattern, str(name))), None)
            if role is not None:
                self._pool.sessions.require(session, f"{call.method}/key:{name}", role)

    @staticmethod
    def _arguments(message: MessageSpec, raw: Sequence[Raw]) -> list[Any]:
        typed: list[Any] = []
        for position, param in enumerate(message.params):
            if position < len(raw):
                try:
                    typed.append(coerce(param.type, raw[position]))
                except CoercionError as error:
                    raise ApiError("INTERNAL_ERROR", str(error)) from None
            else:
                default = param.default
                assert default is not MISSING
                typed.append(default.copy() if isinstance(default, list | dict) else default)
        return typed

    # running -----------------------------------------------------------------------------------------------------

    def _run(self, call: Call, arguments: list[Any], session: str, origin: Origin, async_name: str) -> Any:
        tasks = self._pool.tasks
        if async_name and call.spec.name in MODEL.no_task_for_classes:
            # answered by a handle without a row; the call itself runs, nobody hears of its outcome
            handle = TaskHandle(self._pool.store, f"DummyRef:|{self._pool.store.new_uuid()}|{async_name}")
            tasks.run(handle, self._work(call, arguments, session, origin, handle))
            return handle.ref
        if async_name:
            handle = tasks.start(async_name, host=origin.host, session=session)
            tasks.run(handle, self._work(call, arguments, session, origin, handle))
            return handle.ref
        if not call.has_task:
            return self._work(call, arguments, session, origin, TaskHandle(self._pool.store))()
        handle = tasks.start(call.method, host=origin.host, session=session)
        try:
            return self._work(call, arguments, session, origin, handle)()
        finally:
            tasks.drop(handle)

    def _work(
        self, call: Call, arguments: list[Any], session: str, origin: Origin, task: TaskHandle
    ) -> Callable[[], Any]:
        context = Context(
            self._pool,
            session,
            task,
            origin.host,
            call.method,
            client_address=origin.client_address,
            https=origin.https,
        )

        message = call.message
        audited = is_audited(message.role) and not message.no_session

        def work() -> Any:
            failure: ApiError | None = None
            try:
                value = call.implementation(context, *arguments)
            except ApiError as error:
                failure = error
                raise
            except Exception as error:
                LOG.exception("%s failed", call.method)
                failure = ApiError("INTERNAL_ERROR", f"{type(error).__name__}: {error}")
                raise failure from error
            finally:
                if audited:
                    self._pool.audit.call(session, call.method, message.params, arguments, failure, task.ref)
            return plain_result(value) if task.ref != NULL_REF and call.message.is_async else value

        return work

    def _list_methods(self) -> list[str]:
        return [f"{spec.name}.{message.name}" for spec in MODEL.classes.values() for message in spec.messages.values()]


def _text(raw: Raw) -> str:
    try:
        return str(coerce(_STRING, raw))
    except CoercionError as error:
        raise ApiError("INTERNAL_ERROR", str(error)) from None


_STRING = MODEL.classes["VM"].fields["name_label"].type


def _matches(pattern: str, key: str) -> bool:
    return key.startswith(pattern[:-1]) if pattern.endswith("*") else key == pattern
