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
"""The failure of a call as the client sees it: a code of the data model and its parameters.

Everything that a XenAPI client can be told goes through :class:`ApiError`; any other exception that leaves a call is
a defect of this server and is answered as ``INTERNAL_ERROR``.
"""

from __future__ import annotations


class ApiError(Exception):
    """``raise ApiError("VM_BAD_POWER_STATE", ref, "halted", "running")``; the parameters are sent as text."""

    def __init__(self, code: str, *params: object) -> None:
        self.code = code
        self.params = tuple(str(param) for param in params)
        super().__init__(code, *self.params)

    @property
    def description(self) -> list[str]:
        """``ErrorDescription`` of the answer."""
        return [self.code, *self.params]

    def __str__(self) -> str:
        return f"{self.code} {list(self.params)}"


class PermissionDenied(ApiError):
    """``RBAC_PERMISSION_DENIED``: the role of the session does not suffice for a call (wire reference 1.5, rule 9)."""

    def __init__(self, permission: str, message: str) -> None:
        super().__init__("RBAC_PERMISSION_DENIED", permission, message)
