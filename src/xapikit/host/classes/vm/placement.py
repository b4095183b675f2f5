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
"""Where a VM can run: the reasons against a host, and the choice of one (wire reference 3.4)."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager

from xapikit.host.classes.host import check as check_host
from xapikit.host.classes.host import free_memory
from xapikit.host.classes.network_attach import attach_networks
from xapikit.host.classes.vm.overhead import memory_overhead
from xapikit.host.context import CONFLICT, CONFLICT_PATIENCE_SECONDS, Context
from xapikit.host.errors import ApiError
from xapikit.host.registry import implements
from xapikit.host.store import Row, Transaction, View

FIRMWARES = ("bios", "uefi")


def check_configuration(vm: str, row: Row) -> None:
    """Mistakes that are found before a host is looked for. Raises INVALID_VALUE,
    VCPU_MAX_NOT_CORES_PER_SOCKET_MULTIPLE, VM_HVM_REQUIRED."""
    if row["domain_type"] not in ("hvm", "unspecified"):
        if row["domain_type"] == "pv" and row["PV_bootloader"] and not row["PV_kernel"]:
            raise ApiError("VM_HVM_REQUIRED", vm)  # this host lost PV: nothing starts a guest's own kernel
        raise ApiError("INVALID_VALUE", "kernel", row["PV_kernel"], "File does not exist")
    firmware = row["HVM_boot_params"].get("firmware", "bios")
    if firmware not in FIRMWARES:
        raise ApiError("INVALID_VALUE", "HVM-boot-params['firmware']", firmware)
    cores = row["platform"].get("cores-per-socket")
    if cores is not None:
        if not cores.isdecimal() or int(cores) < 1:
            raise ApiError("INVALID_VALUE", "platform:cores-per-socket", cores)
        if row["VCPUs_max"] > 0 and row["VCPUs_max"] % int(cores):
            raise ApiError("VCPU_MAX_NOT_CORES_PER_SOCKET_MULTIPLE", row["VCPUs_max"], cores)


def assert_can_boot(view: View, vm: str, host: str, *, moved: Collection[str] = ()) -> None:
    """Raises the reason against a host, the first in the order of a host's own checks.

    ``moved`` are VDIs that the host need not see: they move to an SR of its own.
    """
    row = view.get("VM", vm)
    _check_limits(row)
    where = view.peek("host", host)
    metrics = view.peek("host_metrics", where["metrics"]) if where is not None else None
    if where is None or metrics is None or not metrics["live"]:
        raise ApiError("HOST_NOT_LIVE")
    if not where["enabled"]:
        raise ApiError("HOST_DISABLED", host)
    versions = where["virtual_hardware_platform_versions"]
    if row["hardware_platform_version"] not in versions:
        known = f"[{'; '.join(str(version) for version in sorted(versions))}]"
        raise ApiError(
            "VM_HOST_INCOMPATIBLE_VIRTUAL_HARDWARE_PLATFORM_VERSION", host, known, vm, row["hardware_platform_version"]
        )
    for sr in required_srs(view, row, moved):
        if not sees_sr(view, host, sr):
            raise ApiError("VM_REQUIRES_SR", vm, sr)
    for network in required_networks(view, row):
        if not sees_network(view, host, network):
            raise ApiError("VM_REQUIRES_NETWORK", vm, network)
    _check_room(view, vm, row, host, where)


def _check_limits(row: Row) -> None:
    if row["VCPUs_max"] < 1:
        raise ApiError("INVALID_VALUE", "VCPUs_max", row["VCPUs_max"])
    if row["VCPUs_at_startup"] < 1:
        raise ApiError("INVALID_VALUE", "VCPUs-at-startup", row["VCPUs_at_startup"])
    if row["VCPUs_at_startup"] > row["VCPUs_max"]:
        raise ApiError(
            "VALUE_NOT_SUPPORTED", "VCPUs-at-startup", row["VCPUs_at_startup"], "value greater than VCPUs-max"
        )
    limits = [row[f"memory_{name}"] for name in ("static_min", "dynamic_min", "dynamic_max", "static_max")]
    if limits != sorted(limits):
        raise ApiError("MEMORY_CONSTRAINT_VIOLATION")


def _check_room(view: View, vm: str, row: Row, host: str, where: Row) -> None:
    needed = row["memory_dynamic_min"] + memory_overhead(row)
    # VMs that are on their way to the host have their memory already
    coming = sum(
        other["memory_dynamic_min"] + other["memory_overhead"]
        for ref, other in view.all("VM").items()
        if other["scheduled_to_be_resident_on"] == host and ref != vm and other["resident_on"] != host
    )
    available = max(0, free_memory(view, host) - coming)
    if needed > available:
        raise ApiError("HOST_NOT_ENOUGH_FREE_MEMORY", needed, available)
    cpus = len(where["host_CPUs"])
    if row["VCPUs_max"] > cpus and row["platform"].get("vcpu-unrestricted") != "true":
        raise ApiError("HOST_NOT_ENOUGH_PCPUS", row["VCPUs_max"], cpus)


def required_srs(view: View, vm: Row, moved: Collection[str] = ()) -> list[str]:
    """SRs of the disks of a VM, and of its suspend image, without those in ``moved``."""
    vdis = [view.get("VBD", vbd)["VDI"] for vbd in vm["VBDs"] if not view.get("VBD", vbd)["empty"]]
    rows = [view.peek("VDI", vdi) for vdi in (*vdis, vm["suspend_VDI"]) if vdi not in moved]
    return list(dict.fromkeys(row["SR"] for row in rows if row is not None))


def required_networks(view: View, vm: Row) -> list[str]:
    return list(dict.fromkeys(view.get("VIF", vif)["network"] for vif in vm["VIFs"]))


def sees_sr(view: View, host: str, sr: str) -> bool:
    row = view.peek("SR", sr)
    pbds = (view.peek("PBD", pbd) for pbd in row["PBDs"]) if row is not None else ()
    return any(pbd is not None and pbd["host"] == host and pbd["currently_attached"] for pbd in pbds)


def sees_network(view: View, host: str, network: str) -> bool:
    """A network without NICs is made where it is needed; one with NICs needs one of that host."""
    row = view.peek("network", network)
    if row is None or not row["PIFs"]:
        return row is not None
    pifs = (view.peek("PIF", pif) for pif in row["PIFs"])
    return any(pif is not None and pif["host"] == host for pif in pifs)


def possible_hosts(view: View, vm: str) -> list[str]:
    """Hosts that nothing speaks against."""
    found = []
    for host in view.all("host"):
        try:
            assert_can_boot(view, vm, host)
        except ApiError:
            continue
        found.append(host)
    return found


def choose_host(view: View, vm: str) -> str:
    """The host for a VM: where it has an affinity to, else where most memory is free. Raises NO_HOSTS_AVAILABLE."""
    hosts = possible_hosts(view, vm)
    if not hosts:
        raise ApiError("NO_HOSTS_AVAILABLE")
    wanted: str = view.get("VM", vm)["affinity"]
    if wanted in hosts or len(hosts) == 1:
        return wanted if wanted in hosts else hosts[0]
    return max(hosts, key=lambda host: free_memory(view, host))


@contextmanager
def placed(ctx: Context, vm: str, host: str | None, operation: str, *, moved: Collection[str] = ()) -> Iterator[str]:
    """Choose, or check, the host and reserve its memory in the same moment; yields the host. The interfaces that the
    VM's networks need there are up then.

    ``operation`` stands in the host's ``current_operations`` for the time of the block: vm_start, vm_resume or
    vm_migrate. Raises what speaks against the host, or NO_HOSTS_AVAILABLE.
    """

    def reserve(tx: Transaction, ref: str, operation: str) -> None:
        assert_can_boot(tx, vm, ref, moved=moved)
        check_host(tx, ref, operation)
        tx.update("VM", vm, scheduled_to_be_resident_on=ref)

    while True:
        where = choose_host(ctx.store, vm) if host is None else host
        with ctx.store.transaction() as tx:
            attach_networks(tx, vm, where)
        try:
            key = ctx.pool.operations.begin(ctx, "host", where, operation, reserve, CONFLICT_PATIENCE_SECONDS)
        except ApiError as error:
            if host is not None or error.code == CONFLICT:
                raise
            continue  # somebody else took the room that was just there
        break
    try:
        yield where
    finally:
        ctx.pool.operations.end("host", where, key)


@implements("VM.get_possible_hosts")
def get_possible_hosts(ctx: Context, vm: str) -> list[str]:
    ctx.store.get("VM", vm)
    return possible_hosts(ctx.store, vm)


@implements("VM.assert_can_boot_here")
def assert_can_boot_here(ctx: Context, vm: str, host: str) -> None:
    row = ctx.store.get("VM", vm)
    check_configuration(vm, row)
    assert_can_boot(ctx.store, vm, host)


@implements("VM.assert_agile")
def assert_agile(ctx: Context, vm: str) -> None:
    row = ctx.store.get("VM", vm)
    for sr in required_srs(ctx.store, row):
        if not ctx.store.get("SR", sr)["shared"]:
            raise ApiError("HA_CONSTRAINT_VIOLATION_SR_NOT_SHARED", sr)
    for network in required_networks(ctx.store, row):
        if any(not sees_network(ctx.store, host, network) for host in ctx.store.all("host")):
            raise ApiError("HA_CONSTRAINT_VIOLATION_NETWORK_NOT_SHARED", network)
