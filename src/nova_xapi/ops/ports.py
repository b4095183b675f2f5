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
"""Starting a guest whose ports Neutron has yet to wire.

A VIF exists in dom0's Open vSwitch only while there is a domain. So the guest is started paused, its ports are waited
for, and only then its CPUs run: its first DHCP request meets a network that is there.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from nova import exception

from nova_xapi.ops import calls
from nova_xapi.ops.steps import Operation
from nova_xapi.spec.values import VifSpec

LOG = logging.getLogger(__name__)

EVENT = "network-vif-plugged"


def start_and_wait(operation: Operation, virtapi: Any, instance: Any, vm: str, vifs: Sequence[VifSpec]) -> None:
    """Start ``vm`` on the bound host; started when this returns, which the cache may show later.

    Raises VirtualInterfaceCreateException when a port does not become active in time, or at once when Neutron reports
    its failure, if ``vif_plugging_is_fatal``.
    """
    conn = operation.conn
    settings = conn.settings
    waiting = [vif for vif in vifs if vif.wait] if settings.vif_plugging_timeout else []
    if not waiting:
        with operation.step("start"):
            start(operation, vm, paused=False)
        return

    def failed(event_name: str, _instance: Any) -> bool:
        LOG.error("Neutron reports that %s failed for server %s", event_name, instance.uuid)
        if settings.vif_plugging_is_fatal:
            raise exception.VirtualInterfaceCreateException()
        return True

    events = [(EVENT, vif.port) for vif in waiting]
    try:
        with virtapi.wait_for_instance_event(instance, events, settings.vif_plugging_timeout, error_callback=failed):
            with operation.step("start paused"):
                start(operation, vm, paused=True)
            operation.at("waiting for ports")
    except exception.InstanceEventTimeout:
        ports = ", ".join(vif.port for vif in waiting)
        LOG.warning(
            "server %s: ports %s were not reported active within %d s",
            instance.uuid,
            ports,
            settings.vif_plugging_timeout,
        )
        if settings.vif_plugging_is_fatal:
            raise exception.VirtualInterfaceCreateException() from None
    with operation.step("unpause"):
        calls.change_power(conn, "VM.unpause", vm, reached=("running",))


def start(operation: Operation, vm: str, paused: bool) -> None:
    """``VM.start_on`` the bound host (affinity is only a preference). The caller waits for the cache to show it."""
    conn = operation.conn
    calls.change_power(conn, "VM.start_on", vm, conn.host_ref, paused, False, reached=("running", "paused"))
