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
"""Removing a server: its VM, then its disks. Can be repeated at any point; what is gone already is fine."""

from __future__ import annotations

import functools
import logging

from nova_xapi.hosts.connection import HostConnection
from nova_xapi.marks import Owner
from nova_xapi.ops import calls
from nova_xapi.ops.steps import Operation
from nova_xapi.servers import Servers

LOG = logging.getLogger(__name__)


def remove_server(conn: HostConnection, servers: Servers, instance: str, disks: bool = True) -> None:
    """Stop, destroy, and with ``disks`` destroy all VDIs that belong to the server; the image's base stays.

    Returns when the cache shows it. Raises HypervisorFailed, VirtDriverNotReady.
    """
    conn.await_in_step()
    with Operation(conn, "destroy", instance) as operation:
        vms = [ref for ref, _ in servers.of(instance)]
        with operation.step("VM"):
            for vm in vms:
                calls.remove_vm(conn, vm)
        vdis = owned_vdis(conn, instance) if disks else []
        with operation.step("disks"):
            if vdis:
                operation.together([functools.partial(calls.remove_vdi, conn, vdi) for vdi in vdis])
        with operation.step("completing"):
            conn.wait(lambda cache: not any(cache.get("VM", vm) for vm in vms))
        if not vms and not vdis:
            LOG.info("server %s: there is nothing to remove", instance)


def owned_vdis(conn: HostConnection, instance: str) -> list[str]:
    """References of the VDIs that belong to a server of this service, attached or not."""
    found = []
    for ref, record in conn.cache.records("VDI").items():
        owner: Owner | None = conn.maker.owns(record)
        if owner is not None and owner.instance == instance:
            found.append(ref)
    return found
