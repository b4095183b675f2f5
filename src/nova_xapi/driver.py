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
"""``compute_driver = xenapi.XenAPIDriver``: what Nova calls, each method a line or two of delegation.

Methods that are not here are as Nova's base class has them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import nova.conf
from nova import exception
from nova.console import type as console_type
from nova.virt import driver, hardware, node

from nova_xapi import conf as options
from nova_xapi import settings
from nova_xapi.hosts import diagnostics, facts, inventory
from nova_xapi.network import vifs
from nova_xapi.ops.remove import remove_server
from nova_xapi.ops.spawn import Request
from nova_xapi.ops.steps import Operation
from nova_xapi.servers import POWER_STATES, Servers, state_of
from nova_xapi.service import ComputeService
from nova_xapi.spec import disks, naming
from nova_xapi.spec.vifs import vifs as vif_specs
from nova_xapi.storage import sr
from xapikit.client import errors as xapi

options.register(nova.conf.CONF)

CONSOLE_BYTES = 100 << 10
"""Most of a console log that is handed out; the API cuts further."""


class XenAPIDriver(driver.ComputeDriver):
    """Servers on one XAPI host."""

    capabilities = dict(
        driver.ComputeDriver.capabilities,
        supports_image_type_iso=True,
        supports_image_type_raw=True,
        supports_image_type_vhd=True,
        supports_trusted_certs=True,
    )

    def __init__(self, virtapi: Any) -> None:
        super().__init__(virtapi)
        self._service: ComputeService | None = None
        self._node_uuid: str | None = None

    @property
    def service(self) -> ComputeService:
        """Raises VirtDriverNotReady before ``init_host``."""
        if self._service is None:
            raise exception.VirtDriverNotReady()
        return self._service

    # ------------------------------------------------------------------------------ life of the service

    def init_host(self, host: str) -> None:
        """Raises what keeps the service from starting: see :meth:`nova_xapi.service.ComputeService.start`."""
        resolved = settings.resolve(nova.conf.CONF, host)
        service = ComputeService(resolved, self.virtapi, self.emit_event)
        service.start()
        self._service = service

    def cleanup_host(self, host: str) -> None:
        service, self._service = self._service, None
        if service is not None:
            service.stop()

    # ------------------------------------------------------------------------------- listing and state

    def list_instances(self) -> list[str]:
        return [str(vm["name_label"]) for _, vm in self._servers_now().all()]

    def list_instance_uuids(self) -> list[str]:
        return sorted(self._servers_now().uuids())

    def get_num_instances(self) -> int:
        return len(self._servers_now().uuids())

    def instance_exists(self, instance: Any) -> bool:
        return self._servers_now().find(instance.uuid) is not None

    def get_info(self, instance: Any, use_cache: bool = True) -> Any:
        if use_cache:
            ref, vm = self._servers_now().get(instance.uuid)
            return hardware.InstanceInfo(state=state_of(vm), internal_id=ref)
        ref, _ = self.service.servers.await_get(instance.uuid)
        try:
            state = self.service.conn.call("VM.get_power_state", ref)
        except xapi.HandleInvalid:
            raise exception.InstanceNotFound(instance_id=instance.uuid) from None
        return hardware.InstanceInfo(state=POWER_STATES[state], internal_id=ref)

    def get_instance_diagnostics(self, instance: Any) -> Any:
        return diagnostics.collect(self.service.conn, self._servers_now(), instance.uuid)

    def get_diagnostics(self, instance: Any) -> dict[str, Any]:
        return diagnostics.as_mapping(self.service.conn, self._servers_now(), instance.uuid)

    # ----------------------------------------------------------------------------------- create, delete

    def spawn(
        self, context: Any, instance: Any, image_meta: Any, injected_files: Any, admin_password: Any, allocations: Any,
        network_info: Any = None, block_device_info: Any = None, power_on: bool = True, accel_info: Any = None,
    ) -> None:  # fmt: skip
        request = Request(
            context=context,
            instance=instance,
            image_meta=image_meta,
            injected_files=injected_files or (),
            admin_password=admin_password,
            network_info=network_info,
            block_device_info=block_device_info,
            power_on=power_on,
        )
        self.service.spawn(request)

    def destroy(
        self, context: Any, instance: Any, network_info: Any, block_device_info: Any = None,
        destroy_disks: bool = True, destroy_secrets: bool = True,
    ) -> None:  # fmt: skip
        remove_server(self.service.conn, self.service.servers, instance.uuid, destroy_disks)
        self.service.recorder.forget(instance.uuid)

    def cleanup(
        self, context: Any, instance: Any, network_info: Any, block_device_info: Any = None,
        destroy_disks: bool = True, migrate_data: Any = None, destroy_vifs: bool = True, destroy_secrets: bool = True,
    ) -> None:  # fmt: skip
        self.destroy(context, instance, network_info, block_device_info, destroy_disks, destroy_secrets)

    # ----------------------------------------------------------------------------- power and run state

    def power_on(
        self, context: Any, instance: Any, network_info: Any, block_device_info: Any = None, accel_info: Any = None,
        share_info: Any = None,
    ) -> None:  # fmt: skip
        self.service.power.on(instance.uuid)

    def power_off(self, instance: Any, timeout: int = 0, retry_interval: int = 0) -> None:
        self.service.power.off(instance.uuid, timeout, retry_interval)

    def reboot(
        self, context: Any, instance: Any, network_info: Any, reboot_type: str, block_device_info: Any = None,
        bad_volumes_callback: Any = None, accel_info: Any = None, share_info: Any = None,
    ) -> None:  # fmt: skip
        self.service.power.reboot(instance.uuid, hard=reboot_type == "HARD")

    def resume_state_on_host_boot(
        self, context: Any, instance: Any, network_info: Any, share_info: Any, block_device_info: Any = None
    ) -> None:
        # asked at start for servers that ran when Nova last looked, with [DEFAULT] resume_guests_state_on_host_boot
        self.service.power.on(instance.uuid)

    def pause(self, instance: Any) -> None:
        self.service.power.pause(instance.uuid)

    def unpause(self, instance: Any) -> None:
        self.service.power.unpause(instance.uuid)

    # ------------------------------------------------------------------------------------------ images

    def cache_image(self, context: Any, image_id: str) -> bool:
        service = self.service
        if service.settings.cache_images == "none":
            raise NotImplementedError()
        service.conn.await_in_step()
        sr_ref, _ = sr.choose(service.conn)
        return service.images.fetch(context, image_id, sr_ref)

    # ---------------------------------------------------------------------------------------- consoles

    def get_console_output(self, context: Any, instance: Any) -> bytes:
        # a log is of the past by its nature: it is readable also while the host is away
        self.service.servers.get(instance.uuid)
        return self.service.recorder.tail(instance.uuid, CONSOLE_BYTES) or b""

    def get_vnc_console(self, context: Any, instance: Any) -> Any:
        self._servers_now().get(instance.uuid)
        relay = self.service.relay
        return console_type.ConsoleVNC(relay.host, relay.port, relay.path(instance.uuid))

    # ----------------------------------------------------------------------------------------- devices

    def plug_vifs(self, instance: Any, network_info: Any) -> None:
        with Operation(self.service.conn, "plug VIFs", instance.uuid) as operation:
            vifs.plug(operation, self.service.servers, instance.uuid, vif_specs(network_info))

    def unplug_vifs(self, instance: Any, network_info: Any) -> None:
        ports = [port["id"] for port in network_info or ()]
        with Operation(self.service.conn, "unplug VIFs", instance.uuid) as operation:
            vifs.unplug(operation, self.service.servers, instance.uuid, ports)

    def default_root_device_name(self, instance: Any, image_meta: Any, root_bdm: Any) -> str:
        return disks.device_name(disks.ROOT)

    def default_device_names_for_instance(
        self, instance: Any, root_device_name: str, *block_device_lists: Sequence[Any]
    ) -> None:
        for device, name in naming.assign(*block_device_lists):
            if device.device_name != name:
                device.device_name = name
                device.save()

    def get_device_name_for_instance(self, instance: Any, bdms: Iterable[Any], block_device_obj: Any) -> str:
        taken = {disks.position_of(one.device_name or "") for one in bdms}
        chosen = disks.position_of(block_device_obj.device_name or "")
        return disks.device_name(naming.next_free(taken) if chosen is None or chosen in taken else chosen)

    # -------------------------------------------------------------------------------------------- host

    def get_available_nodes(self, refresh: bool = False) -> list[str]:
        self.service.conn.require_in_step()
        return [self.service.settings.host]

    def get_nodenames_by_uuid(self, refresh: bool = False) -> dict[str, str]:
        # asked once: Nova keeps the answer for the whole process, in which several services can live
        self._node_uuid = self._node_uuid or node.get_local_node_uuid()
        return {self._node_uuid: self.get_available_nodes()[0]}

    def get_host_ip_addr(self) -> str:
        return facts.ip_address(self.service.conn.host)

    def get_host_uptime(self) -> str:
        return facts.uptime(self.service.conn)

    def get_available_resource(self, nodename: str) -> dict[str, Any]:
        mine = dict(self._servers_now().all())
        return facts.resource(self.service.conn, sr.choose(self.service.conn)[1], mine)

    def update_provider_tree(
        self, provider_tree: Any, nodename: str, allocations: Mapping[str, Any] | None = None
    ) -> None:
        mine = dict(self._servers_now().all())
        _, storage = sr.choose(self.service.conn)
        reserved_gb = self._get_reserved_host_disk_gb_from_config()
        inventory.update(provider_tree, self.service.conn, storage, mine, self._get_allocation_ratios, reserved_gb)

    def _servers_now(self) -> Servers:
        """For answers of the present: raises VirtDriverNotReady while the cache is behind."""
        self.service.conn.require_in_step()
        return self.service.servers
