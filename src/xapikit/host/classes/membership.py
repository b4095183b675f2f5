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
"""Hosts that join a pool and leave it (wire reference 7.5)."""

from __future__ import annotations

from xapikit.host.context import Context
from xapikit.host.errors import ApiError
from xapikit.host.registry import implements


@implements("pool.eject")
def eject(ctx: Context, host: str) -> None:
    if ctx.store.peek("host", host) is None:
        raise ApiError("HOST_OFFLINE", host)
    if host == ctx.pool.coordinator:
        raise ApiError("INTERNAL_ERROR", "Xapi_pool.Cannot_eject_master")
    raise ApiError("NOT_IMPLEMENTED", "eject")
