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
"""The directory that stands for the root of a host's dom0, and what plug-ins look for in it (wire reference 8.2).

What the pool says is written at each start and before a program runs; what programs put there stays.
"""

from __future__ import annotations

import sys
import threading
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Final

from xapikit.host.errors import ApiError
from xapikit.host.facts import DOM0_MEMORY

if TYPE_CHECKING:
    from xapikit.host.pool import Pool
    from xapikit.host.store import Row

PLUGINS: Final = "etc/xapi.d/plugins"
EXTENSIONS: Final = "etc/xapi.d/extensions"
SR_MOUNTS: Final = "run/sr-mount"
COMMANDS: Final = ("opt/xensource/bin", "usr/local/bin", "usr/bin", "usr/sbin")
"""Where programs find commands first, before those of this machine."""
_DIRECTORIES: Final = (
    PLUGINS, EXTENSIONS, SR_MOUNTS, *COMMANDS, "boot/guest", "dev", "etc/xensource", "etc/xensource/scripts", "images",
    "opt/xensource/libexec", "opt/xensource/sm", "run/xenstored", "usr/etc", "var/lib/xcp/guest",
    "var/log/xen/guest", "var/opt",
)  # fmt: skip
_XENSTORE: Final = ("read", "write", "rm", "exists", "list", "ls", "chmod", "watch")
_LONGEST_INTERPRETER: Final = 120
_SOURCES: Final = Path(__file__).parents[3]
_VHD_UTIL: Final = """{interpreter}
import sys
sys.path.insert(0, {place!r})
from xapikit.vhd.command import main
sys.exit(main())
"""


class Dom0Directory:
    """The directories of all hosts of a pool."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._state = pool.settings.state
        self._lock = threading.Lock()

    def path(self, host_uuid: str) -> Path:
        """Where it is; made when absent."""
        root = self._state / "dom0" / host_uuid
        if not (root / PLUGINS).is_dir() or not (root / SR_MOUNTS).is_dir():
            self._make(root)
        return root

    def _make(self, root: Path) -> None:
        for directory in _DIRECTORIES:
            (root / directory).mkdir(parents=True, exist_ok=True)
        if not (root / "var/run").is_symlink():
            (root / "var/run").symlink_to("../run")

    def refresh(self, host_uuid: str) -> Path:
        """Write what the pool says now: inventory, role, mounts of SRs, commands. Returns the directory."""
        root = self.path(host_uuid)
        store = self._pool.store
        host = store.peek("host", store.by_uuid("host", host_uuid) or "")
        if host is None:
            return root
        with self._lock:
            self._commands(root)
            for name, text in self._texts(host).items():
                _write(root / name, text)
            self._mounts(root, host)
        return root

    def _commands(self, root: Path) -> None:
        text = (resources.files("xapikit.host.dom0") / "tools" / "xenstore").read_text(encoding="utf-8")
        interpreter = text.partition("\n")[0]
        if len(sys.executable) <= _LONGEST_INTERPRETER and not any(c.isspace() for c in sys.executable):
            interpreter = f"#!{sys.executable}"
        text = f"{interpreter}\n{text.partition(chr(10))[2]}"
        _write(root / "usr/bin/vhd-util", _VHD_UTIL.format(interpreter=interpreter, place=str(_SOURCES)), mode=0o755)
        program = root / "usr/bin/xenstore"
        _write(program, text, mode=0o755)
        for command in _XENSTORE:
            link = program.with_name(f"xenstore-{command}")
            if not link.is_symlink():
                link.symlink_to("xenstore")

    def _texts(self, host: Row) -> dict[str, str]:
        """Files of text by path."""
        store = self._pool.store
        dom0 = store.peek("VM", host["control_domain"])
        version = host["software_version"]
        bridge = next(
            (network["bridge"] for ref in host["PIFs"] if (pif := store.peek("PIF", ref)) is not None
             and pif["management"] and (network := store.peek("network", pif["network"])) is not None), "",
        )  # fmt: skip
        inventory = {
            "BACKUP_PARTITION": "/dev/sda2",
            "BRIDGE_PREFIX": "xenbr",
            "BUILD_NUMBER": version["build_number"],
            "CONTROL_DOMAIN_UUID": dom0["uuid"] if dom0 is not None else "",
            "COMPANY_NAME": "Open Source",
            "COMPANY_NAME_SHORT": "Open Source",
            "DOM0_MEM": str(DOM0_MEMORY // 2**20),
            "DOM0_VCPUS": str(dom0["VCPUs_max"] if dom0 is not None else 1),
            "INSTALLATION_DATE": "2026-04-01 00:00:00",
            "INSTALLATION_UUID": host["uuid"],
            "KERNEL_VERSION": version["linux"],
            "MANAGEMENT_ADDRESS_TYPE": "IPv6" if ":" in host["address"] else "IPv4",
            "MANAGEMENT_INTERFACE": bridge,
            "PLATFORM_NAME": version["platform_name"],
            "PLATFORM_VERSION": version["platform_version"],
            "PRIMARY_DISK": "/dev/sda",
            "PRODUCT_BRAND": version["product_brand"],
            "PRODUCT_NAME": "xenenterprise",
            "PRODUCT_VERSION": version["product_version"],
            "PRODUCT_VERSION_TEXT": version["product_version_text"],
            "PRODUCT_VERSION_TEXT_SHORT": version["product_version_text_short"],
            "XEN_VERSION": version["xen"],
        }
        coordinator = store.peek("host", self._pool.coordinator)
        is_coordinator = coordinator is not None and coordinator["uuid"] == host["uuid"]
        role = "master" if coordinator is None or is_coordinator else f"slave:{coordinator['address']}"
        brand = f"{version['product_brand']} release {version['product_version']} (xenenterprise)"
        return {
            "etc/xensource-inventory": "".join(f"{key}='{value}'\n" for key, value in sorted(inventory.items())),
            "etc/xensource/pool.conf": role,
            "etc/xensource/network.conf": "openvswitch\n",
            "etc/hostname": f"{host['hostname']}\n",
            "etc/redhat-release": f"{brand}\n",
        }

    def _mounts(self, root: Path, host: Row) -> None:
        """A link for each SR with files that is plugged on the host; links of others go."""
        store, wanted = self._pool.store, dict[str, Path]()
        for ref in host["PBDs"]:
            pbd = store.peek("PBD", ref)
            sr = store.peek("SR", pbd["SR"]) if pbd is not None and pbd["currently_attached"] else None
            if pbd is None or sr is None or self._pool.storage is None:
                continue
            try:
                repository = self._pool.storage.repository(pbd["SR"])
            except ApiError:
                continue  # its files are out of reach, as those of a share that does not answer
            if repository is not None:
                wanted[sr["uuid"]] = repository.directory
        mounts = root / SR_MOUNTS
        for entry in mounts.iterdir():
            if entry.is_symlink() and entry.name not in wanted:
                entry.unlink()
        for uuid, directory in wanted.items():
            link = mounts / uuid
            if not link.is_symlink() and not link.exists():
                link.symlink_to(directory)
            elif link.is_symlink() and link.readlink() != directory:
                link.unlink()
                link.symlink_to(directory)


def _write(path: Path, text: str, *, mode: int = 0o644) -> None:
    """Write a file as a whole, unless it says that already."""
    data = text.encode()
    if path.is_file() and path.read_bytes() == data:
        return
    new = path.with_name(f".{path.name}.new")
    new.write_bytes(data)
    new.chmod(mode)
    new.replace(path)
