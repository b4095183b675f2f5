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
"""Class ``host``: the record, enabling, memory, time, small reads. Moving VMs away and plug-ins are elsewhere."""

from __future__ import annotations

import re
import time

from xapikit.host.context import Context
from xapikit.host.errors import ApiError
from xapikit.host.facts import (
    API_VERSION,
    BIOS_STRINGS,
    CAPABILITIES,
    CPU_MHZ,
    CPU_MODEL,
    CPU_VENDOR,
    DOM0_MEMORY,
    HOST_MEMORY_OVERHEAD,
    cpu_info,
    license_params,
    software_version,
)
from xapikit.host.inventory import Fresh, FreshHost, contributes
from xapikit.host.lifecycle import PlaceFacts, allowed_place_operations, place_error
from xapikit.host.registry import implements
from xapikit.host.store import Row, Store, Transaction, View
from xapikit.model import NULL_REF
from xapikit.wire import DateTime

# fresh rows ----------------------------------------------------------------------------------------------------------


@contributes(rank=10)
def hosts(tx: Transaction, fresh: Fresh) -> None:
    for planned in fresh.hosts:
        _host(tx, fresh, planned)


def _host(tx: Transaction, fresh: Fresh, planned: FreshHost) -> None:
    settings = fresh.settings
    metrics = tx.create(
        "host_metrics",
        {"memory_total": settings.memory_bytes, "memory_free": 0, "live": True, "last_updated": DateTime.now()},
    )
    now = f"{int(time.time())}."
    planned.ref = tx.create(
        "host",
        {
            "name_label": planned.name,
            "name_description": "Default install",
            "hostname": planned.name,
            "address": planned.address,
            "memory_overhead": HOST_MEMORY_OVERHEAD,
            "API_version_major": API_VERSION[0],
            "API_version_minor": API_VERSION[1],
            "API_version_vendor": "XenSource",
            "enabled": True,
            "software_version": software_version(planned.name),
            "other_config": {
                "agent_start_time": now,
                "boot_time": now,
                "iscsi_iqn": f"iqn.2026-01.com.example:{tx.store.new_uuid()[:8]}",
            },
            "capabilities": list(CAPABILITIES),
            "sched_policy": "credit",
            "supported_bootloaders": ["pygrub", "eliloader"],
            "cpu_info": cpu_info(settings.cpus),
            "metrics": metrics,
            "license_params": dict(license_params()),
            "edition": "xcp-ng",
            "editions": ["xcp-ng"],
            "bios_strings": dict(BIOS_STRINGS),
            "chipset_info": {"iommu": "true"},
            "ssl_legacy": False,
            "virtual_hardware_platform_versions": [0, 1, 2],
            "tls_verification_enabled": True,
            "latest_synced_updates_applied": "unknown",
        },
    )
    for number in range(settings.cpus):
        tx.create(
            "host_cpu",
            {
                "host": planned.ref,
                "number": number,
                "vendor": CPU_VENDOR,
                "speed": CPU_MHZ,
                "modelname": CPU_MODEL,
                "family": 6,
                "model": 61,
                "stepping": "4",
                "flags": cpu_info(1)["flags"],
                "features": cpu_info(1)["features"],
            },
        )


@contributes(rank=20)
def control_domains(tx: Transaction, fresh: Fresh) -> None:
    for planned in fresh.hosts:
        metrics = tx.create(
            "VM_metrics",
            {
                "memory_actual": DOM0_MEMORY,
                "VCPUs_number": fresh.settings.cpus,
                "start_time": DateTime.now(),
                "last_updated": DateTime.now(),
                "current_domain_type": "pv",
            },
        )
        planned.dom0 = tx.create(
            "VM",
            {
                "uuid": tx.store.new_uuid(),
                "name_label": f"Control domain on host: {planned.name}",
                "name_description": "The domain which manages physical devices and manages other domains",
                "is_control_domain": True,
                "power_state": "Running",
                "domid": 0,
                "domain_type": "pv",
                "resident_on": planned.ref,
                "affinity": planned.ref,
                "memory_target": DOM0_MEMORY,
                "memory_static_max": DOM0_MEMORY,
                "memory_static_min": DOM0_MEMORY,
                "memory_dynamic_max": DOM0_MEMORY,
                "memory_dynamic_min": DOM0_MEMORY,
                "VCPUs_max": fresh.settings.cpus,
                "VCPUs_at_startup": fresh.settings.cpus,
                "actions_after_shutdown": "destroy",
                "actions_after_reboot": "destroy",
                "actions_after_crash": "destroy",
                "metrics": metrics,
                "hardware_platform_version": 0,
            },
        )
        tx.update("host", planned.ref, control_domain=planned.dom0)


# derived fields ------------------------------------------------------------------------------------------------------


def derive(store: Store) -> None:
    """Register what follows from other rows."""
    store.derive("host", "allowed_operations", lambda view, ref, row: allowed_place_operations(_facts(ref, row)))
    store.derive(
        "host_metrics", "memory_free", _memory_free, via={"host": "metrics", "VM": _metrics_of_the_host_of_a_vm}
    )


def _facts(ref: str, row: Row) -> PlaceFacts:
    return PlaceFacts("host", ref, {"enabled": row["enabled"]}, row["current_operations"])


def check(tx: Transaction, ref: str, operation: str) -> None:
    """The check of operations on hosts (registered with the pool's operations)."""
    error = place_error(_facts(ref, tx.get("host", ref)), operation)
    if error is not None:
        raise ApiError(*error)


def _metrics_of_the_host_of_a_vm(view: View, vm: Row) -> list[str]:
    host = view.peek("host", vm["resident_on"])
    return [host["metrics"]] if host is not None else []


def _memory_free(view: View, ref: str, row: Row) -> int:
    host = next(iter(view.find("host", metrics=ref).values()), None)
    return _free(view, host, row) if host is not None else int(row["memory_free"])


def _free(view: View, host: Row, metrics: Row) -> int:
    used = sum(memory_of(vm) for ref in host["resident_VMs"] if (vm := view.peek("VM", ref)) is not None)
    return max(0, int(metrics["memory_total"]) - int(host["memory_overhead"]) - used)


def memory_of(vm: Row) -> int:
    """Bytes that a running VM takes from its host."""
    return int(vm["memory_target"] or vm["memory_dynamic_max"]) + int(vm["memory_overhead"])


def free_memory(view: View, host: str) -> int:
    """Bytes for new VMs on a host when the others are ballooned down to ``memory_dynamic_min``."""
    row = view.get("host", host)
    metrics = view.get("host_metrics", row["metrics"])
    reclaimable = 0
    for ref in row["resident_VMs"]:
        vm = view.peek("VM", ref)
        if vm is not None and not vm["is_control_domain"]:
            reclaimable += max(0, int(vm["memory_target"] or vm["memory_dynamic_max"]) - int(vm["memory_dynamic_min"]))
    return _free(view, row, metrics) + reclaimable


# calls ---------------------------------------------------------------------------------------------------------------


@implements("host.compute_free_memory")
def compute_free_memory(ctx: Context, host: str) -> int:
    return free_memory(ctx.store, host)


@implements("host.compute_memory_overhead")
def compute_memory_overhead(ctx: Context, host: str) -> int:
    return int(ctx.store.get("host", host)["memory_overhead"])


@implements("host.get_servertime", "host.get_server_localtime")
def get_servertime(ctx: Context, host: str) -> DateTime:
    ctx.store.get("host", host)
    now = DateTime.now()
    return DateTime(now.removesuffix("Z")) if ctx.method == "host.get_server_localtime" else now


@implements("host.ha_xapi_healthcheck")
def ha_xapi_healthcheck(ctx: Context) -> bool:
    return True


@implements("host.get_server_certificate")
def get_server_certificate(ctx: Context, host: str) -> str:
    ctx.store.get("host", host)
    return ctx.pool.certificate_of(host)


@implements("host.get_management_interface")
def get_management_interface(ctx: Context, host: str) -> str:
    ctx.store.get("host", host)
    for ref, row in ctx.store.find("PIF", host=host, management=True).items():
        if row["currently_attached"]:
            return ref
    raise ApiError("INTERNAL_ERROR", "no management interface")


@implements("host.get_uncooperative_resident_VMs")
def get_uncooperative_resident_vms(ctx: Context, host: str) -> list[str]:
    ctx.store.get("host", host)
    return []


@implements("host.dmesg")
def dmesg(ctx: Context, host: str) -> str:
    ctx.store.get("host", host)
    return "(XEN) Xen version 4.17.5-13 (embedded)\n"


@implements("host.send_debug_keys")
def send_debug_keys(ctx: Context, host: str, keys: str) -> None:
    ctx.store.get("host", host)


@implements("host.sync_data")
def sync_data(ctx: Context, host: str) -> None:
    ctx.store.get("host", host)


@implements("host.backup_rrds")
def backup_rrds(ctx: Context, host: str, delay: float) -> None:
    ctx.store.get("host", host)


@implements("host.restart_agent")
def restart_agent(ctx: Context, host: str) -> None:
    """The toolstack restarts after the answer; sessions are lost, VMs untouched."""
    ctx.store.get("host", host)
    ctx.pool.restart_toolstack()


@implements("host.set_hostname_live")
def set_hostname_live(ctx: Context, host: str, hostname: str) -> None:
    if not hostname:
        raise ApiError("HOST_NAME_INVALID", "hostname empty")
    if not re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?", hostname):
        raise ApiError("HOST_NAME_INVALID", "hostname contains invalid characters")
    with ctx.store.transaction() as tx:
        tx.update("host", host, hostname=hostname)


@implements("host.set_iscsi_iqn")
def set_iscsi_iqn(ctx: Context, host: str, value: str) -> None:
    if not value:
        raise ApiError("INVALID_VALUE", "value", "")
    with ctx.store.transaction() as tx:
        config = {**tx.get("host", host)["other_config"], "iscsi_iqn": value}
        tx.update("host", host, iscsi_iqn=value, other_config=config)


@implements("host.set_multipathing")
def set_multipathing(ctx: Context, host: str, value: bool) -> None:
    with ctx.store.transaction() as tx:
        config = {**tx.get("host", host)["other_config"], "multipathing": "true" if value else "false"}
        tx.update("host", host, multipathing=value, other_config=config)


@implements("host.set_ssl_legacy")
def set_ssl_legacy(ctx: Context, host: str, value: bool) -> None:
    ctx.store.get("host", host)
    if value:
        raise ApiError("VALUE_NOT_SUPPORTED", "value", "true", "Legacy SSL support has been removed")


@implements("host.set_numa_affinity_policy")
def set_numa_affinity_policy(ctx: Context, host: str, value: str) -> None:
    with ctx.store.transaction() as tx:
        tx.update("host", host, numa_affinity_policy=value)


@implements("host.enable_display", "host.disable_display")
def set_display(ctx: Context, host: str) -> str:
    shown = "enabled" if ctx.method == "host.enable_display" else "disabled"
    with ctx.store.transaction() as tx:
        tx.update("host", host, display=shown)
    return shown


@implements("host.disable_external_auth")
def disable_external_auth(ctx: Context, host: str, config: dict[str, str], force: bool) -> None:
    ctx.store.get("host", host)


@implements("host.install_server_certificate")
def install_server_certificate(ctx: Context, host: str, certificate: str, private_key: str, chain: str) -> None:
    ctx.store.get("host", host)
    raise ApiError("SERVER_CERTIFICATE_KEY_INVALID")


def coordinator_of(store: Store) -> str:
    """Reference of the pool's coordinator, or the null reference in an empty store."""
    pools = store.all("pool")
    return next((str(row["master"]) for row in pools.values()), NULL_REF)
