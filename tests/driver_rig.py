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
"""A driver at work without Nova's services: an embedded pool, an image service, and Nova's objects made here.

Drivers are Nova's to call: tests call them as the compute manager does.
"""

import itertools
import random
import shutil
import tempfile
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import nova.conf
from nova import exception, objects
from nova.context import RequestContext
from nova.network import model

from glance_server import GlanceServer, StoredImage
from nova_xapi import conf as options
from nova_xapi.driver import XenAPIDriver
from xapikit.client import Secret, TlsPolicy, XapiClient
from xapikit.host import EmbeddedHost

CONF = nova.conf.CONF
MIB = 1 << 20

_names = itertools.count(1)
_ids = itertools.count(1)

objects.register_all()


class Ports:
    """The part of Nova that tells a driver what Neutron reports; ``report`` is Neutron."""

    def __init__(self) -> None:
        self.failing: set[str] = set()
        self.silent: set[str] = set()
        self.waited_for: list[str] = []
        self.during: Callable[[], None] = lambda: None

    @contextmanager
    def wait_for_instance_event(
        self, instance: Any, event_names: Sequence[tuple[str, str]], timeout: float = 300, error_callback: Any = None
    ) -> Iterator[None]:
        ports = [tag for _, tag in event_names]
        self.waited_for += ports
        yield
        self.during()
        for port in ports:
            if port in self.failing:
                error_callback(f"network-vif-plugged-{port}", instance)
            if port in self.silent:
                raise exception.InstanceEventTimeout()


def flavor(**fields: Any) -> Any:
    """A flavor of 1 vCPU, 256 MiB and the image's disk, or as described."""
    usual = {
        "id": 1, "flavorid": "1", "name": "small", "vcpus": 1, "memory_mb": 256, "root_gb": 0, "ephemeral_gb": 0,
        "swap": 0, "extra_specs": {}, "vcpu_weight": 0, "rxtx_factor": 1.0, "is_public": True, "disabled": False,
    }  # fmt: skip
    return objects.Flavor(**{**usual, **fields})


def instance(image_ref: str = "", flavor_: Any = None, **fields: Any) -> Any:
    """A server as the compute manager hands it to a driver."""
    usual = {
        "id": next(_ids), "uuid": str(uuid.uuid4()), "display_name": "a server", "hostname": "a-server",
        "host": "compute", "image_ref": image_ref, "config_drive": "", "system_metadata": {}, "metadata": {},
        "project_id": "project", "user_id": "user", "key_name": None, "key_data": None, "user_data": None,
        "vm_state": "building", "root_device_name": None, "deleted": False, "os_type": None, "vm_mode": None,
        "trusted_certs": None,
    }  # fmt: skip
    made = objects.Instance(**{**usual, **fields})
    made.flavor = flavor_ or flavor()
    return made


def port(active: bool = True, mtu: int = 1500, **fields: Any) -> Any:
    """A port bound to this host."""
    network = model.Network(id=str(uuid.uuid4()), bridge="br-int", label="net", subnets=[], mtu=mtu)
    mac = f"fa:16:3e:{random.randrange(256):02x}:{random.randrange(256):02x}:{random.randrange(256):02x}"
    usual: dict[str, Any] = {"type": "ovs", "active": active, "vnic_type": "normal", "details": {"port_filter": True}}
    return model.VIF(id=str(uuid.uuid4()), address=mac, network=network, **{**usual, **fields})


def meta(image: StoredImage, **properties: Any) -> Any:
    """The image as Nova hands it to a driver; ``properties`` as in Nova's ImageMeta."""
    return meta_of(image.record, **properties)


def meta_of(record: Mapping[str, Any], **properties: Any) -> Any:
    """The same from the record that Glance has."""
    made = objects.ImageMeta.from_dict({**record, "properties": {}})
    made.properties = objects.ImageMetaProps(**properties)
    return made


def no_image() -> Any:
    """The image of a server that has none."""
    return objects.ImageMeta.from_dict({"properties": {}})


class Rig:
    """``with Rig() as rig: driver = rig.driver()``. Everything that was made is gone at the end."""

    def __init__(self, **xapi: Any) -> None:
        """``xapi``: arguments of :class:`EmbeddedHost`."""
        self.xapi = EmbeddedHost(**xapi)
        self.glance = GlanceServer()
        self.ports = Ports()
        self.context = RequestContext(user_id="user", project_id="project", auth_token="token", is_admin=True)
        self.directory = Path(tempfile.mkdtemp(prefix="driver-rig-"))
        self._drivers: dict[str, XenAPIDriver] = {}
        self._client: XapiClient | None = None

    def __enter__(self) -> "Rig":
        self.xapi.start()
        self.glance.__enter__()
        if CONF._args is None:
            CONF([], project="nova", default_config_files=[])
        CONF.set_override("api_servers", [self.glance.url], "glance")
        CONF.set_override("num_retries", 0, "glance")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for name in list(self._drivers):
            self.stop(name)
        if self._client is not None:
            self._client.close()
        self.glance.__exit__()
        self.xapi.stop(stop_guests=True)
        CONF.clear_override("api_servers", "glance")
        CONF.clear_override("num_retries", "glance")
        shutil.rmtree(self.directory, ignore_errors=True)

    # ------------------------------------------------------------------------------------------ drivers

    def driver(self, name: str | None = None, host: int = 0, **overrides: Any) -> XenAPIDriver:
        """A driver that was started for a host of the pool; ``overrides`` are options of its own group."""
        name = name or f"compute{next(_names)}"
        self.configure(name, host, **overrides)
        made = XenAPIDriver(self.ports)
        made.init_host(name)
        self._drivers[name] = made
        return made

    def configure(self, name: str, host: int = 0, **overrides: Any) -> None:
        """Set the options of a compute service."""
        options.register(CONF)
        options.register_for_host(CONF, name)
        values: dict[str, Any] = {
            "connection_url": [self.xapi.urls[0]],
            "connection_password": self.xapi.password,
            "connection_fingerprint": self.xapi.fingerprint,
            "connection_host_uuid": self.xapi.hosts[host].uuid,
            "sr_matching_filter": "other-config:i18n-key=local-storage",
            "console_relay_address": "127.0.0.1",
            "console_log_directory": str(self.directory / name),
            "stopped_event_delay": 0.5,
            **overrides,
        }
        for option, value in values.items():
            CONF.set_override(option, value, options.host_group(name))

    def stop(self, name: str) -> None:
        """Stop a driver as the service does when it ends well."""
        driver = self._drivers.pop(name)
        driver.cleanup_host(name)

    def image(self, size: int = 4 * MIB, disk_format: str = "raw", **fields: Any) -> StoredImage:
        """An image with something in it at both ends."""
        noise = random.Random(size).randbytes(64 << 10)
        data = noise + bytes(size - 2 * len(noise)) + noise
        return self.glance.add(data, disk_format, **fields)

    def spawn(self, driver: XenAPIDriver, image: StoredImage | None, ports: Sequence[Any] = (), **fields: Any) -> Any:
        """A server of this image, as the manager makes it; the instance. ``fields`` go to :func:`instance`, those
        of the driver's own (``image_meta``, ``block_device_info``, ``power_on``) to the driver.
        """
        own = {key: fields.pop(key) for key in ("image_meta", "block_device_info", "power_on") if key in fields}
        made = fields.pop("server", None) or instance(image.id if image else "", **fields)
        image_meta = own.pop("image_meta", None) or (meta(image) if image else no_image())
        driver.spawn(
            self.context, made, image_meta, [], "secret", {}, network_info=model.NetworkInfo(list(ports)), **own
        )
        return made

    # --------------------------------------------------------------------------------- looking from outside

    @property
    def client(self) -> XapiClient:
        """Another client of the pool, as a person has one."""
        if self._client is None:
            self._client = XapiClient(
                self.xapi.urls[0],
                username=self.xapi.username,
                password=Secret(self.xapi.password),
                originator="somebody else",
                tls=TlsPolicy(fingerprint=self.xapi.fingerprint) if self.xapi.fingerprint else None,
            )
            self._client.connect()
        return self._client

    def rows(self, cls: str) -> dict[str, Any]:
        """All rows of a class, as the pool has them, without a call that would be counted."""
        return dict(self.xapi.pool.store.all(cls))

    def vm(self, server: Any) -> tuple[str, Any]:
        """The one VM of a server."""
        found = [one for one in self.rows("VM").items() if one[1]["other_config"].get("nova_uuid") == server.uuid]
        assert len(found) == 1, f"{len(found)} VMs of {server.uuid}"
        return found[0]

    def census(self) -> Counter[str]:
        """What there is: VMs, disks, devices, and the files of the SRs. Hidden parents of disks are left out: they
        come and go by themselves.
        """
        vms = [vm for vm in self.rows("VM").values() if not vm["is_a_template"] and not vm["is_control_domain"]]
        counts = Counter({"VM": len(vms), "template": len(self.rows("VM")) - len(vms)})
        for cls in ("VBD", "VIF", "VM_metrics", "console"):
            counts[cls] = len(self.rows(cls))
        managed = {row["uuid"] for row in self.rows("VDI").values() if row["managed"]}
        unmanaged = {row["uuid"] for row in self.rows("VDI").values()} - managed
        counts["VDI"] = len(managed)
        files = {path.name.partition(".")[0] for path in (self.xapi.settings.state / "sr").rglob("*") if path.is_file()}
        counts["file"] = len(files - unmanaged)
        return counts

    def settled_census(self, timeout: float = 10.0) -> Counter[str]:
        """The census once nothing changes it any more: domains have ended, files are removed."""
        deadline = time.monotonic() + timeout
        last = self.census()
        steady = time.monotonic()
        while time.monotonic() < deadline and time.monotonic() - steady < 0.3:
            self.xapi.pool.store.wait(lambda: False, 0.05)
            now = self.census()
            if now != last:
                last, steady = now, time.monotonic()
        return last

    @contextmanager
    def counted(self) -> Iterator[Counter[str]]:
        """The calls that the server receives inside, by method; event.from apart, and the console recorder, which
        connects when a guest starts, at its own pace.
        """
        calls: Counter[str] = Counter()
        before = Counter(self.xapi.call_counts())
        yield calls
        calls.update(Counter(self.xapi.call_counts()) - before)
        for apart in ("event.from", "connect_console"):
            calls.pop(apart, None)


class Gathered:
    """Life-cycle events that a driver emits, in order."""

    def __init__(self, driver: XenAPIDriver) -> None:
        self._condition = threading.Condition()
        self.seen: list[tuple[str, int]] = []
        driver.register_event_listener(self._take)

    def _take(self, event: Any) -> None:
        with self._condition:
            self.seen.append((event.get_instance_uuid(), event.get_transition()))
            self._condition.notify_all()

    def wait_for(self, expected: tuple[str, int], timeout: float = 10.0) -> bool:
        with self._condition:
            return self._condition.wait_for(lambda: expected in self.seen, timeout)
