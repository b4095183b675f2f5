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
"""A real guest, from an imported disk to its console, through the API of a pool that runs QEMU."""

import http.client
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from bootsector import boot_disk
from host.test_vm_power import RECORD, disk, messages, plugged, read_until
from xapi_caller import Caller
from xapikit.host import EmbeddedHost
from xapikit.host.domains.qemu import accel
from xapikit.host.domains.qemu.domain import QemuDomain

pytestmark = [
    pytest.mark.qemu,
    pytest.mark.skipif(accel.program() is None, reason="QEMU is not installed (apt-get install qemu-system-x86)"),
]

SECONDS = 60.0


@pytest.fixture
def xapi(tmp_path: Path) -> Iterator[EmbeddedHost]:
    host = EmbeddedHost(tmp_path / "a rather long name of a state directory, with blanks" / "state", domains="qemu",
                        options={"qemu_accelerator": "tcg"})  # fmt: skip
    host.start()
    yield host
    host.stop(stop_guests=True)


class Guest:
    """One VM with a boot sector on its disk."""

    def __init__(self, xapi: EmbeddedHost, sr: str = "", image: bytes = b"") -> None:
        image = image or boot_disk()
        self.xapi = xapi
        self.log_in()
        self.vdi = disk(self.call, len(image), sr)
        connection = http.client.HTTPConnection(urlsplit(xapi.urls[0]).netloc, timeout=SECONDS)
        task = self.call("task.create", "import", "")
        path = f"/import_raw_vdi?vdi={self.vdi}&format=raw&session_id={self.call.session}&task_id={task}"
        connection.request("PUT", path, image)
        assert connection.getresponse().status == 200
        store = xapi.pool.store
        assert store.wait(lambda: store.get("task", task)["status"] == "success", SECONDS)
        record = {**RECORD, "VCPUs_max": 2, "actions_after_shutdown": "destroy", "HVM_boot_params": {"order": "cd"}}
        self.vm = self.call("VM.create", record)
        self.vbd = plugged(self.call, self.vm, self.vdi)
        cd = {"VM": self.vm, "VDI": "OpaqueRef:NULL", "userdevice": "3", "bootable": True, "mode": "RO", "type": "CD",
              "empty": True, "other_config": {}, "qos_algorithm_type": "", "qos_algorithm_params": {}}  # fmt: skip
        self.call("VBD.create", cd)
        network = self.call("network.create", {"name_label": "n", "other_config": {}, "bridge": "br-int",
                                               "managed": False})  # fmt: skip
        vif = {"device": "0", "network": network, "VM": self.vm, "MAC": "02:00:00:00:00:0A", "MTU": 1400,
               "other_config": {}, "qos_algorithm_type": "", "qos_algorithm_params": {}}  # fmt: skip
        self.call("VIF.create", vif)

    def log_in(self) -> None:
        self.call = Caller(self.xapi.urls[0], password=self.xapi.password)

    @property
    def domain(self) -> QemuDomain:
        found = self.xapi.pool.domains.get(self.vm)
        assert isinstance(found, QemuDomain)
        return found

    def console(self) -> socket.socket:
        console = next(
            ref for ref in self.call("VM.get_consoles", self.vm) if self.call("console.get_protocol", ref) == "vt100"
        )
        where = urlsplit(self.call("console.get_location", console))
        line = socket.create_connection((where.hostname, where.port), timeout=SECONDS)
        target = f"{where.path}?{where.query}&session_id={self.call.session}"
        line.sendall(f"CONNECT {target} HTTP/1.0\r\n\r\n".encode())
        assert read_until(line, b"\r\n\r\n").startswith(b"HTTP/1.1 200 OK")
        return line

    def type(self, text: bytes) -> None:
        with self.console() as line:
            read_until(line, b"boot ok")
            line.sendall(text)

    def wait(self, **fields: Any) -> None:
        store = self.xapi.pool.store
        found = store.wait(lambda: all(store.get("VM", self.vm)[k] == v for k, v in fields.items()), SECONDS)
        assert found, (fields, store.get("VM", self.vm))


@pytest.mark.timeout(170)
def test_a_guest_moves_between_hosts_with_and_without_its_disk(tmp_path: Path) -> None:
    with EmbeddedHost(tmp_path / "state", domains="qemu", hosts=2, options={"qemu_accelerator": "tcg"}) as xapi:
        first, second = (host.ref for host in xapi.hosts)
        caller = Caller(xapi.urls[0], password=xapi.password)
        config = {"server": "127.0.0.1", "serverpath": str(tmp_path / "share")}
        (tmp_path / "share").mkdir()
        sr = caller("SR.create", first, config, 0, "shared", "", "nfs", "user", True, {})
        guest = Guest(xapi, sr)
        guest.call("VM.start_on", guest.vm, first, False, False)
        with guest.console() as line:
            read_until(line, b"boot ok")
        pid = guest.domain.process.pid
        guest.call("VM.pool_migrate", guest.vm, second, {"live": "true"})
        assert guest.domain.process.pid != pid
        with guest.console() as line:
            line.sendall(b"moving on")
            assert read_until(line, b"moving on").count(b"boot ok") == 1, "it went on, it did not boot"
        local = next(
            pbd["SR"]
            for pbd in xapi.pool.store.find("PBD", host=first).values()
            if xapi.pool.store.get("SR", pbd["SR"])["type"] == "ext"
        )
        dest = guest.call("host.migrate_receive", first, guest.call("network.get_all")[0], {})
        guest.call("VM.migrate_send", guest.vm, dest, True, {guest.vdi: local}, {}, {})
        with guest.console() as line:
            line.sendall(b"moved on")
            assert read_until(line, b"moved on").count(b"boot ok") == 1
        assert guest.call("VDI.get_SR", guest.call("VBD.get_VDI", guest.vbd)) == local
        guest.call("VM.hard_reboot", guest.vm)  # and it boots from the disk that moved
        guest.type(b"s")
        guest.wait(power_state="Halted")
        assert processes(xapi) == []
        caller.close()
        guest.call.close()


def processes(xapi: EmbeddedHost) -> list[str]:
    """Files of running domains and data paths."""
    run = xapi.settings.state / "run"
    return [str(path) for path in run.rglob("*") if path.is_file() and path.suffix in (".json", ".serial", ".sock")]


@pytest.mark.timeout(170)
def test_a_guest_lives_through_everything(xapi: EmbeddedHost) -> None:
    guest = Guest(xapi)
    call = guest.call
    call("VM.start", guest.vm, False, False)
    with guest.console() as line:
        read_until(line, b"boot ok")
        line.sendall(b"hello\n")
        assert b"hello" in read_until(line, b"hello")
    arguments = Path(f"/proc/{guest.domain.process.pid}/cmdline").read_bytes().decode()
    assert "02:00:00:00:00:0a" in arguments and '"host_mtu": 1400' in arguments and "maxcpus=2" in arguments
    assert ".vhd" not in arguments, "QEMU never opens a VHD"

    # the guest resets itself: another domain, and it boots again
    first = call("VM.get_domid", guest.vm)
    guest.type(b"r")
    store = xapi.pool.store
    assert store.wait(
        lambda: (
            store.get("VM", guest.vm)["domid"] not in (first, -1)
            and store.get("VM", guest.vm)["power_state"] == "Running"
        ),
        SECONDS,
    )
    guest.type(b"")

    # suspended to a VDI and back: it goes on, it does not boot
    call("VM.suspend", guest.vm)
    assert processes(xapi) == []
    call("VM.resume", guest.vm, False, False)
    with guest.console() as line:
        line.sendall(b"moving on")
        assert read_until(line, b"moving on").count(b"boot ok") == 1

    # the toolstack goes and comes: the same process, and its console has what was printed before
    pid = guest.domain.process.pid
    xapi.restart()
    guest.log_in()
    assert guest.domain.process.pid == pid
    with guest.console() as line:
        read_until(line, b"moving on")
        line.sendall(b"s")
    guest.wait(power_state="Halted")
    assert processes(xapi) == []

    # QEMU is killed: a crash, and nothing stays behind
    guest.call("VM.set_actions_after_crash", guest.vm, "destroy")
    guest.call("VM.start", guest.vm, False, False)
    guest.type(b"")
    os.kill(guest.domain.process.pid, signal.SIGKILL)
    guest.wait(power_state="Halted")
    assert "VM_CRASHED" in messages(guest.call, guest.vm)
    assert processes(xapi) == []
    guest.call("VM.destroy", guest.vm)
    guest.call("VDI.destroy", guest.vdi)
    guest.call.close()


def test_a_missing_program_is_named_with_its_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with EmbeddedHost(tmp_path / "state", domains="qemu") as xapi:
        assert "apt-get install qemu-system-x86" in caplog.text
        caller = Caller(xapi.urls[0], password=xapi.password)
        vm = caller("VM.create", RECORD)
        code, text = caller.error("VM.start", vm, False, False)
        assert code == "INTERNAL_ERROR" and "apt-get install qemu-system-x86" in text
        assert caller("VM.get_power_state", vm) == "Halted"
        pv = caller("VM.create", {**RECORD, "HVM_boot_policy": "", "PV_bootloader": "pygrub"})
        assert caller.error("VM.start", pv, False, False) == ["VM_HVM_REQUIRED", pv]
        caller.close()
