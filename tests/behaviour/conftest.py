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
"""What a XAPI host promises, checked on any XAPI host.

``pytest tests/behaviour`` runs against an embedded host with timed guests; with ``--xapi-url`` against that host, which
may be a real one. Each test states one promise, makes what it needs, removes it again, and skips with a reason what a
host cannot do. Objects are named ``behaviour-...`` so that leftovers of a broken run can be told.
"""

from __future__ import annotations

import http.client
import ssl
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from xapikit.client import NULL_REF, Secret, TlsPolicy, XapiClient, errors
from xapikit.host import EmbeddedHost
from xapikit.wire import jsonrpc, xmlrpc

MIB = 1 << 20
WATCHED = ("pool", "host", "VM", "VBD", "VDI", "VIF", "SR", "network")
DONE = frozenset(("HANDLE_INVALID", "VM_BAD_POWER_STATE", "DEVICE_ALREADY_DETACHED"))
"""What cleaning up meets when there is nothing left to do."""
LACKING = frozenset(("NOT_IMPLEMENTED", "LICENCE_RESTRICTION", "FEATURE_RESTRICTED"))


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("xapi", "the XAPI host to check (default: an embedded one)")
    group.addoption("--xapi-url", help="https://HOST of the pool's coordinator")
    group.addoption("--xapi-user", default="root")
    group.addoption("--xapi-password-file", type=Path, help="file that holds the password")
    group.addoption("--xapi-fingerprint", help="SHA-256 fingerprint of its certificate")
    group.addoption("--xapi-ca-file", help="certificate authority that signed its certificate")


@dataclass(frozen=True)
class Target:
    """The host under test."""

    url: str
    user: str
    password: Secret
    tls: TlsPolicy
    embedded: EmbeddedHost | None

    def client(self, **settings: Any) -> XapiClient:
        given: dict[str, Any] = {"originator": "nova-xapi behaviour suite", "cache_classes": WATCHED, **settings}
        return XapiClient(self.url, username=self.user, password=self.password, tls=self.tls, **given)


@pytest.fixture(scope="session")
def target(request: pytest.FixtureRequest) -> Iterator[Target]:
    # not there when the suite is collected along with the others: then the host is an embedded one
    url = request.config.getoption("--xapi-url", default=None)
    if url:
        password_file = request.config.getoption("--xapi-password-file")
        if password_file is None:
            pytest.exit("--xapi-url needs --xapi-password-file", 4)
        tls = TlsPolicy(
            ca_file=request.config.getoption("--xapi-ca-file"),
            fingerprint=request.config.getoption("--xapi-fingerprint"),
        )
        password = Secret(password_file.read_text().rstrip("\n"))
        yield Target(url, request.config.getoption("--xapi-user"), password, tls, None)
        return
    with EmbeddedHost(hosts=2) as xapi:
        yield Target(xapi.url, xapi.username, Secret(xapi.password), TlsPolicy(), xapi)


@pytest.fixture(scope="session")
def client(target: Target) -> Iterator[XapiClient]:
    with target.client() as connected:
        connected.cache.start()
        yield connected


class Caller:
    """Calls by name, with what a host lacks turned into a skip."""

    def __init__(self, client: XapiClient) -> None:
        self.client = client

    def __call__(self, method: str, *params: Any, **settings: Any) -> Any:
        try:
            return self.client.call(method, *params, **settings)
        except errors.XapiError as error:
            if error.code in LACKING:
                pytest.skip(f"this host lacks {method}: {error.code}")
            raise

    def error(self, method: str, *params: Any) -> list[str]:
        """What a call fails with."""
        with pytest.raises(errors.XapiError) as caught:
            self(method, *params)
        return [caught.value.code, *caught.value.params]


@pytest.fixture
def xapi(client: XapiClient) -> Caller:
    return Caller(client)


@pytest.fixture
def runs_vms(xapi: Caller) -> None:
    """For promises that only a host that runs VMs can keep."""
    control_domain = next(ref for ref, vm in xapi.client.cache.records("VM").items() if vm["is_control_domain"])
    xapi.error("VM.start", control_domain, False, False)


class Maker:
    """Makes objects and removes them at the end of the test, last first."""

    def __init__(self, xapi: Caller, undo: ExitStack) -> None:
        self.xapi = xapi
        self._undo = undo

    def later(self, method: str, *params: Any) -> None:
        """Call this at the end; what is gone by then is fine."""

        def call() -> None:
            try:
                self.xapi.client.call(method, *params)
            except errors.XapiError as error:
                if error.code not in DONE | LACKING:
                    raise

        self._undo.callback(call)

    def vm(self, name: str = "behaviour-vm", **members: Any) -> str:
        """A halted HVM guest without devices."""
        record = {
            "name_label": name, "name_description": "", "user_version": 1, "is_a_template": False,
            "affinity": NULL_REF, "memory_static_max": 256 * MIB, "memory_dynamic_max": 256 * MIB,
            "memory_dynamic_min": 256 * MIB, "memory_static_min": 128 * MIB, "VCPUs_params": {}, "VCPUs_max": 1,
            "VCPUs_at_startup": 1, "actions_after_shutdown": "destroy", "actions_after_reboot": "restart",
            "actions_after_crash": "destroy", "PV_bootloader": "", "PV_kernel": "", "PV_ramdisk": "", "PV_args": "",
            "PV_bootloader_args": "", "PV_legacy_args": "", "HVM_boot_policy": "BIOS order",
            "HVM_boot_params": {"order": "cd"}, "platform": {}, "PCI_bus": "", "other_config": {},
            "recommendations": "", **members,
        }  # fmt: skip
        vm: str = self.xapi("VM.create", record)
        self.later("VM.destroy", vm)
        self.later("VM.hard_shutdown", vm)
        return vm

    def disk(self, size: int = 8 * MIB, **members: Any) -> str:
        """A VDI on a local disk SR."""
        record = {
            "name_label": "behaviour-disk", "name_description": "", "SR": self.sr(), "virtual_size": size,
            "type": "user", "sharable": False, "read_only": False, "other_config": {}, "xenstore_data": {},
            "sm_config": {}, "tags": [], **members,
        }  # fmt: skip
        vdi: str = self.xapi("VDI.create", record)
        self.later("VDI.destroy", vdi)
        return vdi

    def sr(self) -> str:
        """A disk SR with thin disks that is plugged on the coordinator."""
        cache = self.xapi.client.cache
        for ref, record in cache.records("SR").items():
            if record["type"] in ("ext", "nfs") and record["PBDs"]:
                return ref
        pytest.skip("no SR of type ext or nfs on this host")

    def vbd(self, vm: str, vdi: str, device: str = "0", **members: Any) -> str:
        record = {
            "VM": vm, "VDI": vdi, "userdevice": device, "bootable": device == "0", "mode": "RW", "type": "Disk",
            "unpluggable": True, "empty": vdi == NULL_REF, "other_config": {}, "qos_algorithm_type": "",
            "qos_algorithm_params": {}, **members,
        }  # fmt: skip
        vbd: str = self.xapi("VBD.create", record)
        self.later("VBD.destroy", vbd)
        return vbd

    def network(self, name: str = "behaviour-net", **members: Any) -> str:
        record = {"name_label": name, "name_description": "", "MTU": 1500, "other_config": {}, **members}
        network: str = self.xapi("network.create", record)
        self.later("network.destroy", network)
        return network

    def vif(self, vm: str, network: str, device: str = "0", **members: Any) -> str:
        record = {
            "device": device, "network": network, "VM": vm, "MAC": "", "MTU": 1500, "other_config": {},
            "qos_algorithm_type": "", "qos_algorithm_params": {}, **members,
        }  # fmt: skip
        vif: str = self.xapi("VIF.create", record)
        self.later("VIF.destroy", vif)
        return vif

    def task(self, label: str = "behaviour-task") -> str:
        task: str = self.xapi("task.create", label, "")

        def end() -> None:
            for method, params in (("task.set_status", [task, "success"]), ("task.destroy", [task])):
                try:
                    self.xapi.client.call(method, *params)
                except errors.HandleInvalid:
                    return

        self._undo.callback(end)
        return task


@pytest.fixture
def make(xapi: Caller) -> Iterator[Maker]:
    with ExitStack() as undo:
        yield Maker(xapi, undo)


class Wire:
    """Calls in a chosen protocol, without any help of a client."""

    def __init__(self, target: Target) -> None:
        self.target = target
        parts = urlsplit(target.url)
        if parts.scheme == "https":
            # the client under test has verified this host already
            context = ssl._create_unverified_context()  # noqa: S323
            self.connection: http.client.HTTPConnection = http.client.HTTPSConnection(
                parts.netloc, timeout=30, context=context
            )
        else:
            self.connection = http.client.HTTPConnection(parts.netloc, timeout=30)

    def post(self, path: str, body: bytes) -> tuple[int, dict[str, str], bytes]:
        self.connection.request("POST", path, body)
        reply = self.connection.getresponse()
        return reply.status, {k.lower(): v for k, v in reply.getheaders()}, reply.read()

    def xml(self, method: str, *params: Any) -> Any:
        return xmlrpc.decode_response(self.post("/", xmlrpc.encode_request(method, params))[2])

    def json(self, method: str, *params: Any) -> Any:
        return jsonrpc.decode_response(self.post("/jsonrpc", jsonrpc.encode_request(method, params))[2])


@pytest.fixture
def wire(target: Target) -> Iterator[Wire]:
    made = Wire(target)
    yield made
    made.connection.close()


@pytest.fixture
def other_session(target: Target) -> Iterator[Callable[[], Any]]:
    """Makes clients of their own."""
    with ExitStack() as stack:
        yield lambda **settings: stack.enter_context(target.client(**settings))
