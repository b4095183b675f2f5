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
"""The embedded host with many VMs and many hosts: what a start costs, what it keeps in memory, how fast it answers.

Pools of 1 and of 16 hosts, each in one process, with 1,000 and then 5,000 halted VMs. Every VM is a clone with a VIF
and an empty CD drive; disks are left out, the time would go into making their files. Each number of VMs is measured on
a server that was started anew on that state, so memory and latencies owe nothing to the making of the VMs.
"""

import random
import statistics
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from bench.clients import calls_per_second
from bench.fig_many_vms import vm_record
from bench.measure import scratch, seconds
from bench.pool import ServedPool, serving
from bench.report import Figure
from xapikit.client import XapiClient

VMS = (1000, 5000)
HOSTS = (1, 16)
CLIENTS = 8

FIGURES = tuple(
    name
    for vms in VMS
    for name in (
        f"host_start_{vms}_vms_s",
        f"host_memory_{vms}_vms_mib",
        f"host_get_record_{vms}_vms_ms",
        f"host_get_all_records_{vms}_vms_ms",
        f"host_event_p50_{vms}_vms_ms",
        f"host_event_p99_{vms}_vms_ms",
        f"host_calls_{vms}_vms_per_second",
    )
)

_RATE_SECONDS = 1.5
_RECORDS = 200
_CHANGES = 150
#: between two changes; uneven, so that they do not fall into step with the batches of event.from
_GAPS = (0.005, 0.030)
_PATIENCE = 60.0


def run(wanted: list[str]) -> Iterator[Figure]:
    sizes = [vms for vms in VMS if any(f"_{vms}_vms_" in name for name in wanted)]
    for hosts in HOSTS:
        with scratch() as directory:
            state = directory / "state"
            for vms in sizes:
                _fill(state, hosts, vms)
                for figure in _measured(state, hosts, vms):
                    if figure.name in wanted:
                        yield figure


def _fill(state: Path, hosts: int, vms: int) -> None:
    """Make VMs until there are so many, by calls, as a client does."""
    with serving(state, hosts) as pool, pool.client() as client:
        missing = vms - len(_guests(client))
        first = client.call("VM.create", vm_record("bench", {}, client.call("host.get_all")[0]))
        nothing = {"other_config": {}, "qos_algorithm_type": "", "qos_algorithm_params": {}}
        network = client.call("network.get_all")[0]
        client.call("VIF.create", {"VM": first, "network": network, "device": "0", "MAC": "", "MTU": 1500, **nothing})
        drive = {"VM": first, "VDI": "OpaqueRef:NULL", "userdevice": "3", "type": "CD", "mode": "RO", "empty": True}
        client.call("VBD.create", {**drive, "bootable": False, "unpluggable": True, **nothing})
        with ThreadPoolExecutor(CLIENTS) as workers:
            clones = range(missing - 1)
            list(workers.map(lambda number: client.call("VM.clone", first, f"bench-{number}"), clones))


def _guests(client: XapiClient) -> list[str]:
    records = client.call("VM.get_all_records")
    return [ref for ref, one in records.items() if not (one["is_a_template"] or one["is_control_domain"])]


def _measured(state: Path, hosts: int, vms: int) -> Iterator[Figure]:
    variant = "1 host" if hosts == 1 else f"{hosts} hosts"
    with serving(state, hosts) as pool:
        yield Figure(
            f"host_start_{vms}_vms_s",
            pool.start_seconds,
            "s",
            variant,
            note="existing state, Python's own start included",
        )
        started = pool.resident_mib()
        with pool.client() as client:
            guests = _guests(client)
            if len(guests) != vms:
                raise RuntimeError(f"{len(guests)} VMs are there after the start, not {vms}")
            yield from _latencies(client, guests, variant)
            yield from _events(pool, client, guests, variant)
        rate = calls_per_second(pool, "http", CLIENTS, "VM.get_power_state", _RATE_SECONDS)
        yield Figure(f"host_calls_{vms}_vms_per_second", rate, "calls/s", variant, note=f"{CLIENTS} clients, http")
        yield Figure(
            f"host_memory_{vms}_vms_mib", pool.resident_mib(), "MiB", variant,
            note=f"RSS when all was measured; {started:.0f} after the start",
        )  # fmt: skip


def _latencies(client: XapiClient, guests: list[str], variant: str) -> Iterator[Figure]:
    vms = len(guests)
    some = random.Random(vms).sample(guests, _RECORDS)
    times = [seconds(lambda ref=ref: client.call("VM.get_record", ref)) for ref in some]  # type: ignore[misc]
    yield Figure(
        f"host_get_record_{vms}_vms_ms", statistics.median(times) * 1000, "ms", variant, note="http, one client, parsed"
    )
    times = [seconds(lambda: client.call("VM.get_all_records")) for _ in range(5)]
    yield Figure(
        f"host_get_all_records_{vms}_vms_ms", statistics.median(times) * 1000, "ms", variant, note="http, all parsed"
    )


def _events(pool: ServedPool, client: XapiClient, guests: list[str], variant: str) -> Iterator[Figure]:
    """Change one VM after the other, and see each change by event.from in another session."""
    vms = len(guests)
    rnd = random.Random(vms)
    sent: dict[str, float] = {}
    with pool.client(originator="nova-xapi-bench:events") as watcher:
        listener = _Listener(watcher, f"changed among {vms}", _CHANGES)
        with ThreadPoolExecutor(1) as workers:
            seeing = workers.submit(listener.run)
            listener.ready.wait(_PATIENCE)
            for ref in rnd.sample(guests, _CHANGES):
                sent[ref] = time.perf_counter()
                client.call("VM.set_name_description", ref, listener.mark)
                # changes come when they come, whatever became of the one before
                time.sleep(rnd.uniform(*_GAPS))
            seen = seeing.result(_PATIENCE)
    times = [(seen[ref] - start) * 1000 for ref, start in sent.items()]
    cuts = statistics.quantiles(times, n=100, method="inclusive")
    note = f"{_CHANGES} changes, each from its sending until event.from answered; the server gathers for 50 ms"
    yield Figure(f"host_event_p50_{vms}_vms_ms", cuts[49], "ms", variant, note=note)
    yield Figure(f"host_event_p99_{vms}_vms_ms", cuts[98], "ms", variant)


class _Listener:
    """Waits by event.from until it has seen as many VMs with its mark as it expects."""

    def __init__(self, client: XapiClient, mark: str, expected: int) -> None:
        self.mark = mark
        self._client = client
        self._expected = expected
        #: the present state was read: from now on only changes come
        self.ready = threading.Event()

    def run(self) -> dict[str, float]:
        """When each VM was seen. Raises TimeoutError."""
        seen: dict[str, float] = {}
        token = self._next("")["token"]
        self.ready.set()
        end = time.monotonic() + _PATIENCE
        while len(seen) < self._expected:
            if time.monotonic() > end:
                raise TimeoutError(f"{len(seen)} of {self._expected} changes were seen")
            batch = self._next(token)
            now, token = time.perf_counter(), batch["token"]
            for event in batch["events"]:
                if event["snapshot"]["name_description"] == self.mark:
                    seen.setdefault(event["ref"], now)
        return seen

    def _next(self, token: str) -> dict[str, Any]:
        batch: dict[str, Any] = self._client.call("event.from", ["VM"], token, 5.0)
        return batch
