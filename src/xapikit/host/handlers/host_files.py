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
"""``/host_backup``, ``/host_restore``, ``/host_logs_download``, ``/system-status``, ``/audit_log``: a host's own files.

Each is about the host that was addressed. A backup that is sent in is checked and kept beside the present state, as a
host writes it to its backup partition: it takes effect when an installation is restored from it, not before.
"""

from __future__ import annotations

import time
from typing import Final

from xapikit.host import facts
from xapikit.host.backup import files
from xapikit.host.context import Context
from xapikit.host.errors import ApiError
from xapikit.host.handlers.transfers import PLAIN, late_error
from xapikit.host.registry import handler, implements
from xapikit.host.server.http import CHUNK_BYTES, HttpConnection, HttpRequest

_MIMES: Final[dict[files.Form, str]] = {
    "tar": "application/x-tar",
    "tar.bz2": "application/x-bzip2",
    "zip": "application/zip",
}
_SERVER: Final = f"xapi/{facts.software_version('')['xapi']}"
BACKUPS: Final = "backups"
"""Directory of the state with backups that were sent in, by host."""


def _uuid(ctx: Context) -> str:
    uuid: str = ctx.store.get("host", ctx.host)["uuid"]
    return uuid


@handler("get_host_backup")
def host_backup(request: HttpRequest, connection: HttpConnection, ctx: Context) -> None:
    connection.start_reply("200 OK", PLAIN)
    files.write(files.whole(ctx.pool, _uuid(ctx)), "tar.gz", connection.write)


@handler("put_host_restore")
def host_restore(request: HttpRequest, connection: HttpConnection, ctx: Context) -> None:
    connection.start_reply("200 OK", PLAIN)
    directory = ctx.pool.state / BACKUPS
    directory.mkdir(mode=0o700, exist_ok=True)
    kept = directory / f"{_uuid(ctx)}.tar.gz"
    coming = kept.with_suffix(".new")
    try:
        left = request.content_length
        with coming.open("wb") as file:
            while left is None or left > 0:
                data = connection.recv(CHUNK_BYTES if left is None else min(left, CHUNK_BYTES))
                if not data:
                    break
                file.write(data)
                left = None if left is None else left - len(data)
        files.check(coming)
        coming.replace(kept)
    except ValueError as error:
        failure = ApiError("RESTORE_SCRIPT_FAILED", f"not a backup of a host: {error}")
        connection.write(late_error(failure))
        raise failure from error
    finally:
        coming.unlink(missing_ok=True)


@handler("get_host_logs_download")
def host_logs_download(request: HttpRequest, connection: HttpConnection, ctx: Context) -> None:
    connection.start_reply("200 OK", PLAIN)
    files.write(files.logs(ctx.pool, _uuid(ctx)), "tar.gz", connection.write)


@handler("get_audit_log")
def audit_log(request: HttpRequest, connection: HttpConnection, ctx: Context) -> None:
    since = request.argument("since") or ""
    connection.start_reply("200 OK", [*PLAIN, ("content-type", "text/plain")])
    for line in ctx.pool.audit.lines(_uuid(ctx), since):
        connection.write(line.encode("utf-8", "replace"))


@handler("get_system_status")
def system_status(request: HttpRequest, connection: HttpConnection, ctx: Context) -> None:
    if "list" in request.query:
        text = files.described().encode()
        connection.reply(
            "200 OK", [("connection", "close"), ("Server", _SERVER), ("content-type", "application/xml")], text
        )
        return
    words = {form: form for form in _MIMES}
    form = words.get(request.query.get("output", "tar"), "tar")  # type: ignore[call-overload]
    host = ctx.store.get("host", ctx.host)
    moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    name = f"system_status-{moment}-{host['hostname']}.{form}"
    headers = [("Server", _SERVER), ("content-type", _MIMES[form])]
    headers.append(("content-disposition", f'attachment; filename="{name}"'))
    connection.start_reply("200 OK", [*PLAIN, *headers], version="1.0")
    entries = files.report(ctx.pool, host["uuid"], request.query.get("entries", "").split(","))
    files.write(entries, form, connection.write)


@implements("host.get_system_status_capabilities")
def get_system_status_capabilities(ctx: Context, host: str) -> str:
    ctx.store.get("host", host)
    return files.described()
