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
"""What is to be made, as plain values. No references, no I/O: operations add those when they apply a description."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

NO_REF = "OpaqueRef:NULL"


@dataclass(frozen=True)
class DiskSpec:
    """A disk or CD of a guest.

    ``source`` image: a clone of the image's base; blank: an empty VDI; cd: the image itself, read-only.
    """

    role: str
    """root, swap, ephemeral0..., cd: stable, stands in the VDI's owner mark."""
    source: Literal["image", "blank", "cd"]
    position: int
    """``userdevice``: 0 is xvda."""
    name: str
    size: int = 0
    """Bytes; 0: as large as the image."""
    bootable: bool = False

    @property
    def read_only(self) -> bool:
        return self.source == "cd"


@dataclass(frozen=True)
class VifSpec:
    """A network interface of a guest."""

    device: int
    mac: str
    mtu: int
    port: str
    """Id of the Neutron port."""
    wait: bool = False
    """Whether Neutron has not reported the port as active yet."""


@dataclass(frozen=True)
class VmSpec:
    """A virtual machine without its devices."""

    name: str
    description: str
    vcpus: int
    memory: int
    """Bytes."""
    boot_order: str
    platform: Mapping[str, str]
    vcpu_params: Mapping[str, str] = field(default_factory=dict)
    xenstore_data: Mapping[str, str] = field(default_factory=dict)

    def record(self, other_config: Mapping[str, str], affinity: str) -> dict[str, Any]:
        """The record for ``VM.create``, complete: nothing needs to be set afterwards.

        All memory limits are equal: a guest that may be squeezed starts with less than its flavor promises, and
        without drivers it crashes when it touches what it does not have.
        """
        return {
            "name_label": self.name,
            "name_description": self.description,
            "user_version": 1,
            "is_a_template": False,
            "affinity": affinity,
            "memory_target": self.memory,
            "memory_static_max": self.memory,
            "memory_dynamic_max": self.memory,
            "memory_dynamic_min": self.memory,
            "memory_static_min": self.memory,
            "VCPUs_params": dict(self.vcpu_params),
            "VCPUs_max": self.vcpus,
            "VCPUs_at_startup": self.vcpus,
            "actions_after_shutdown": "destroy",
            "actions_after_reboot": "restart",
            "actions_after_crash": "destroy",
            "PV_bootloader": "",
            "PV_kernel": "",
            "PV_ramdisk": "",
            "PV_args": "",
            "PV_bootloader_args": "",
            "PV_legacy_args": "",
            "HVM_boot_policy": "BIOS order",
            "HVM_boot_params": {"order": self.boot_order, "firmware": "bios"},
            "HVM_shadow_multiplier": 1.0,
            "platform": dict(self.platform),
            "PCI_bus": "",
            "other_config": dict(other_config),
            "recommendations": "",
            "xenstore_data": dict(self.xenstore_data),
            "ha_always_run": False,
            "ha_restart_priority": "",
            "has_vendor_device": False,
            "tags": [],
        }


@dataclass(frozen=True)
class ServerSpec:
    """Everything that a server is made of, apart from its config drive."""

    vm: VmSpec
    disks: tuple[DiskSpec, ...]
    vifs: tuple[VifSpec, ...]
