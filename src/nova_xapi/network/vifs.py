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
"""VIFs: made with a server, and made again where a restarted service finds that a port has none."""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterable
from typing import Any

from nova_xapi.marks import IFACE, PORT
from nova_xapi.network import integration
from nova_xapi.ops import calls
from nova_xapi.ops.steps import Operation
from nova_xapi.servers import Servers
from nova_xapi.spec.values import VifSpec
from xapikit.client import Record
from xapikit.client import errors as xapi

LOG = logging.getLogger(__name__)


def record(spec: VifSpec, vm: str, network: str) -> dict[str, Any]:
    """For ``VIF.create``. Neutron filters traffic, so XAPI must not."""
    return {
        "device": str(spec.device),
        "network": network,
        "VM": vm,
        "MAC": spec.mac,
        "MTU": spec.mtu,
        "other_config": {PORT: spec.port, IFACE: spec.port},
        "qos_algorithm_type": "",
        "qos_algorithm_params": {},
        "locking_mode": "unlocked",
    }


def create(operation: Operation, spec: VifSpec, vm: str, network: str) -> str:
    """One call; the reference."""
    return calls.construct(operation, "VIF", f"vif{spec.device}-{spec.port}", record(spec, vm, network))


def of_vm(operation: Operation, vm: Record) -> dict[str, tuple[str, Record]]:
    """The VIFs of a VM by port id, from the cache."""
    found = {ref: operation.conn.cache.get("VIF", ref) for ref in vm["VIFs"]}
    return {vif["other_config"].get(PORT, ""): (ref, vif) for ref, vif in found.items() if vif is not None}


def plug(operation: Operation, servers: Servers, instance: str, specs: Iterable[VifSpec]) -> None:
    """Make the VIFs that are missing, and plug them where the guest runs; no call where all are there."""
    ref, vm = servers.await_get(instance)
    present = of_vm(operation, vm)
    missing = [spec for spec in specs if spec.port not in present]
    if not missing:
        return
    network = integration.provide(operation.conn)
    for spec in missing:
        LOG.info("server %s has no VIF for port %s; making it", instance, spec.port)
        vif = create(operation, spec, ref, network)
        operation.undo("destroy VIF", functools.partial(operation.conn.call, "VIF.destroy", vif, repeatable=True))
        if vm["power_state"] == "Running":
            operation.conn.call("VIF.plug", vif)


def unplug(operation: Operation, servers: Servers, instance: str, ports: Iterable[str]) -> None:
    """Remove the VIFs of ports; fine when the VM or the VIFs are gone."""
    operation.conn.await_in_step()
    found = servers.find(instance)
    if found is None:
        return
    present = of_vm(operation, found[1])
    for port in ports:
        if port not in present:
            continue
        vif, vif_record = present[port]
        try:
            if vif_record["currently_attached"]:
                operation.conn.call("VIF.unplug", vif, repeatable=True)
            operation.conn.call("VIF.destroy", vif, repeatable=True)
        except xapi.HandleInvalid:
            LOG.debug("VIF of port %s is gone already", port)
        except xapi.XapiError as error:
            if error.code != "DEVICE_ALREADY_DETACHED":
                raise
            operation.conn.call("VIF.destroy", vif, repeatable=True)
