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
"""Puts the server of a pool together: calls, router, faults and their control."""

from __future__ import annotations

from collections.abc import Callable

from xapikit.host.faults import Faults
from xapikit.host.faults.control import Control
from xapikit.host.pool import Hardware, Pool
from xapikit.host.server.dispatch import Dispatcher
from xapikit.host.server.doors import ServeHost
from xapikit.host.server.listener import Listener
from xapikit.host.server.router import Router
from xapikit.host.server.rpc import Rpc


def serve_pool(
    pool: Pool, faults: Faults, hardware: Hardware, listener: Listener, restart: Callable[[], None]
) -> ServeHost:
    """The function that answers a request addressed to a host of the pool."""
    control = Control(faults, pool, hardware, lambda: listener.connections, restart)
    return Router(pool, Rpc(pool, Dispatcher(pool), faults), faults, control).serve
