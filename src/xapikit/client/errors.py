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
"""What a caller of XenAPI can be told: one exception class per error code, and what can go wrong on the way.

``except errors.VmBadPowerState as error: error.vm, error.actual`` works for each code of the data model: the class of
a code is its CamelCase name, its attributes are the parameter names of the data model. Classes that need more than
that are written out below, all others come from :func:`error_class` (and as attributes of this module).
"""

from __future__ import annotations

import functools
import keyword
import re
from collections.abc import Sequence
from typing import Any, ClassVar

from xapikit.model import MODEL


class ClientError(Exception):
    """Base of everything that :mod:`xapikit.client` raises on its own account."""


# ------------------------------------------------------------------------------------------- answers of the server


class XapiError(ClientError):
    """The server answered with an error. ``params`` is ErrorDescription without its code, session references hidden.

    Attributes named after the parameters are set on the subclasses; a server may send fewer (then they are ``""``)
    or more parameters than the data model names.
    """

    CODE: ClassVar[str] = ""
    PARAMS: ClassVar[tuple[str, ...]] = ()

    def __init__(self, code: str, params: Sequence[str] = (), method: str = "", task: str = "") -> None:
        super().__init__(code, *params)
        self.code = code
        self.params = tuple(params)
        self.method = method
        """The call that failed, where it is known."""
        self.task = task
        """Reference of the task that ended so; empty for a synchronous call."""
        for position, name in enumerate(self.PARAMS):
            setattr(self, name, params[position] if position < len(params) else "")

    def __str__(self) -> str:
        named = [f"{name}={value!r}" for name, value in zip(self.PARAMS, self.params, strict=False)]
        rest = [repr(value) for value in self.params[len(self.PARAMS) :]]
        during = f"{self.method}: " if self.method else ""
        return f"{during}{self.code}" + (f" ({', '.join(named + rest)})" if named or rest else "")

    def __getattr__(self, name: str) -> Any:
        # lets callers of a class made by error_class() read its parameters without a cast
        names = ", ".join(type(self).PARAMS) or "none"
        raise AttributeError(f"{type(self).__name__} has no parameter {name!r}; it has {names}")


class SessionAuthenticationFailed(XapiError):
    """User name or password is wrong, or the user may not log in."""

    CODE = "SESSION_AUTHENTICATION_FAILED"
    PARAMS = ("user", "reason")
    user: str
    reason: str


AuthenticationFailed = SessionAuthenticationFailed


class HandleInvalid(XapiError):
    """The object does not exist (any more)."""

    CODE = "HANDLE_INVALID"
    PARAMS = ("class_", "handle")
    class_: str
    handle: str


class HostIsSlave(XapiError):
    """Asked a member; ``address`` is the coordinator's."""

    CODE = "HOST_IS_SLAVE"
    PARAMS = ("address",)
    address: str
    coordinator_fingerprint: str = ""
    """What the member says the coordinator's certificate is, where it was asked."""


class VmBadPowerState(XapiError):
    """The VM is not in a state in which this can be done; a server may name several expected states."""

    CODE = "VM_BAD_POWER_STATE"
    PARAMS = ("vm", "expected", "actual")
    vm: str
    expected: str
    actual: str

    def __init__(self, code: str, params: Sequence[str] = (), method: str = "", task: str = "") -> None:
        super().__init__(code, params, method, task)
        if len(params) > 3:
            self.expected, self.actual = ", ".join(params[1:-1]), params[-1]


class XenapiPluginFailure(XapiError):
    """A dom0 plug-in ended badly."""

    CODE = "XENAPI_PLUGIN_FAILURE"
    PARAMS = ("status", "stdout", "stderr")
    status: str
    stdout: str
    stderr: str


class SrBackendFailure(XapiError):
    """A storage driver failed; ``code`` ends with its number (SR_BACKEND_FAILURE_46)."""

    CODE = "SR_BACKEND_FAILURE"
    PARAMS = ("status", "stdout", "stderr")
    status: str
    stdout: str
    stderr: str

    @property
    def number(self) -> int:
        """Number of the storage driver's error, 0 when it gave none."""
        tail = self.code.rpartition("_")[2]
        return int(tail) if tail.isdigit() else 0


_WRITTEN_OUT = (
    SessionAuthenticationFailed, HandleInvalid, HostIsSlave, VmBadPowerState, XenapiPluginFailure, SrBackendFailure,
)  # fmt: skip


def _identifier(name: str) -> str:
    word = re.sub(r"\W+", "_", name.strip())
    taken = keyword.iskeyword(word) or word in ("code", "params", "method", "task", "args")
    return f"{word}_" if taken or not word.isidentifier() else word


def class_name(code: str) -> str:
    """``VM_BAD_POWER_STATE`` -> ``VmBadPowerState``."""
    return "".join(word.capitalize() for word in code.split("_"))


@functools.cache
def _model_class(code: str) -> type[XapiError]:
    for known in _WRITTEN_OUT:
        if code == known.CODE:
            return known
    names = tuple(dict.fromkeys(map(_identifier, MODEL.errors[code] or ())))
    return type(class_name(code), (XapiError,), {"CODE": code, "PARAMS": names, "__module__": __name__})


def error_class(code: str) -> type[XapiError]:
    """The exception class of an error code; :class:`XapiError` itself for codes that the data model does not know."""
    if code in MODEL.errors:
        return _model_class(code)
    return SrBackendFailure if code.startswith("SR_BACKEND_FAILURE_") else XapiError


def xapi_error(error: Sequence[str], method: str = "", task: str = "") -> XapiError:
    """The exception for an ErrorDescription. The one place where error codes become types."""
    code, *params = error or ("INTERNAL_ERROR",)
    return error_class(code)(code, params, method, task)


@functools.cache
def _codes_by_class_name() -> dict[str, str]:
    return {class_name(code): code for code in MODEL.errors}


def __getattr__(name: str) -> type[XapiError]:
    code = _codes_by_class_name().get(name)
    if code is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return _model_class(code)


# ------------------------------------------------------------------------------------------------------- transport


class TransportError(ClientError):
    """No answer of XenAPI was received. ``endpoint`` is ``scheme://host:port``."""

    def __init__(self, message: str, endpoint: str = "", method: str = "") -> None:
        super().__init__(message)
        self.endpoint = endpoint
        self.method = method

    def __str__(self) -> str:
        where = f" ({self.endpoint})" if self.endpoint else ""
        return (f"{self.method}: " if self.method else "") + str(self.args[0]) + where


class NotSent(TransportError):
    """The call provably did not reach the server as a whole, so it had no effect."""


class MaybeSent(TransportError):
    """The request was written, the reply did not come: the call may have had its effect, or may still have it."""


class CallTimedOut(MaybeSent, TimeoutError):
    """The reply did not come within the call's timeout."""


class HttpError(TransportError):
    """A reply with another status than expected, or none of the envelopes of XenAPI."""

    def __init__(self, message: str, status: int, endpoint: str = "", method: str = "") -> None:
        super().__init__(message, endpoint, method)
        self.status = status


class CertificateRefused(NotSent):
    """The server's certificate is not the one expected.

    ``fingerprint`` is what was found (``SHA256:AB:CD...``); ``option`` the option line that would accept it, to be
    used only after comparing the fingerprint with what the host itself shows on its console.
    """

    def __init__(self, endpoint: str, reason: str, fingerprint: str, option: str) -> None:
        super().__init__(f"certificate refused: {reason}", endpoint)
        self.reason = reason
        self.fingerprint = fingerprint
        self.option = option

    def __str__(self) -> str:
        if not self.fingerprint:
            return super().__str__()
        return (
            f"certificate of {self.endpoint} refused: {self.reason}. It has the fingerprint {self.fingerprint}. "
            f"If that is what the host shows on its own console, accept it with: {self.option}"
        )


class ClientClosed(NotSent):
    """The client was closed."""


# ------------------------------------------------------------------------------------------------- tasks and waiting


class WaitTimeout(ClientError, TimeoutError):
    """What was waited for did not happen in time. It may still happen."""


class TaskFailed(ClientError):
    """A task ended without telling an error of XenAPI (those are raised as :class:`XapiError` with ``task`` set)."""

    def __init__(self, message: str, task: str, method: str = "") -> None:
        super().__init__(message)
        self.task = task
        self.method = method


class TaskResultLost(TaskFailed):
    """The task is gone before its end was seen (purged, destroyed by others, or the server restarted).

    The operation may have had its effect: look at the object.
    """


class TransferFailed(ClientError):
    """A stream to or from the server broke off and its task does not say why."""

    def __init__(self, message: str, task: str = "") -> None:
        super().__init__(message)
        self.task = task


class ConsoleRefused(ClientError):
    """The host does not serve this console: no such console, VM not running there, or the session limit."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status
