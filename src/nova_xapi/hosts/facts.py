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
"""What the host bound is and has, read from the cache."""

from __future__ import annotations

import json
import time
from typing import Any, Final

from nova.objects import fields

from nova_xapi.hosts.connection import HostConnection
from xapikit.client import NULL_REF, DateTime, Record

MIB: Final = 1 << 20
GIB: Final = 1 << 30

HYPERVISOR_TYPE: Final = "XenServer"
"""The name that the driver in older Nova gave; live migration wants it equal on both sides."""


def cpus(host: Record) -> int:
    """Physical CPUs as Xen counts them (threads)."""
    return int(host["cpu_info"].get("cpu_count", 0))


def hypervisor_version(host: Record) -> int:
    """``8.3.0`` -> 8003000; of the product, else of the platform; 0 when neither says."""
    software = host["software_version"]
    text = software.get("product_version") or software.get("platform_version") or ""
    numbers = [int(part) for part in text.split(".")[:3] if part.isdigit()]
    numbers += [0] * (3 - len(numbers))
    return numbers[0] * 1_000_000 + numbers[1] * 1_000 + numbers[2]


def cpu_info(host: Record) -> str:
    """JSON text for Nova: model, vendor, topology, features."""
    info = host["cpu_info"]
    count, sockets = cpus(host), int(info.get("socket_count", 1) or 1)
    return json.dumps(
        {
            "arch": fields.Architecture.X86_64,
            "model": info.get("modelname", ""),
            "vendor": info.get("vendor", ""),
            "topology": {"sockets": sockets, "cores": max(1, count // sockets), "threads": 1},
            "features": cpu_flags(host),
        }
    )


def cpu_flags(host: Record) -> list[str]:
    """Names of the CPU's features, as the host's kernel spells them."""
    return sorted(set(str(host["cpu_info"].get("flags", "")).split()))


def supported_instances(host: Record) -> list[tuple[str, str, str]]:
    """(architecture, hypervisor, mode) of guests that the host starts."""
    modes = []
    if any(one.startswith("hvm-") and one.endswith("x86_64") for one in host["capabilities"]):
        modes.append(fields.VMMode.HVM)
    return [(fields.Architecture.X86_64, fields.HVType.XEN, mode) for mode in modes]


def memory_total(conn: HostConnection) -> int:
    """Bytes of the host."""
    metrics = conn.cache.get("host_metrics", conn.host["metrics"])
    return int(metrics["memory_total"]) if metrics else 0


def memory_taken(conn: HostConnection, mine: set[str]) -> int:
    """Bytes that are not for servers: Xen's own, those of the control domain, of other people's VMs on this host, and
    the overhead of each VM. ``mine``: references of this service's VMs.
    """
    taken = int(conn.host["memory_overhead"])
    for ref, vm in conn.cache.records("VM").items():
        if vm["resident_on"] != conn.host_ref or vm["is_a_template"]:
            continue
        if vm["is_control_domain"]:
            taken += int(vm["memory_target"]) or int(vm["memory_dynamic_max"])
            continue
        taken += int(vm["memory_overhead"])
        if ref not in mine:
            taken += int(vm["memory_dynamic_max"])
    return taken


def uptime(conn: HostConnection) -> str:
    """As the command of that name says it, as far as XenAPI knows: how long the host has been up.

    Where the host keeps no boot time, that of its control domain is asked for, which is one call.
    """
    now = time.time()
    minutes = max(0, int(now - _booted(conn))) // 60
    days, minutes = divmod(minutes, 24 * 60)
    ago = f"{minutes // 60}:{minutes % 60:02d}"
    return f" {time.strftime('%H:%M:%S', time.gmtime(now))} up {f'{days} days, ' if days else ''}{ago}"


def _booted(conn: HostConnection) -> float:
    known = conn.host["other_config"].get("boot_time", "")
    try:
        return float(known)
    except ValueError:
        dom0 = conn.cache.get("VM", conn.host["control_domain"])
        metrics = dom0["metrics"] if dom0 else NULL_REF
        return DateTime.parse(str(conn.call("VM_metrics.get_start_time", metrics))).to_datetime().timestamp()


def ip_address(host: Record) -> str:
    """Of the host's management interface."""
    return str(host["address"])


def resource(conn: HostConnection, sr: Record, mine: dict[str, Record]) -> dict[str, Any]:
    """``get_available_resource``. ``mine``: this service's VMs by reference."""
    host = conn.host
    resident = [vm for vm in mine.values() if vm["resident_on"] == conn.host_ref]
    total = memory_total(conn)
    used = memory_taken(conn, set(mine)) + sum(int(vm["memory_dynamic_max"]) for vm in resident)
    size, allocated, full = int(sr["physical_size"]), int(sr["virtual_allocation"]), int(sr["physical_utilisation"])
    return {
        "vcpus": cpus(host),
        "memory_mb": total // MIB,
        "local_gb": size // GIB,
        "vcpus_used": sum(int(vm["VCPUs_max"]) for vm in resident),
        "memory_mb_used": min(used, total) // MIB,
        "local_gb_used": full // GIB,
        "disk_available_least": (size - allocated) // GIB,
        "hypervisor_type": HYPERVISOR_TYPE,
        "hypervisor_version": hypervisor_version(host),
        "hypervisor_hostname": conn.settings.host,
        "cpu_info": cpu_info(host),
        "supported_instances": supported_instances(host),
        "numa_topology": None,
        "stats": {"xapi_host_uuid": host["uuid"], "xapi_host_name": host["name_label"], "xapi_sr_uuid": sr["uuid"]},
        "pci_passthrough_devices": json.dumps([]),
    }
