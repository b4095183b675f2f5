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
"""``GET /vncsnapshot``: what is on the screen of a guest now, as JPEG. Served by the host where the VM runs."""

from __future__ import annotations

import contextlib

from xapikit.host.context import Context
from xapikit.host.domains.model import DomainFailed
from xapikit.host.errors import ApiError
from xapikit.host.handlers.console import find_console
from xapikit.host.handlers.transfers import refuse
from xapikit.host.registry import handler
from xapikit.host.screens.jpeg import encode
from xapikit.host.screens.rfb import NoPicture, glance
from xapikit.host.server.http import HttpConnection, HttpRequest


@handler("get_vncsnapshot")
def vncsnapshot(request: HttpRequest, connection: HttpConnection, ctx: Context) -> None:
    vm, protocol = find_console(ctx, request)
    try:
        if ctx.store.get("VM", vm)["resident_on"] != ctx.host:
            raise DomainFailed(vm, "runs on another host, or not at all")
        stream = ctx.pool.domains.get(vm).open_console(protocol)
    except DomainFailed as error:
        raise refuse(connection, "404 Not Found", ApiError("INTERNAL_ERROR", str(error))) from error
    with contextlib.closing(stream):
        try:
            picture = encode(glance(stream))
        except NoPicture as error:
            raise ApiError("INTERNAL_ERROR", f"vncsnapshot: {error}") from error
    name = f"snapshot{ctx.store.get('VM', vm)['uuid'][:8]}.jpg"
    headers = [("connection", "keep-alive"), ("content-disposition", f'attachment; filename="{name}"')]
    connection.reply("200 OK", headers, picture)
    connection.keep = True
