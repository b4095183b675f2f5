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
"""A decoded call, whatever the protocol it arrived by, and the limits that both protocols share."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final, Literal

MAX_REQUEST_BYTES: Final = 307_200
"""Largest RPC body a XAPI host reads; one byte more is an HTTP 500."""

MAX_DEPTH: Final = 64
"""Deepest nesting accepted in a value. Records nest three deep; anything near this is an attack."""

Version = Literal["xmlrpc", "json1", "json2"]


@dataclass(frozen=True)
class Request:
    """A call as it arrived. ``params`` are raw values (:data:`xapikit.wire.values.Raw`), the session included."""

    method: str
    params: list[Any] = field(repr=False)  # a log-in carries its password here
    id: int | str = 0
    version: Version = "xmlrpc"
