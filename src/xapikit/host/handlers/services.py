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
"""``/services/xenops`` and ``/services/SM``: where another pool sends a VM, and asks what became of it.

What goes over these connections is between hosts of this kind (:mod:`xapikit.host.migration.channel`).
"""

from __future__ import annotations

import json
from collections.abc import Callable

from xapikit.host.context import Context
from xapikit.host.migration.channel import Channel, ChannelLost
from xapikit.host.migration.remote import KEY
from xapikit.host.registry import handler
from xapikit.host.server.http import ConnectionClosed, HttpConnection, HttpRequest, bad_request
from xapikit.host.storage.disks import Buffer

_HEADERS = [("Connection", "close"), ("Cache-Control", "no-cache, no-store")]


@handler("post_services_xenops")
def receive_vm(request: HttpRequest, connection: HttpConnection, ctx: Context) -> None:
    """Take a VM."""
    _serve(connection, lambda channel: ctx.pool.migrations.serve(channel, ctx.session))


@handler("post_services_sm")
def receive_disks(request: HttpRequest, connection: HttpConnection, ctx: Context) -> None:
    """Take the disks of a VM that was announced."""
    identity = request.query.get("migration")
    if identity is None:
        raise bad_request("migration")
    _serve(connection, lambda channel: ctx.pool.migrations.serve_disks(identity, channel))


@handler("get_services_xenops", public=True)
def tell_outcome(request: HttpRequest, connection: HttpConnection, ctx: Context) -> None:
    """What became of a VM, for the pool that sent it and knows the secret of that: its session is gone by then."""
    identity, key = request.query.get("migration"), request.headers.get(KEY)
    if identity is None or key is None:
        raise bad_request("migration")
    state = ctx.pool.migrations.outcome(identity, key)
    connection.reply("200 OK", [*_HEADERS, ("content-type", "application/json")], json.dumps({"state": state}).encode())


def _serve(connection: HttpConnection, serve: Callable[[Channel], None]) -> None:
    def read(size: int) -> bytes:
        try:
            return connection.read(size)
        except ConnectionClosed as closed:
            raise ChannelLost(str(closed)) from closed

    def write(data: Buffer) -> None:
        try:
            connection.write(data)
        except ConnectionClosed as closed:
            raise ChannelLost(str(closed)) from closed

    connection.start_reply("200 OK", _HEADERS)
    channel = Channel(read, write, connection.close)
    try:
        serve(channel)
    except ChannelLost as lost:
        raise ConnectionClosed(str(lost)) from lost
