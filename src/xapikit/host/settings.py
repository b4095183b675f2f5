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
"""How an embedded pool is set up. Plain values, resolved once; nothing else reads configuration."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

GIB = 2**30


@dataclass(frozen=True)
class Listen:
    """An address to listen on; port 0 lets the system choose. Further hosts of a pool get addresses of their own."""

    address: str
    port: int = 0

    @classmethod
    def parse(cls, text: str) -> Listen:
        """Read ``ADDR:PORT``, ``[V6]:PORT``, ``ADDR`` or ``:PORT``. Raises ValueError."""
        head, colon, tail = text.rpartition(":")
        if not colon or text.endswith("]"):
            head, tail = text, "0"
        address = head.removeprefix("[").removesuffix("]") or "127.0.0.1"
        if not tail.isdigit() or int(tail) > 65535:
            raise ValueError(f"{text!r} is not ADDRESS:PORT (port 0 to 65535)")
        return cls(address, int(tail))


@dataclass(frozen=True)
class HostSettings:
    """Settings of a pool and its server; the defaults make a host for tests."""

    state: Path
    """Directory that holds everything: journal, SRs, certificates, run files."""
    hosts: int = 1
    domains: Literal["timed", "qemu"] = "timed"
    names: tuple[str, ...] = ()
    """Names of the hosts at the first start; host1, host2... for those that have none here."""
    username: str = "root"
    memory_bytes: int = 16 * GIB
    """Memory of each host."""
    cpus: int = 8
    sync: Literal["commit", "interval", "never"] = "interval"
    """When the journal is forced to the disk: at every commit, within a second, or left to the operating system.
    Each of them survives ``kill -9``; the first also survives a power cut."""
    refusal_seconds: float = 0.0
    """How long a wrong password is left waiting for its answer; a host takes about two seconds."""
    network_backend: Literal["openvswitch", "bridge"] = "openvswitch"
    """What is below the networks: tunnels, SDN controllers and IGMP snooping need Open vSwitch."""
    options: dict[str, str] = field(default_factory=dict)
    """Further settings for kinds of domain and storage, by name."""
