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
"""The embedded pool: one `xapi-host` process that serves the demo's hosts over https."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from threading import Event

from nova_xapi.demo.errors import DemoError
from nova_xapi.demo.jobs import Note
from nova_xapi.demo.layout import HOSTS, LOOPBACK
from nova_xapi.demo.services import Service, Services

NAME = "xapi-host"


@dataclass(frozen=True)
class Pool:
    """Where the hosts are: one URL per host, the first is the coordinator's; SHA-256 of their certificate."""

    urls: list[str]
    fingerprint: str


def service(services: Services) -> Service:
    """`xapi-host serve`, its line for programs in STATE/run/xapi-host.ready."""
    state = services.state
    argv = [
        sys.executable,
        "-m",
        "xapikit.host.cli",
        "serve",
        "--hosts",
        str(HOSTS),
        "--https",
        f"{LOOPBACK}:{state.ports['xapi-host']}",
        "--state",
        str(state.data / "xapi"),
        "--password-file",
        str(password_file(services)),
        "--domains",
        "qemu",
        # what each host has to offer, whatever this machine has: guests are small
        "--memory",
        "8",
        "--cpus",
        "4",
        # `demo down` leaves no guest running
        "--stop-guests",
        "--json",
    ]
    return Service(NAME, "Embedded XAPI pool", argv, port="xapi-host", ready=lambda: read_pool(services) is not None)


def password_file(services: Services) -> str:
    path = services.state.etc / "xapi-password"
    services.state.write(path, services.state.secrets()["xapi"] + "\n")
    return str(path)


def read_pool(services: Services) -> Pool | None:
    """What the running server said when it became ready; None before that."""
    path = services.state.run / f"{NAME}.ready"
    if not path.exists():
        return None
    for line in path.read_text().splitlines():
        if line.startswith("{"):
            said = json.loads(line)
            if said.get("ready"):
                return Pool([str(url) for url in said["urls"]], str(said["fingerprint"]))
    return None


def start(services: Services, note: Note, stop: Event) -> Pool:
    """Start the pool unless it runs, and say where it is."""
    if not services.processes.alive(NAME):
        services.state.ports.check_free(["xapi-host"])
        (services.state.run / f"{NAME}.ready").unlink(missing_ok=True)
    one = service(services)
    services.processes.start(NAME, one.argv, services.environment(), output=services.state.run / f"{NAME}.ready")
    services.processes.wait_ready(NAME, one.ready, 60, stop)
    pool = read_pool(services)
    if pool is None or len(pool.urls) < HOSTS:
        raise DemoError(f"xapi-host serves {pool.urls if pool else 'nothing'}, {HOSTS} hosts were wanted")
    note(", ".join(pool.urls))
    return pool


def driver_options(pool: Pool) -> dict[str, str]:
    """What the driver's [xenserver] section needs beside URL and password: the certificate it may trust."""
    return {"connection_fingerprint": pool.fingerprint}
