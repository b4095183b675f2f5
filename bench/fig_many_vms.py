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
"""A pool of 1,000 VMs: reading them all, and what Nova's periodic comparison of power states costs.

The comparison is what nova-compute does: list the driver's servers, then ask for the power state of each. Before that
one server is halted behind the driver's back, which it must see without being asked.
"""

import statistics
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from bench.compute import compute
from bench.measure import MIB, scratch, seconds
from bench.pool import ServedPool, quiet, served_pool
from bench.report import Figure
from xapikit.client import XapiClient

FIGURES = ("get_all_records_ms", "power_sync_calls", "power_change_seen_ms")

VMS = 1000
#: the others are halted
RUNNING = 900
_PATIENCE = 60.0


def run(wanted: list[str]) -> Iterator[Figure]:
    with scratch() as directory, served_pool(directory=directory) as pool, pool.client() as operator:
        with compute(pool, directory) as driver:
            servers = _make_vms(operator, driver)
            if set(wanted) & {"power_sync_calls", "power_change_seen_ms"}:
                yield from _power_sync(pool, operator, driver, servers)
        if "get_all_records_ms" in wanted:
            for scheme in ("https", "http"):
                yield _all_records(pool, scheme)


def _make_vms(operator: XapiClient, driver: Any) -> dict[str, str]:
    """VMs that carry the driver's marks, the first ones running: server uuid -> VM reference."""
    conn = driver.service.conn

    def make(number: int) -> tuple[str, str]:
        server = str(uuid.uuid4())
        marks = {"nova_uuid": server, **conn.maker.marks(f"bench{number}", "vm")}
        vm = operator.call("VM.create", vm_record(f"instance-{number:08x}", marks, conn.host_ref))
        if number < RUNNING:
            operator.call("VM.start_on", vm, conn.host_ref, False, False)
        return server, vm

    with ThreadPoolExecutor(8) as workers:
        made = dict(workers.map(make, range(VMS)))
    conn.wait(lambda cache: len(driver.list_instance_uuids()) == VMS, _PATIENCE)
    return made


def vm_record(name: str, other_config: dict[str, str], host: str) -> dict[str, Any]:
    """What VM.create is given for a small VM."""
    return {
        "name_label": name, "name_description": "", "user_version": 0, "is_a_template": False, "affinity": host,
        "memory_static_max": 16 * MIB, "memory_dynamic_max": 16 * MIB, "memory_dynamic_min": 16 * MIB,
        "memory_static_min": 16 * MIB, "VCPUs_params": {}, "VCPUs_max": 1, "VCPUs_at_startup": 1,
        "actions_after_shutdown": "destroy", "actions_after_reboot": "restart", "actions_after_crash": "restart",
        "PV_bootloader": "", "PV_kernel": "", "PV_ramdisk": "", "PV_args": "", "PV_bootloader_args": "",
        "PV_legacy_args": "", "HVM_boot_policy": "BIOS order", "HVM_boot_params": {"order": "c"},
        "platform": {"nx": "true", "acpi": "1"}, "PCI_bus": "", "other_config": other_config, "recommendations": "",
    }  # fmt: skip


def _power_sync(pool: ServedPool, operator: XapiClient, driver: Any, servers: dict[str, str]) -> Iterator[Figure]:
    from nova.compute import power_state

    from driver_rig import instance

    instances = {server: instance(uuid=server) for server in servers}
    halted = next(iter(servers))
    if driver.get_info(instances[halted]).state != power_state.RUNNING:
        raise RuntimeError("the server does not run before it is halted")
    quiet(pool)
    operator.call("VM.hard_shutdown", servers[halted])
    # from here on only the driver talks to the pool, and it has all its consoles
    pool.reset_counts()
    start = time.perf_counter()
    driver.service.conn.wait(lambda _: driver.get_info(instances[halted]).state == power_state.SHUTDOWN, _PATIENCE)
    seen = time.perf_counter() - start
    yield Figure("power_change_seen_ms", seen * 1000, "ms", note="halted behind the driver's back; from its answer on")
    quiet(pool)
    pool.reset_counts()
    states: list[int] = []
    spent = seconds(lambda: states.extend(_sync(driver, instances)))
    if states.count(power_state.RUNNING) != RUNNING - 1 or len(states) != VMS:
        raise RuntimeError("the comparison did not see what there is")
    yield Figure(
        "power_sync_calls", pool.total(), "calls", limit=0,
        note=f"{VMS} servers compared in {spent * 1000:.0f} ms",
    )  # fmt: skip


def _sync(driver: Any, instances: dict[str, Any]) -> Iterator[int]:
    known = set(driver.list_instance_uuids())
    if driver.get_num_instances() != len(known):
        raise RuntimeError("two answers to one question")
    for server, one in instances.items():
        if server not in known:
            raise RuntimeError(f"server {server} is not listed")
        yield driver.get_info(one).state


def _all_records(pool: ServedPool, scheme: str) -> Figure:
    with pool.client(scheme, originator=f"nova-xapi-bench:{scheme}") as client:
        count = len(client.call("VM.get_all_records"))
        times = [seconds(lambda: client.call("VM.get_all_records")) for _ in range(7)]
    return Figure(
        "get_all_records_ms", statistics.median(times) * 1000, "ms", variant=scheme, note=f"{count} records, parsed"
    )
