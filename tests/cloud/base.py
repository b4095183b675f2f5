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
"""Real Nova services in one process, over embedded XAPI hosts.

API, scheduler, conductor, placement and two nova-compute services are Nova's own; Neutron and Glance are Nova's test
fixtures, the latter with real bytes behind its images. Each compute is bound to one host of an embedded pool, which
runs beside them in the same process and is reached over its socket as any other client reaches it.
"""

import hashlib
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import fixtures
import nova.conf
from nova.tests import fixtures as nova_fixtures
from nova.tests.functional import integrated_helpers

import nova_xapi.alias
import nova_xapi.conf
from xapikit.client import Secret, TlsPolicy, XapiClient
from xapikit.host import EmbeddedHost

CONF = nova.conf.CONF
MIB = 2**20


class ImageStore(nova_fixtures.GlanceFixture):  # type: ignore[misc]
    """Nova's Glance fixture, with images whose data can be downloaded in pieces as from Glance."""

    def add(self, name: str, data: bytes, disk_format: str, **properties: Any) -> str:
        """Register an image; returns its id."""
        image_id = str(uuid.uuid4())
        metadata = {
            "id": image_id,
            "name": name,
            "size": len(data),
            "status": "active",
            "visibility": "public",
            "disk_format": disk_format,
            "container_format": "bare",
            "min_disk": 0,
            "min_ram": 0,
            "protected": False,
            "tags": [],
            "checksum": hashlib.md5(data, usedforsecurity=False).hexdigest(),
            "os_hash_algo": "sha512",
            "os_hash_value": hashlib.sha512(data).hexdigest(),
            "properties": properties,
            "created_at": None,
            "updated_at": None,
            "deleted_at": None,
            "deleted": False,
        }
        self.create(None, metadata)
        self._imagedata[image_id] = data
        return image_id

    def download(
        self, context: Any, image_id: str, data: Any = None, dst_path: str | None = None, trusted_certs: Any = None
    ) -> Iterator[bytes] | None:
        if data is not None or dst_path is not None:
            super().download(context, image_id, data, dst_path, trusted_certs)
            return None
        self.show(context, image_id)
        body = self._imagedata.get(image_id, b"")
        return (body[start : start + 64 * 1024] for start in range(0, len(body), 64 * 1024))


class CloudTestCase(integrated_helpers._IntegratedTestBase):  # type: ignore[misc]
    """Computes ``compute1``, ``compute2``, each bound to one of the two hosts of a pool."""

    ADMIN_API = True
    CAST_AS_CALL = False
    microversion = "latest"
    COMPUTES = ("compute1", "compute2")

    def __delattr__(self, name: str) -> None:
        # Nova's clean-up drops every attribute, also the one that pytest made and takes back itself
        if name in self.__dict__:
            super().__delattr__(name)

    def setUp(self) -> None:
        nova_xapi.alias.install()
        self.xapi = EmbeddedHost(hosts=len(self.COMPUTES), domains="timed", https=True)
        self.xapi.start()
        self.client = XapiClient(
            self.xapi.urls[0],
            username=self.xapi.username,
            password=Secret(self.xapi.password),
            originator="tests/cloud",
            tls=TlsPolicy(fingerprint=self.xapi.fingerprint),
        )
        self.client.connect()
        # first made, last ended: the services log out before their hosts stop
        self.addCleanup(self.xapi.stop)
        self.addCleanup(self.client.close)
        super().setUp()

    def _setup_services(self) -> None:
        self.glance = self.useFixture(ImageStore(self))
        paste = next(Path(sys.prefix).glob("etc/nova/api-paste.ini"))
        self.flags(api_paste_config=str(paste), group="wsgi")
        self.flags(compute_driver="xenapi.XenAPIDriver", vif_plugging_timeout=0)
        state = self.useFixture(fixtures.TempDir()).path
        nova_xapi.conf.register(CONF)
        self.flags(
            connection_url=[self.xapi.urls[0]],
            connection_password=self.xapi.password,
            connection_fingerprint=self.xapi.fingerprint,
            sr_matching_filter="other-config:i18n-key=local-storage",
            stopped_event_delay=0.5,
            console_log_directory=f"{state}/consoles",
            group="xenserver",
        )
        hosts = sorted(self.client.call("host.get_all_records").values(), key=lambda record: record["name_label"])
        for compute, record in zip(self.COMPUTES, hosts, strict=True):
            nova_xapi.conf.register_for_host(CONF, compute)
            self.flags(connection_host_uuid=record["uuid"], group=f"xenserver:{compute}")
        super()._setup_services()

    def _setup_compute_service(self) -> Any:
        computes = [self._start_compute(name) for name in self.COMPUTES]
        return computes[0]

    def _start_compute(self, host: str, *args: Any, **more: Any) -> Any:
        # each service has an identity of its own; Nova keeps one for the process
        with self._identity(host):
            return super()._start_compute(host, *args, **more)

    def restart(self, host: str) -> None:
        """Stop a compute service and start a new one with a new driver."""
        with self._identity(host):
            self.computes[host] = self.restart_compute_service(self.computes[host], keep_hypervisor_state=False)

    @staticmethod
    def _identity(host: str) -> Any:
        identity = str(uuid.uuid5(uuid.NAMESPACE_DNS, host))
        return mock.patch("nova.virt.node.get_local_node_uuid", return_value=identity)

    # ------------------------------------------------------------------------------------------- helpers

    def boot(self, name: str, image: str, compute: str | None = None, *, wait: bool = True, **extra: Any) -> Any:
        """Create a server on a compute; waits until it is ACTIVE."""
        if compute is not None:
            extra["host"] = compute
        more = {key: extra.pop(key) for key in ("config_drive", "user_data", "min_count", "max_count") if key in extra}
        network = extra.pop("networks", [{"uuid": self.neutron.network_1["id"]}])
        server = self._build_server(name=name, image_uuid=image, networks=network, **extra)
        created = self.api.post_server({"server": {**server, **more}})
        return self._wait_for_state_change(created, "ACTIVE") if wait else created

    def vm_of(self, server: Any) -> tuple[str, dict[str, Any]]:
        """Reference and record of the one VM that carries the server's id."""
        found = {
            ref: record
            for ref, record in self.client.call("VM.get_all_records").items()
            if server["id"] in record["other_config"].values()
        }
        assert len(found) == 1, f"{len(found)} VMs for server {server['id']}"
        return next(iter(found.items()))

    def census(self) -> dict[str, int]:
        """How many objects there are of the classes that a server is made of, dom0 and templates aside."""
        vms = self.client.call("VM.get_all_records").values()
        counts = {"VM": sum(not (vm["is_a_template"] or vm["is_control_domain"]) for vm in vms)}
        for name in ("VDI", "VBD", "VIF"):
            counts[name] = len(self.client.call(f"{name}.get_all"))
        return counts
