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
"""Handlers of statistics: ``/rrd_updates``, ``/vm_rrd``, ``/host_rrd``, ``/sr_rrd`` (wire reference 5.5)."""

from __future__ import annotations

import time

from xapikit.host.context import Context
from xapikit.host.registry import handler
from xapikit.host.server.http import HttpConnection, HttpError, HttpRequest, internal_error
from xapikit.host.statistics.archive import Archive
from xapikit.host.statistics.formats import Updates, full_json, full_xml
from xapikit.host.statistics.sources import Source, host_sources, vm_sources

_CORS = ("Access-Control-Allow-Origin", "*")
_NO_CACHE = ("cache-control", "no-cache, no-store")
_CONSOLIDATIONS = ("AVERAGE", "MIN", "MAX", "LAST")


def _wants_json(request: HttpRequest) -> bool:
    if request.argument("json") == "true":
        return True
    accepted = request.headers.get("accept", "")
    return "application/json" in accepted or "*/*" in accepted


@handler("rrd_updates")
def rrd_updates(request: HttpRequest, connection: HttpConnection, ctx: Context) -> None:
    text = request.argument("start")
    if text is None:
        raise HttpError("400 Bad Request", "")
    now = time.time()
    try:
        start = int(text)
        interval = int(request.argument("interval") or 0)
    except ValueError:
        raise internal_error('Failure("Int64.of_string")') from None
    if start < 0:
        start += int(now)
    wanted = [value for name, value in request.arguments() if name == "cf" and value in _CONSOLIDATIONS]
    archives = _chosen(request, ctx)
    if not archives or (wanted and "AVERAGE" not in wanted):
        raise internal_error("Rrd.No_RRA_Available")
    updates = _updates(archives, start, now, interval)
    body = updates.json() if _wants_json(request) else updates.xml()
    kind = "application/json" if _wants_json(request) else "text/xml"
    headers = [
        ("connection", "keep-alive" if request.keep_alive else "close"),
        _NO_CACHE,
        ("content-type", kind),
        _CORS,
        ("Access-Control-Allow-Headers", "X-Requested-With"),
    ]
    connection.reply("200 OK", headers, body.encode(), version=request.version)
    connection.keep = True


def _chosen(request: HttpRequest, ctx: Context) -> list[tuple[str, str, Archive]]:
    """``(kind, uuid, archive)`` of what the arguments ask for; the host is the one that was addressed."""
    store, statistics = ctx.store, ctx.pool.statistics
    found: list[tuple[str, str, Archive]] = []
    uuids = [value for name, value in request.arguments() if name == "vm_uuid"]
    if request.argument("host") == "true":
        uuid = store.get("host", ctx.host)["uuid"]
        found.append(("host", uuid, statistics.sampled(uuid, "host", ctx.host)))
    for ref in store.get("host", ctx.host)["resident_VMs"]:
        vm = store.peek("VM", ref)
        if vm is None or vm["is_control_domain"] or (uuids and vm["uuid"] not in uuids):
            continue
        found.append(("vm", vm["uuid"], statistics.sampled(vm["uuid"], "VM", ref)))
    if uuids and not any(kind == "vm" for kind, _, _ in found):
        return []
    return found


def _updates(archives: list[tuple[str, str, Archive]], start: int, now: float, interval: int) -> Updates:
    legend: list[str] = []
    columns: list[tuple[dict[int, float], ...]] = []
    step = 0
    moments: set[int] = set()
    for kind, uuid, archive in archives:
        one = archive.choose(start, now, interval or None)
        step = one.seconds
        rows = [(moment, values) for moment, values in one.rows if moment > start]
        moments.update(moment for moment, _ in rows)
        for name in archive.names:
            legend.append(f"AVERAGE:{kind}:{uuid}:{name}")
            columns.append(({moment: values[name] for moment, values in rows if name in values},))
    nothing = float("nan")
    table = [
        (moment, [column.get(moment, nothing) for (column,) in columns]) for moment in sorted(moments, reverse=True)
    ]
    return Updates(start, max(moments, default=int(now)), step, legend, table)


@handler("vm_rrd", "get_vm_rrds")
def vm_rrd(request: HttpRequest, connection: HttpConnection, ctx: Context) -> None:
    uuid = request.argument("uuid")
    if uuid is None:
        raise HttpError("400 Bad Request", "")
    ref = ctx.store.by_uuid("VM", uuid)
    if ref is None:
        raise internal_error(f'Db_exn.Read_missing_uuid("VM", "", "{uuid}")')
    running = ctx.store.get("VM", ref)["power_state"] == "Running"
    archive = ctx.pool.statistics.sampled(uuid, "VM", ref) if running else ctx.pool.statistics.archive(uuid)
    if archive is None:
        raise internal_error('Failure("No VM RRD available!")')
    _reply(request, connection, archive, vm_sources(ctx.pool, ref))


@handler("host_rrd", "get_host_rrds")
def host_rrd(request: HttpRequest, connection: HttpConnection, ctx: Context) -> None:
    uuid = ctx.store.get("host", ctx.host)["uuid"]
    _reply(request, connection, ctx.pool.statistics.sampled(uuid, "host", ctx.host), host_sources(ctx.pool, ctx.host))


@handler("sr_rrd")
def sr_rrd(request: HttpRequest, connection: HttpConnection, ctx: Context) -> None:
    raise internal_error('Failure("No SR RRD available!")')


def _reply(request: HttpRequest, connection: HttpConnection, archive: Archive, sources: dict[str, Source]) -> None:
    as_json = _wants_json(request)
    body = full_json(archive, sources) if as_json else full_xml(archive, sources)
    kind = "application/json" if as_json else "text/xml"
    connection.start_reply("200 OK", [("connection", "close"), _NO_CACHE, ("content-type", kind), _CORS], version="1.0")
    connection.write(body.encode())
