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
"""Current values of a host and of a running VM, named as data sources are (wire reference 5.5)."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from xapikit.host.store import Row

if TYPE_CHECKING:
    from xapikit.host.pool import Pool

KIB = 1024


@dataclass(frozen=True)
class Source:
    """One value now. ``maximum`` may be infinite."""

    name: str
    value: float
    units: str = ""
    description: str = ""
    maximum: float = float("inf")
    minimum: float = 0.0

    def record(self) -> dict[str, object]:
        """As ``get_data_sources`` answers it."""
        return {
            "name_label": self.name,
            "name_description": self.description,
            "enabled": True,
            "standard": True,
            "units": self.units,
            "min": self.minimum,
            "max": self.maximum,
            "value": self.value,
        }


def host_sources(pool: Pool, host: str) -> dict[str, Source]:
    """All data sources of a host, by name. Raises HANDLE_INVALID."""
    return {source.name: source for source in _host(pool, pool.store.get("host", host))}


def vm_sources(pool: Pool, vm: str) -> dict[str, Source]:
    """All data sources of a VM, by name. Raises HANDLE_INVALID."""
    return {source.name: source for source in _vm(pool, vm, pool.store.get("VM", vm))}


def _host(pool: Pool, row: Row) -> Iterator[Source]:
    store = pool.store
    metrics = store.peek("host_metrics", row["metrics"])
    yield Source("pool_session_count", store.count("session"), "sessions", "Number of sessions")
    yield Source("pool_task_count", store.count("task"), "tasks", "Number of tasks")
    yield Source("xapi_memory_usage_kib", _resident_kib(), "KiB", "Total memory allocated used by xapi daemon")
    yield Source("xapi_open_fds", _open_files(), "", "Number of open file descriptors held by xapi")
    utilisation = []
    for ref in row["host_CPUs"]:
        cpu = store.peek("host_cpu", ref)
        if cpu is not None:
            utilisation.append(float(cpu["utilisation"]))
            yield Source(f"cpu{cpu['number']}", utilisation[-1], "(fraction)", "Physical CPU usage", 1.0)
    average = sum(utilisation) / len(utilisation) if utilisation else 0.0
    yield Source("cpu_avg", average, "(fraction)", "Average physical CPU usage", 1.0)
    yield Source("loadavg", os.getloadavg()[0], "(fraction)", "Domain0 loadavg")
    if metrics is not None:
        yield Source("memory_total_kib", metrics["memory_total"] / KIB, "KiB", "Total amount of memory in use")
        yield Source("memory_free_kib", metrics["memory_free"] / KIB, "KiB", "Total amount of free memory")
    running = [vm for ref in row["resident_VMs"] if (vm := store.peek("VM", ref)) is not None]
    yield Source("running_domains", len(running), "count", "Number of domains running")
    yield Source("running_vcpus", sum(vm["VCPUs_at_startup"] for vm in running), "count", "Number of VCPUs running")
    yield Source("hostload", 0.0, "(fraction)", "Host load per physical CPU")
    for ref in row["PIFs"]:
        pif = store.peek("PIF", ref)
        if pif is not None and pif["physical"]:
            for direction in ("rx", "tx"):
                yield Source(f"pif_{pif['device']}_{direction}", 0.0, "B/s", f"Bytes per second {direction}")
    for direction in ("rx", "tx"):
        yield Source(f"pif_aggr_{direction}", 0.0, "B/s", f"Bytes per second {direction} on all physical interfaces")


def _vm(pool: Pool, ref: str, row: Row) -> Iterator[Source]:
    store = pool.store
    metrics = store.peek("VM_metrics", row["metrics"])
    # a kind of domain that knows more than the rows says so: rates by name of data source
    counters = getattr(pool.domains, "counters", None)
    known: Mapping[str, float] = counters(ref) if counters is not None else {}
    usage = []
    for number, value in sorted((metrics["VCPUs_utilisation"] if metrics is not None else {}).items()):
        usage.append(float(known.get(f"cpu{number}", value)))
        yield Source(f"cpu{number}", usage[-1], "(fraction)", f"CPU{number} usage", 1.0)
    yield Source("cpu_usage", sum(usage) / len(usage) if usage else 0.0, "(fraction)", "Domain CPU usage", 1.0)
    memory = float(metrics["memory_actual"]) if metrics is not None else 0.0
    yield Source("memory", known.get("memory", memory), "B", "Memory currently allocated to VM")
    yield Source("memory_target", float(row["memory_target"] or row["memory_dynamic_max"]), "B", "Target of VM balloon")
    free = pool.guests.free_memory_kib(row["uuid"])
    if free is not None:
        yield Source("memory_internal_free", free, "KiB", "Memory used as reported by the guest agent")
    for vbd in row["VBDs"]:
        disk = store.peek("VBD", vbd)
        if disk is not None and disk["currently_attached"] and disk["device"]:
            for direction in ("read", "write"):
                name = f"vbd_{disk['device']}_{direction}"
                yield Source(name, known.get(name, 0.0), "B/s", f"Bytes per second {direction}")
    for vif in row["VIFs"]:
        nic = store.peek("VIF", vif)
        if nic is not None and nic["currently_attached"]:
            for direction in ("rx", "tx"):
                name = f"vif_{nic['device']}_{direction}"
                yield Source(name, known.get(name, 0.0), "B/s", f"Bytes per second {direction}")


def _resident_kib() -> float:
    with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123 - read every five seconds
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / KIB


def _open_files() -> float:
    return float(len(os.listdir("/proc/self/fd")))  # noqa: PTH208 - names are not needed as paths
