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
"""What the demo puts into the cloud, through OpenStack's public APIs only: image, flavor, network, key, servers."""

from __future__ import annotations

import base64
import hashlib
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from threading import Event
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from nova_xapi.demo.catalog import connect
from nova_xapi.demo.configs import compute_host
from nova_xapi.demo.errors import DemoError
from nova_xapi.demo.jobs import Note
from nova_xapi.demo.layout import HOSTS, State
from nova_xapi.demo.processes import Processes

IMAGE, FLAVOR, NETWORK, KEY = "demo-linux", "demo.small", "demo", "demo"
SERVERS = tuple(f"demo{number}" for number in range(1, HOSTS + 1))
# megabytes, cores, gigabytes
RAM, VCPUS, DISK = 256, 1, 1
SUBNET = "10.77.0.0/24"
BUILD_TIMEOUT = 300.0
# Nova's number for a power state
RUNNING = 1

# Runs in the guest: what it prints can be printed by nobody who has not read the config drive and run it.
USER_DATA = """\
#!/bin/sh
nonce={nonce}
sum=$(printf %s "$nonce" | sha256sum | cut -d' ' -f1)
for nic in /sys/class/net/e*; do
  echo "{marker} sha256=$sum hostname=$(hostname) mac=$(cat "$nic/address")"
done
"""
MARKER = "nova-xapi-demo:"


@dataclass(frozen=True)
class Proof:
    """The line that a guest has to print."""

    nonce: str
    hostname: str
    mac: str

    @property
    def line(self) -> str:
        digest = hashlib.sha256(self.nonce.encode()).hexdigest()
        return f"{MARKER} sha256={digest} hostname={self.hostname} mac={self.mac}"


def nonce_of_run(state: State) -> str:
    """This state directory's nonce, made with its servers."""
    known = state.recall("servers").get("nonce")
    if not known:
        known = secrets.token_hex(16)
        state.remember("servers", {"nonce": known})
    return str(known)


def wait_until(
    state: State, what: str, probe: Callable[[], bool], timeout: float, stop: Event, interval: float = 1.0
) -> None:
    """Ask `probe` until it says yes: OpenStack's APIs have no event to wait for. Raises DemoError after `timeout` s,
    and ServiceFailed as soon as a service has died, since then nobody would say yes."""
    processes = Processes(state.root)
    deadline = time.monotonic() + timeout
    while not probe():
        processes.check_alive()
        if time.monotonic() > deadline:
            raise DemoError(f"{what}: not within {timeout:.0f} s", "see what the services say: nova-xapi demo status")
        if stop.wait(interval):
            raise DemoError(f"stopped waiting: {what}")


def ensure_key(state: State, note: Note) -> str:
    """The demo's ssh key STATE/id_ed25519, registered with Nova."""
    path = state.root / "id_ed25519"
    if not path.exists():
        key = Ed25519PrivateKey.generate()
        text = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
        )
        state.write(path, text.decode())
    private = serialization.load_ssh_private_key(path.read_bytes(), None)
    public = private.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    compute = connect(state).compute
    if not compute.find_keypair(KEY):
        compute.create_keypair(name=KEY, public_key=f"{public.decode()} demo")
    return str(path)


def ensure_flavor(state: State, note: Note) -> None:
    compute = connect(state).compute
    if not compute.find_flavor(FLAVOR):
        compute.create_flavor(name=FLAVOR, ram=RAM, vcpus=VCPUS, disk=DISK)


def ensure_network(state: State, note: Note) -> str:
    """A network whose addresses guests learn from their config drive (there is no DHCP agent)."""
    network = connect(state).network
    net = network.find_network(NETWORK) or network.create_network(name=NETWORK)
    if not network.find_subnet(NETWORK):
        network.create_subnet(
            network_id=net.id, name=NETWORK, ip_version=4, cidr=SUBNET, gateway_ip=None, is_dhcp_enabled=False
        )
    return SUBNET


def ensure_image(state: State, vhd: Path, digest: str, note: Note) -> str:
    """Upload the guest as a VHD; an image of other content under the same name is replaced."""
    image_api = connect(state).image
    for image in image_api.images(name=IMAGE):
        if image.status == "active" and image.properties.get("nova_xapi_demo_sha256") == digest:
            return "as before"
        image_api.delete_image(image)
    note(f"uploading {vhd.stat().st_size >> 20} MiB")
    image = image_api.create_image(
        name=IMAGE,
        filename=str(vhd),
        disk_format="vhd",
        container_format="bare",
        visibility="public",
        # the SDK's own check would ask for the sum before it uploads; Glance computes one anyway
        validate_checksum=False,
        nova_xapi_demo_sha256=digest,
    )
    return f"{vhd.stat().st_size >> 20} MiB"


def wait_computes(state: State, note: Note, stop: Event) -> None:
    """Until each host's compute service is up and mapped to its cell."""
    compute = connect(state).compute
    wanted = {compute_host(number) for number in range(1, HOSTS + 1)}
    records = {host: Processes(state.root).record(f"nova-{host}") for host in wanted}

    def fresh(service: Any) -> bool:
        """It has reported since it was started, not only before it was stopped a moment ago."""
        record = records.get(service.host)
        if record is None or service.state != "up" or not service.updated_at:
            return False
        return datetime.fromisoformat(service.updated_at).replace(tzinfo=timezone.utc).timestamp() >= record.began

    def up() -> bool:
        found = {service.host for service in compute.services(binary="nova-compute") if fresh(service)}
        listed = {hypervisor.service_details["host"] for hypervisor in compute.hypervisors(details=True)}
        note(f"up: {', '.join(sorted(found)) or 'none'}; listed: {', '.join(sorted(listed)) or 'none'}")
        return wanted <= found and wanted <= listed

    wait_until(state, "compute services up and discovered", up, 180, stop)


def ensure_servers(state: State, note: Note, stop: Event) -> None:
    """One server per host, active; what an earlier run left stopped is started, what it left broken is replaced."""
    connection = connect(state)
    nonce = nonce_of_run(state)
    for number, name in enumerate(SERVERS, start=1):
        server = connection.compute.find_server(name, details=True)
        if server is not None and server.status == "ERROR":
            note(f"{name} is broken, replacing it")
            connection.compute.delete_server(server)
            connection.compute.wait_for_delete(server, wait=120)
            server = None
        if server is None:
            create_server(connection, name, compute_host(number), nonce)
    pending = list(SERVERS)

    def all_active() -> bool:
        for name in list(pending):
            server = connection.compute.find_server(name, ignore_missing=False, details=True)
            if server.status == "ERROR":
                raise DemoError(
                    f"server {name} failed: {(server.fault or {}).get('message', 'Nova gives no reason')}",
                    "more in: nova-xapi demo logs nova-compute1, nova-compute2, nova-scheduler",
                )
            if server.status == "ACTIVE" and server.power_state == RUNNING:
                pending.remove(name)
            elif server.status == "SHUTOFF" and server.task_state is None:
                # Nova found its guest halted after the pool was killed, which takes it a moment
                connection.compute.start_server(server)
            else:
                note(f"{name}: {(server.task_state or server.status).lower()}")
        return not pending

    wait_until(state, "servers active", all_active, BUILD_TIMEOUT, stop, interval=0.5)


def create_server(connection: Any, name: str, host: str, nonce: str) -> None:
    user_data = USER_DATA.format(nonce=nonce, marker=MARKER)
    connection.compute.create_server(
        name=name,
        image_id=connection.image.find_image(IMAGE, ignore_missing=False).id,
        flavor_id=connection.compute.find_flavor(FLAVOR, ignore_missing=False).id,
        networks=[{"uuid": connection.network.find_network(NETWORK, ignore_missing=False).id}],
        key_name=KEY,
        user_data=base64.b64encode(user_data.encode()).decode(),
        has_config_drive=True,
        # an administrator may name the host
        availability_zone=f"nova:{host}",
    )


def server_rows(state: State) -> list[dict[str, str]]:
    """The demo's servers as a table: name, status, host, address, mac, id."""
    connection = connect(state)
    rows = []
    for name in SERVERS:
        server = connection.compute.find_server(name, details=True)
        if server is None:
            continue
        ports = list(connection.network.ports(device_id=server.id))
        rows.append(
            {
                "name": name,
                "status": str(server.status),
                "host": str(server.compute_host or server.hypervisor_hostname or ""),
                "address": ", ".join(ip["ip_address"] for port in ports for ip in port.fixed_ips),
                "mac": ", ".join(port.mac_address for port in ports),
                "id": str(server.id),
            }
        )
    return rows


def console_url(state: State, name: str) -> str:
    """A fresh address of the server's console in Nova's proxy, with its token."""
    connection = connect(state)
    server = connection.compute.find_server(name, ignore_missing=False)
    return str(connection.compute.create_console(server, console_type="novnc")["url"])
