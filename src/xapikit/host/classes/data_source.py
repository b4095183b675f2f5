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
"""Data sources of hosts, VMs and SRs over the API (wire reference 5.5)."""

from __future__ import annotations

from typing import Any

from xapikit.host.classes.vm.facts import check
from xapikit.host.context import Context
from xapikit.host.errors import ApiError
from xapikit.host.lifecycle import PAUSED, RUNNING
from xapikit.host.registry import implements
from xapikit.host.statistics.sources import Source, host_sources, vm_sources


def _sources(ctx: Context, ref: str) -> dict[str, Source]:
    if ctx.method.startswith("host."):
        if ctx.store.peek("host", ref) is None:
            raise ApiError("HOST_OFFLINE", ref)
        return host_sources(ctx.pool, ref)
    if ctx.method.startswith("SR."):
        ctx.store.get("SR", ref)
        return {}  # drivers of this kind report no figures of an SR; its throughput is one of the host's sources
    _check_vm(ctx, ref)
    return vm_sources(ctx.pool, ref)


def _check_vm(ctx: Context, vm: str) -> None:
    """The power state comes first. Reading one source also works while the VM is paused, and spells the states in its
    own way (observed: real_calls_halted)."""
    if ctx.method == "VM.query_data_source":
        state = ctx.store.get("VM", vm)["power_state"]
        if state not in (RUNNING, PAUSED):
            raise ApiError("VM_BAD_POWER_STATE", vm, "running;paused", state.lower())
        return
    with ctx.store.transaction() as tx:
        check(tx, vm, "data_source_op")


@implements("host.get_data_sources", "VM.get_data_sources", "SR.get_data_sources")
def get_data_sources(ctx: Context, ref: str) -> list[dict[str, Any]]:
    return [source.record() for source in _sources(ctx, ref).values()]


@implements("host.query_data_source", "VM.query_data_source", "SR.query_data_source")
def query_data_source(ctx: Context, ref: str, name: str) -> float:
    source = _sources(ctx, ref).get(name)
    if source is None:
        detail = f'IDL Error: [S(Rrdd_internal_error);S(Rrd.Invalid_data_source("{name}"))]'
        raise ApiError("INTERNAL_ERROR", detail)
    return float(source.value)


@implements("host.record_data_source", "VM.record_data_source", "SR.record_data_source")
def record_data_source(ctx: Context, ref: str, name: str) -> None:
    """All data sources are recorded already."""
    if name not in _sources(ctx, ref):
        missing = f"[S(Datasource_missing);S({name})]"
        raise ApiError("INTERNAL_ERROR", f"IDL Error: [S(Rrdd_internal_error);S(Rrd_interface.Rrdd_error({missing}))]")


@implements("host.forget_data_source_archives", "VM.forget_data_source_archives", "SR.forget_data_source_archives")
def forget_data_source_archives(ctx: Context, ref: str, name: str) -> None:
    _sources(ctx, ref)
