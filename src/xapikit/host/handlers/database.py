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
"""``/pool/xmldbdump``: the database as XML, out and in (``dry_run=true`` only checks what comes in)."""

from __future__ import annotations

from typing import Final

from xapikit.host.backup import restoring, xmldb
from xapikit.host.context import Context
from xapikit.host.errors import ApiError
from xapikit.host.handlers.transfers import PLAIN, late_error, refuse
from xapikit.host.registry import handler
from xapikit.host.server.http import HttpConnection, HttpRequest

_LARGEST: Final = 1 << 30


@handler("get_pool_xml_db_sync")
def dump(request: HttpRequest, connection: HttpConnection, ctx: Context) -> None:
    connection.start_reply("200 OK", PLAIN)
    waiting = bytearray()
    for piece in xmldb.write(ctx.store):
        waiting += piece.encode("utf-8", "replace")
        if len(waiting) > 1 << 16:
            ctx.task.raise_if_cancelled()
            connection.write(waiting)
            waiting.clear()
    connection.write(waiting)


@handler("put_pool_xml_db_sync")
def restore(request: HttpRequest, connection: HttpConnection, ctx: Context) -> None:
    length = request.content_length
    if length is None or length > _LARGEST:
        raise refuse(connection, "400 Bad Request", ApiError("INTERNAL_ERROR", "a database has a length"))
    connection.start_reply("200 OK", PLAIN)
    data = connection.read(length)
    try:
        if len(data) < length:
            raise ApiError("INTERNAL_ERROR", "End_of_file")
        found = xmldb.read(data)
        restoring.check(ctx.pool, found)
        if request.query.get("dry_run") != "true":
            restoring.apply(ctx.pool, found)
    except xmldb.NoDatabase as error:
        failure = ApiError("INTERNAL_ERROR", f'Db_xml.Unmarshall_error("{error}")')
        connection.write(late_error(failure))
        raise failure from error
    except ApiError as error:
        connection.write(late_error(error))
        raise
