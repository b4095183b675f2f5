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
"""Errors of the driver that concern no single subject, and how errors of XenAPI reach Nova.

Nova decides by class: what derives from ``ComputeResourcesUnavailable`` lets the scheduler try another host.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from nova import exception

from xapikit.client import errors as xapi

NO_ROOM_NUMBERS = frozenset((44, 54))
"""Errors of storage managers: not enough space; no free space for the VDI."""
NO_RESOURCES = frozenset((
    "HOST_NOT_ENOUGH_FREE_MEMORY", "HOST_NOT_ENOUGH_PCPUS", "HOST_DISABLED", "HOST_NOT_LIVE", "NO_HOSTS_AVAILABLE",
    "HOST_EVACUATE_IN_PROGRESS", "SR_FULL", "SR_HAS_NO_PBDS", "SR_NOT_ATTACHED", "VM_REQUIRES_SR",
    "VM_REQUIRES_NETWORK", "HOST_CANNOT_ATTACH_NETWORK", "BRIDGE_NOT_AVAILABLE",
))  # fmt: skip
"""Codes that say: not here, not now; another host may do."""


class BadOption(exception.NovaException):
    """An option is missing or cannot be understood; the service does not start."""

    def __init__(self, option: str, problem: str, example: str = "") -> None:
        hint = f" (for example: {example})" if example else ""
        super().__init__(f"[xenserver] {option} {problem}{hint}")
        self.option = option
        self.problem = problem


class HostRefused(exception.NovaException):
    """The service does not start: the XAPI host cannot be reached, bound or used. Says what to do."""


class HypervisorFailed(exception.NovaException):
    """A call that an operation needed did not succeed; the operation was unwound."""

    def __init__(self, what: str, error: Exception) -> None:
        super().__init__(f"{what}: {error}")
        self.what = what


class UnsupportedDevice(exception.InvalidInput):
    """The server asks for a device that this driver does not offer; no other host of its kind will."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason=reason)


def for_nova(error: xapi.ClientError, what: str) -> exception.NovaException:
    """The exception for Nova when ``what`` failed with ``error``."""
    if isinstance(error, xapi.XapiError):
        full = isinstance(error, xapi.SrBackendFailure) and error.number in NO_ROOM_NUMBERS
        if full or error.code in NO_RESOURCES:
            return exception.ComputeResourcesUnavailable(reason=f"{what}: {error}")
    return HypervisorFailed(what, error)


@contextmanager
def reported(what: str) -> Iterator[None]:
    """Around an operation: errors of the client come out as Nova's."""
    try:
        yield
    except xapi.ClientError as error:
        raise for_nova(error, what) from error
