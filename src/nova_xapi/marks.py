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
"""The marks that say whose an object in the pool is.

Pools are shared with people and with other compute services, and a halted VM is resident nowhere. So every object that
this driver makes carries in ``other_config`` which service made it, for which host and server, and in which operation.
Listing, clean-up and reaping touch only what carries one's own mark.

=======================  ==========================================================================================
VM, VBD, VIF, network     one key per fact, written with the record when the object is created
VDI                       one key with all facts: a VDI made by cloning a base gets it in one atomic call, see
                          :mod:`nova_xapi.ops.clones`
=======================  ==========================================================================================
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

INSTANCE = "nova_uuid"
"""On VMs: UUID of the server. The key that tools know from the driver in older Nova."""
SERVICE = "nova_xapi_service"
HOST = "nova_xapi_host"
OPERATION = "nova_xapi_operation"
"""On what an operation made: its id and step. Recognizes an object whose constructor's answer was lost."""
UNFINISHED = "nova_xapi_unfinished"
"""On a VM that an operation is still making: its id. A VM that has it when its maker is gone is reaped."""
OWNER = "nova_xapi_owner"
"""On VDIs of servers: :class:`Owner` as text."""
BASE = "nova_xapi_base"
"""On base VDIs of cached images: their own uuid. Clones inherit it, which is how a clone nobody claimed is told."""
PORT = "neutron-port-id"
IFACE = "nicira-iface-id"
"""Read by the OVSDB helper in dom0 of older hosts: becomes ``external_ids:iface-id``."""


@dataclass(frozen=True)
class Owner:
    """Who a VDI belongs to. ``role``: root, swap, ephemeral0..., config."""

    service: str
    host_uuid: str
    instance: str
    operation: str
    role: str

    def text(self) -> str:
        # a service's name may hold anything but comes last
        return " ".join((self.instance, self.role, self.operation, self.host_uuid, self.service))

    @classmethod
    def parse(cls, text: str) -> Owner | None:
        """None for what is no such text: not ours."""
        words = text.split(" ", 4)
        if len(words) != 5:
            return None
        instance, role, operation, host_uuid, service = words
        return cls(service, host_uuid, instance, operation, role)

    @classmethod
    def of(cls, vdi: Mapping[str, Any]) -> Owner | None:
        """The owner of a VDI record, None where it has none."""
        text = vdi["other_config"].get(OWNER)
        return None if text is None else cls.parse(text)


@dataclass(frozen=True)
class Maker:
    """The service on whose behalf objects are made: its name and the uuid of its XAPI host."""

    service: str
    host_uuid: str

    def marks(self, operation: str, step: str) -> dict[str, str]:
        """For ``other_config`` of a record that is about to be created."""
        return {SERVICE: self.service, HOST: self.host_uuid, OPERATION: f"{operation}/{step}"}

    def made(self, record: Mapping[str, Any]) -> bool:
        """Whether a record carries this service's marks."""
        other = record["other_config"]
        return bool(other.get(SERVICE) == self.service and other.get(HOST) == self.host_uuid)

    def owns(self, vdi: Mapping[str, Any]) -> Owner | None:
        """The owner mark of a VDI, if it is this service's."""
        owner = Owner.of(vdi)
        mine = owner is not None and owner.service == self.service and owner.host_uuid == self.host_uuid
        return owner if mine else None

    def owner(self, instance: str, operation: str, role: str) -> Owner:
        return Owner(self.service, self.host_uuid, instance, operation, role)
