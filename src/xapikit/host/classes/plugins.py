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
"""``host.call_plugin`` and its kin: real programs of dom0, run with the session of their caller."""

from __future__ import annotations

from typing import Any

from xapikit.host.context import Context
from xapikit.host.dom0.directory import EXTENSIONS, PLUGINS
from xapikit.host.dom0.replies import plugin_call, plugin_result
from xapikit.host.errors import ApiError
from xapikit.host.registry import implements
from xapikit.wire import Failure, MalformedRequest, MalformedResponse, jsonrpc, xmlrpc


@implements("host.call_plugin")
def call_plugin(ctx: Context, host: str, plugin: str, fn: str, args: dict[str, str]) -> str:
    """Runs to the end whatever happens: a request to cancel has no effect (observed/plugins.json)."""
    row = ctx.store.peek("host", host)
    if row is None:
        raise ApiError("HOST_OFFLINE", host)
    ctx.pool.machines.reach(host)
    ctx.task.forbid_cancel()
    programs = ctx.pool.programs
    program = programs.find(row["uuid"], PLUGINS, plugin)
    if program is None:
        raise ApiError("XENAPI_MISSING_PLUGIN", plugin)
    call = plugin_call(fn, ctx.session, args)
    return plugin_result(programs.run(row["uuid"], program, [call]).stdout)


@implements("VM.call_host_plugin")
def call_host_plugin(ctx: Context, vm: str, plugin: str, fn: str, args: dict[str, str]) -> str:
    row = ctx.store.get("VM", vm)
    if row["power_state"] != "Running":
        # this call capitalises the states, as no other does
        raise ApiError("VM_BAD_POWER_STATE", vm, "Running", row["power_state"])
    return call_plugin(ctx, row["resident_on"], plugin, fn, args)


@implements("VM.call_plugin")
def call_guest_plugin(ctx: Context, vm: str, plugin: str, fn: str, args: dict[str, str]) -> str:
    row = ctx.store.get("VM", vm)
    if row["power_state"] != "Running":
        raise ApiError("VM_BAD_POWER_STATE", vm, "running", str(row["power_state"]).lower())
    if plugin != "guest-agent-operation":
        raise ApiError("XENAPI_MISSING_PLUGIN", plugin)
    missing = f'The requested fn "{fn}" could not be found in plugin "{plugin}".'
    raise ApiError("XENAPI_PLUGIN_FAILURE", "failed to find fn", missing, missing)


@implements("host.has_extension")
def has_extension(ctx: Context, host: str, name: str) -> bool:
    uuid = ctx.store.get("host", host)["uuid"]
    return ctx.pool.programs.find(uuid, EXTENSIONS, name) is not None


@implements("pool.has_extension")
def pool_has_extension(ctx: Context, pool: str, name: str) -> bool:
    ctx.store.get("pool", pool)
    return all(has_extension(ctx, host, name) for host in ctx.store.all("host"))


@implements("host.call_extension")
def call_extension(ctx: Context, host: str, call: str) -> Any:
    """``call`` is a JSON-RPC text; the extension gets it as XML-RPC on its standard input."""
    row = ctx.store.get("host", host)
    try:
        request = jsonrpc.decode_request(call.encode())
    except MalformedRequest as error:
        raise ApiError("INTERNAL_ERROR", str(error)) from None
    programs = ctx.pool.programs
    program = programs.find(row["uuid"], EXTENSIONS, request.method)
    if program is None:
        raise ApiError("MESSAGE_METHOD_UNKNOWN", request.method)
    body = xmlrpc.encode_request(request.method, request.params)
    output = programs.run(row["uuid"], program, ["--xmlrpc"], stdin=body)
    try:
        return xmlrpc.decode_response(output.stdout)
    except Failure as error:
        raise ApiError(*error.error) from None
    except MalformedResponse as error:
        raise ApiError("INTERNAL_ERROR", str(error)) from None
