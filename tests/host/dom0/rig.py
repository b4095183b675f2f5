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
"""A VM with a disk and a NIC on an embedded host, and its part of XenStore."""

import json
from dataclasses import dataclass
from typing import Any

from xapi_caller import Caller
from xapikit.host import EmbeddedHost
from xapikit.host.guests.agent import SimulatedGuest
from xapikit.host.xenstore import XenStore
from xapikit.host.xenstore.node import find, perms_texts, walk
from xapikit.host.xenstore.store import home_of

SECONDS = 10.0
MIB = 1 << 20
RECORD: dict[str, Any] = {
    "name_label": "guest", "name_description": "", "user_version": 1, "is_a_template": False,
    "affinity": "OpaqueRef:NULL", "memory_static_max": 256 * MIB, "memory_dynamic_max": 256 * MIB,
    "memory_dynamic_min": 128 * MIB, "memory_static_min": 128 * MIB, "VCPUs_params": {}, "VCPUs_max": 2,
    "VCPUs_at_startup": 1, "actions_after_shutdown": "destroy", "actions_after_reboot": "restart",
    "actions_after_crash": "destroy", "PV_bootloader": "", "PV_kernel": "", "PV_ramdisk": "", "PV_args": "",
    "PV_bootloader_args": "", "PV_legacy_args": "", "HVM_boot_policy": "BIOS order", "HVM_boot_params": {"order": "cd"},
    "platform": {"cores-per-socket": "1"}, "PCI_bus": "", "other_config": {}, "recommendations": "",
}  # fmt: skip


@dataclass
class Machine:
    """One VM; ``xapi`` must run it."""

    xapi: EmbeddedHost
    call: Caller
    vm: str

    @classmethod
    def make(cls, xapi: EmbeddedHost, call: Caller, *, devices: bool = True, **members: Any) -> "Machine":
        machine = cls(xapi, call, call("VM.create", {**RECORD, **members}))
        if devices:
            machine.disk("0")
            machine.nic("0")
        return machine

    def disk(self, position: str) -> str:
        sr = self.call("pool.get_default_SR", self.call("pool.get_all")[0])
        vdi = self.call("VDI.create", {"name_label": "d", "SR": sr, "virtual_size": 2 * MIB, "type": "user",
                                       "sharable": False, "read_only": False, "other_config": {}})  # fmt: skip
        record = {"VM": self.vm, "VDI": vdi, "userdevice": position, "bootable": True, "mode": "RW", "type": "Disk",
                  "empty": False, "other_config": {}, "qos_algorithm_type": "",
                  "qos_algorithm_params": {}}  # fmt: skip
        vbd: str = self.call("VBD.create", record)
        return vbd

    def nic(self, position: str, mac: str = "") -> str:
        network = next(iter(self.call("network.get_all")))
        record = {"device": position, "network": network, "VM": self.vm, "MAC": mac, "MTU": 1500, "other_config": {},
                  "qos_algorithm_type": "", "qos_algorithm_params": {}}  # fmt: skip
        vif: str = self.call("VIF.create", record)
        return vif

    def start(self, *, paused: bool = False) -> "Machine":
        self.call("VM.start", self.vm, paused, False)
        return self

    @property
    def uuid(self) -> str:
        uuid: str = self.call("VM.get_uuid", self.vm)
        return uuid

    @property
    def row(self) -> dict[str, Any]:
        return dict(self.xapi.pool.store.get("VM", self.vm))

    @property
    def xenstore(self) -> XenStore:
        host = self.xapi.pool.store.get("host", self.row["resident_on"])
        return self.xapi.pool.guests.xenstore(host["uuid"])

    @property
    def home(self) -> str:
        return home_of(self.row["domid"])

    def value(self, path: str) -> str:
        """A value below the domain's home, or at an absolute path."""
        return self.xenstore.value(path if path.startswith("/") else f"{self.home}/{path}", "(none)")

    def listing(self, path: str = "") -> dict[str, str]:
        """All values at and below a path of the domain, by relative path."""
        base = f"{self.home}/{path}".rstrip("/")
        node = find(self.xenstore.root, base)
        return {where[len(base) + 1 :]: found.value.decode() for where, found in walk(node, base)} if node else {}

    def perms(self, path: str) -> list[str]:
        node = find(self.xenstore.root, f"{self.home}/{path}".rstrip("/"))
        assert node is not None
        return perms_texts(node.perms)

    def write(self, path: str, value: str, *, as_guest: bool = False) -> None:
        with self.xenstore.edit(self.row["domid"] if as_guest else 0) as edit:
            edit.write(f"{self.home}/{path}", value)

    @property
    def metrics(self) -> dict[str, Any]:
        found: dict[str, Any] = self.call("VM_guest_metrics.get_record", self.row["guest_metrics"])
        return found

    @property
    def guest(self) -> SimulatedGuest:
        side = self.xapi.pool.guests.side(self.uuid)
        assert isinstance(side, SimulatedGuest)
        return side

    def until(self, **fields: Any) -> None:
        """Wait until the record of the VM says so."""
        store = self.xapi.pool.store
        assert store.wait(lambda: all(store.get("VM", self.vm)[k] == v for k, v in fields.items()), SECONDS), fields

    def ask(self, name: str, value: Any = "", request: str = "5b2e1a3c-7d0e-4b4e-9c3a-0f6d2b8e1c11") -> dict[str, str]:
        """One request to the agent of OpenStack, as its host side makes it."""
        self.write(f"data/host/{request}", json.dumps({"name": name, "value": value}))
        answer: dict[str, str] = json.loads(self.value(f"data/guest/{request}"))
        with self.xenstore.edit() as edit:
            edit.rm(f"{self.home}/data/guest/{request}")
        assert self.value(f"data/host/{request}") == "(none)"
        return answer
