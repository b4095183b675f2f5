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
"""Making a server.

========================================  ============================================================================
disks, at the same time as the VM         VDI.clone, claim, VDI.resize, name; VDI.create for blank ones; config drive
record                                    VM.create with everything in it
devices, all at the same time             VBD.create, VIF.create
start                                     VM.start_on this host; paused while ports are waited for, then VM.unpause
done                                      the mark "unfinished" is taken off
========================================  ============================================================================
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nova import exception
from nova.virt import configdrive as nova_configdrive
from oslo_utils import strutils

from nova_xapi.hosts.connection import HostConnection
from nova_xapi.image.cache import Base, ImageCache
from nova_xapi.marks import INSTANCE, OWNER, UNFINISHED
from nova_xapi.network import integration, vifs
from nova_xapi.ops import calls, clones, ports
from nova_xapi.ops.remove import remove_server
from nova_xapi.ops.steps import Operation
from nova_xapi.servers import Servers, in_state
from nova_xapi.spec.disks import CONFIG_DRIVE
from nova_xapi.spec.server import describe
from nova_xapi.spec.values import DiskSpec, ServerSpec
from nova_xapi.storage import configdrive, sr
from xapikit.client import EventCache

LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Request:
    """What Nova asks for."""

    context: Any
    instance: Any
    image_meta: Any
    injected_files: Sequence[tuple[str, Any]]
    admin_password: str | None
    network_info: Any
    block_device_info: Mapping[str, Any] | None
    power_on: bool = True


@dataclass(frozen=True)
class Attachment:
    """A disk that is there, and how the guest sees it."""

    vdi: str
    position: int
    kind: str
    bootable: bool

    def record(self, vm: str) -> dict[str, Any]:
        """For ``VBD.create``."""
        cd = self.kind == "CD"
        return {
            "VM": vm,
            "VDI": self.vdi,
            "userdevice": str(self.position),
            "bootable": self.bootable,
            "mode": "RO" if cd else "RW",
            "type": self.kind,
            "unpluggable": not cd,
            "empty": False,
            "other_config": {},
            "qos_algorithm_type": "",
            "qos_algorithm_params": {},
        }


class Spawn:
    """Makes servers for one service."""

    def __init__(self, conn: HostConnection, servers: Servers, images: ImageCache, virtapi: Any) -> None:
        self._conn = conn
        self._servers = servers
        self._images = images
        self._virtapi = virtapi

    def __call__(self, request: Request) -> None:
        """Returns when the guest runs (or is there, halted, without ``power_on``).

        Raises what :func:`nova_xapi.spec.server.describe`, choosing the SR and providing the image raise;
        InstanceExists; VirtualInterfaceCreateException when ports do not become active;
        ComputeResourcesUnavailable when the host has no room; HypervisorFailed for anything else that the host
        refuses. Nothing is left then.
        """
        conn, instance = self._conn, request.instance
        conn.await_in_step()
        self._make_way(instance)
        self._check_host(instance)
        spec = describe(instance, request.image_meta, request.network_info, request.block_device_info)
        sr_ref, _ = sr.choose(conn)
        with Operation(conn, "spawn", instance.uuid) as operation:
            base = self._base(operation, request, spec, sr_ref)
            with operation.step("VM and disks"):
                vm, attachments = self._vm_and_disks(operation, request, spec, sr_ref, base)
            with operation.step("devices"):
                self._devices(operation, vm, spec, attachments)
            if request.power_on:
                ports.start_and_wait(operation, self._virtapi, instance, vm, spec.vifs)
            with operation.step("completing"):
                conn.call("VM.remove_from_other_config", vm, UNFINISHED, repeatable=True)
                wanted = "Running" if request.power_on else "Halted"
                conn.wait(lambda cache: _is_complete(cache, vm, wanted), conn.settings.running_timeout)
        LOG.info("server %s is there as VM %r", instance.uuid, spec.vm.name)

    def _make_way(self, instance: Any) -> None:
        """Remove what an earlier attempt left that did not come to its end. Raises InstanceExists."""
        busy = self._conn.running.operations()
        for _, record in self._servers.of(instance.uuid):
            maker = record["other_config"].get(UNFINISHED)
            if maker is None or maker in busy:
                raise exception.InstanceExists(name=instance.name)
        if self._servers.find(instance.uuid):
            remove_server(self._conn, self._servers, instance.uuid)

    def _check_host(self, instance: Any) -> None:
        """What no other moment would tell before an image is fetched. Raises ComputeResourcesUnavailable."""
        host = self._conn.host
        cpus = int(host["cpu_info"].get("cpu_count", 0))
        if 0 < cpus < instance.flavor.vcpus:
            reason = f"flavor {instance.flavor.name} has {instance.flavor.vcpus} vCPUs, the host has {cpus} CPUs"
            raise exception.ComputeResourcesUnavailable(reason=reason)
        if not host["enabled"]:
            raise exception.ComputeResourcesUnavailable(reason=f"host {host['name_label']} is disabled")

    def _base(self, operation: Operation, request: Request, spec: ServerSpec, sr_ref: str) -> Base | None:
        if not any(disk.source in ("image", "cd") for disk in spec.disks):
            return None
        if not self._is_cached(request.instance):
            return None
        with operation.step("image"):
            root_gb = request.instance.flavor.root_gb
            return self._images.provide(
                request.context, request.image_meta, sr_ref, root_gb, trusted_certs=request.instance.trusted_certs
            )

    def _is_cached(self, instance: Any) -> bool:
        """Whether the server's disk is a clone of a base copy, or the image is fetched for it alone."""
        wanted = self._conn.settings.cache_images
        if wanted == "some":
            return strutils.bool_from_string(instance.system_metadata.get("image_cache_in_nova"))
        return wanted == "all"

    # ---------------------------------------------------------------------------------------------- parts

    def _vm_and_disks(
        self, operation: Operation, request: Request, spec: ServerSpec, sr_ref: str, base: Base | None
    ) -> tuple[str, list[Attachment]]:
        actions: list[Callable[[], Any]] = [functools.partial(self._vm, operation, request, spec)]
        actions += [functools.partial(self._disk, operation, request, disk, sr_ref, base) for disk in spec.disks]
        if nova_configdrive.required_by(request.instance):
            actions.append(functools.partial(self._config_drive, operation, request, spec, sr_ref))
        vm, *attachments = operation.together(actions)
        return vm, attachments

    def _vm(self, operation: Operation, request: Request, spec: ServerSpec) -> str:
        other_config = {INSTANCE: request.instance.uuid, UNFINISHED: operation.id}
        vm = calls.construct(operation, "VM", "vm", spec.vm.record(other_config, self._conn.host_ref))
        # before its disks: a disk is not let go of while the VM runs
        operation.undo("remove VM", lambda: calls.remove_vm(self._conn, vm), rank=1)
        return vm

    def _disk(
        self, operation: Operation, request: Request, disk: DiskSpec, sr_ref: str, base: Base | None
    ) -> Attachment:
        if disk.source == "blank":
            return self._blank(operation, disk, sr_ref)
        if base is None:
            return self._fetched(operation, request, disk, sr_ref)
        if disk.source == "cd":
            # the image itself: read-only, any number of guests may have it
            return Attachment(base.ref, disk.position, "CD", disk.bootable)
        vdi = clones.clone(self._conn, base.ref, base.uuid, operation.owner(disk.role))
        operation.undo("remove root disk", lambda: calls.remove_vdi(self._conn, vdi))
        if disk.size > base.vdi_size:
            self._conn.call("VDI.resize", vdi, disk.size, repeatable=True)
        self._conn.call("VDI.set_name_label", vdi, disk.name, repeatable=True)
        return Attachment(vdi, disk.position, "Disk", disk.bootable)

    def _fetched(self, operation: Operation, request: Request, disk: DiskSpec, sr_ref: str) -> Attachment:
        """The image itself, fetched for this server alone."""
        fetched = self._images.provide_private(
            request.context, request.image_meta, sr_ref, request.instance.flavor.root_gb, label=disk.name,
            other_config={OWNER: operation.owner(disk.role).text()}, trusted_certs=request.instance.trusted_certs,
        )  # fmt: skip
        operation.undo(f"remove {disk.role} disk", lambda: calls.remove_vdi(self._conn, fetched.ref))
        if disk.source == "image" and disk.size > fetched.vdi_size:
            self._conn.call("VDI.resize", fetched.ref, disk.size, repeatable=True)
        return Attachment(fetched.ref, disk.position, "CD" if disk.source == "cd" else "Disk", disk.bootable)

    def _blank(self, operation: Operation, disk: DiskSpec, sr_ref: str) -> Attachment:
        record = {
            "name_label": disk.name,
            "name_description": disk.role,
            "SR": sr_ref,
            "virtual_size": disk.size,
            "type": "user",
            "sharable": False,
            "read_only": False,
            "other_config": {OWNER: operation.owner(disk.role).text()},
            "xenstore_data": {},
            "sm_config": {},
            "tags": [],
        }
        vdi = calls.construct(operation, "VDI", disk.role, record)
        operation.undo(f"remove {disk.role} disk", lambda: calls.remove_vdi(self._conn, vdi))
        return Attachment(vdi, disk.position, "Disk", disk.bootable)

    def _config_drive(self, operation: Operation, request: Request, spec: ServerSpec, sr_ref: str) -> Attachment:
        iso = configdrive.contents(
            request.instance, request.network_info, request.injected_files, request.admin_password
        )
        other_config = {OWNER: operation.owner("config").text()}
        vdi = configdrive.create(
            self._conn.client, sr_ref, iso, name=spec.vm.name, other_config=other_config, mark=OWNER
        )
        operation.undo("remove config drive", lambda: calls.remove_vdi(self._conn, vdi))
        return Attachment(vdi, CONFIG_DRIVE, "CD", False)

    def _devices(self, operation: Operation, vm: str, spec: ServerSpec, attachments: Sequence[Attachment]) -> None:
        """VBDs and VIFs need no undo of their own: they go with the VM."""
        network = integration.provide(self._conn) if spec.vifs else ""
        actions: list[Callable[[], str]] = [
            functools.partial(calls.construct, operation, "VBD", f"vbd{one.position}", one.record(vm))
            for one in attachments
        ]
        actions += [functools.partial(vifs.create, operation, vif, vm, network) for vif in spec.vifs]
        if actions:
            operation.together(actions)


def _is_complete(cache: EventCache, vm: str, power_state: str) -> bool:
    """Whether the cache shows the VM as done: until then it looks like one whose maker has died."""
    record = cache.get("VM", vm)
    done = record is not None and UNFINISHED not in record["other_config"]
    return done and in_state(cache, vm, power_state)
