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
"""Diagnostics of a server: what the cache knows, and one call for its metrics."""

from __future__ import annotations

import time
from typing import Any

from nova import objects
from nova.objects import fields

from nova_xapi.hosts.connection import HostConnection
from nova_xapi.servers import Servers, state_of
from nova_xapi.spec.disks import CONFIG_DRIVE
from xapikit.client import DateTime, Record
from xapikit.client import errors as xapi


def collect(conn: HostConnection, servers: Servers, instance: str) -> Any:
    """``nova.objects.Diagnostics``. What XenAPI does not count stays None. Raises InstanceNotFound."""
    _, vm = servers.get(instance)
    metrics = _metrics(conn, vm)
    vifs = _devices(conn, "VIF", vm["VIFs"], "device")
    vbds = _devices(conn, "VBD", vm["VBDs"], "userdevice")
    found = objects.Diagnostics(
        state=fields.InstancePowerState.from_index(state_of(vm)),
        driver=fields.HypervisorDriver.XENAPI,
        hypervisor=fields.HVType.XEN,
        hypervisor_os=conn.host["software_version"].get("product_brand", "XAPI"),
        uptime=_uptime(metrics),
        config_drive=any(vbd["type"] == "CD" and vbd["userdevice"] == str(CONFIG_DRIVE) for vbd in vbds),
    )
    for number in range(int(metrics.get("VCPUs_number") or vm["VCPUs_max"])):
        found.add_cpu(id=number)
    for vif in vifs:
        found.add_nic(mac_address=vif["MAC"])
    for vbd in vbds:
        if vbd["type"] != "CD":
            found.add_disk()
    memory = int(vm["memory_static_max"])
    found.memory_details = objects.MemoryDiagnostics(
        maximum=memory >> 20, used=int(metrics.get("memory_actual") or 0) >> 20
    )
    return found


def as_mapping(conn: HostConnection, servers: Servers, instance: str) -> dict[str, Any]:
    """The older, free form: names as the statistics of XAPI hosts have them."""
    _, vm = servers.get(instance)
    metrics = _metrics(conn, vm)
    found: dict[str, Any] = {
        "memory": int(metrics.get("memory_actual") or 0),
        "memory_target": int(vm["memory_target"]),
        "vcpus": int(vm["VCPUs_max"]),
        "domid": int(vm["domid"]),
        "power_state": vm["power_state"],
        "uptime": _uptime(metrics),
    }
    for vif in _devices(conn, "VIF", vm["VIFs"], "device"):
        found[f"vif_{vif['device']}_mac"] = vif["MAC"]
    for vbd in _devices(conn, "VBD", vm["VBDs"], "userdevice"):
        found[f"vbd_{vbd['device'] or vbd['userdevice']}_type"] = vbd["type"]
    return found


def _metrics(conn: HostConnection, vm: Record) -> dict[str, Any]:
    try:
        metrics: dict[str, Any] = conn.call("VM_metrics.get_record", vm["metrics"])
        return metrics
    except xapi.HandleInvalid:
        return {}


def _uptime(metrics: dict[str, Any]) -> int | None:
    """Seconds since the guest's start; None while it does not run."""
    started = metrics.get("start_time")
    if not started or metrics.get("current_domain_type") == "unspecified":
        return None
    begun = DateTime.parse(str(started)).to_datetime().timestamp()
    return max(0, int(time.time() - begun)) if begun > 0 else None


def _devices(conn: HostConnection, cls: str, refs: list[str], order: str) -> list[Record]:
    found = [record for ref in refs if (record := conn.cache.get(cls, ref)) is not None]
    return sorted(found, key=lambda record: str(record[order]).zfill(4))
