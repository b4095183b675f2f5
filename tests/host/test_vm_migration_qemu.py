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
"""Guests of QEMU that write all the time move between hosts and between pools: they go on, and nothing is lost."""

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bootsector import writer_disk, written
from host.test_vm_migration import local_srs
from host.test_vm_migration_pools import Side, machine, vif_map
from host.test_vm_power import read_until
from host.test_vm_qemu import Guest, processes
from xapi_caller import Caller
from xapikit.host import EmbeddedHost
from xapikit.host.domains.qemu import accel
from xapikit.host.domains.qemu.domain import QemuDomain
from xapikit.host.domains.qemu.kind import OVMF_CODE

pytestmark = [
    pytest.mark.qemu,
    pytest.mark.skipif(accel.program() is None, reason="QEMU is not installed (apt-get install qemu-system-x86)"),
    pytest.mark.timeout(170),
]
DOWNTIME = re.compile(r"stood still for (\d+) ms")


@contextmanager
def side(state: Path, hosts: int = 1) -> Iterator[Side]:
    xapi = EmbeddedHost(state, domains="qemu", hosts=hosts, options={"qemu_accelerator": "tcg"})
    with xapi:
        caller = Caller(xapi.urls[0], password=xapi.password)
        yield Side(xapi, caller)
        caller.close()
        xapi.stop(stop_guests=True)


def downtimes(caplog: pytest.LogCaptureFixture) -> list[int]:
    return [int(found[1]) for record in caplog.records if (found := DOWNTIME.search(record.getMessage()))]


def test_a_guest_that_writes_moves_with_its_disk_between_hosts_and_between_pools(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "xapikit.host.migration")
    with side(tmp_path / "one", 2) as here, side(tmp_path / "two") as there:
        guest = Guest(here.xapi, local_srs(here.xapi)[0], writer_disk())
        here.call("VM.start", guest.vm, False, False)
        with guest.console() as line:
            read_until(line, b"boot ok")
            line.sendall(b"abc")
            read_until(line, b"abc")
        uuid = here.call("VM.get_uuid", guest.vm)
        second = here.xapi.hosts[1].ref
        dest = here.call("host.migrate_receive", second, here.network, {})
        here.call("VM.migrate_send", guest.vm, dest, True, {guest.vdi: local_srs(here.xapi)[1]}, {}, {})
        after_first = written(here.content(here.call("VBD.get_VDI", guest.vbd)))
        with guest.console() as line:
            assert read_until(line, b"abc").count(b"boot ok") == 1, "what was printed before is still to be read"
            line.sendall(b"def")
            read_until(line, b"def")
        vifs = dict.fromkeys(here.call("VM.get_VIFs", guest.vm), there.network)
        arrived = here.call("VM.migrate_send", guest.vm, there.receive(), True, {}, vifs, {})
        assert processes(here.xapi) == []
        moved = there.xapi.pool.domains.get(arrived)
        assert isinstance(moved, QemuDomain) and there.call("VM.get_uuid", arrived) == uuid
        (vdi,) = (there.call("VBD.get_VDI", vbd) for vbd in there.call("VM.get_VBDs", arrived)
                  if there.call("VBD.get_type", vbd) == "Disk")  # fmt: skip
        with moved.open_console("vt100") as line:
            printed = read_until(line, b"def")
            assert printed.count(b"boot ok") == 1 and b"abc" in printed
            line.sendall(b"ghs")
        store = there.xapi.pool.store
        assert store.wait(lambda: store.get("VM", arrived)["power_state"] == "Halted", 60)
        count = written(there.content(vdi))
        assert count > after_first > 0
        assert len(downtimes(caplog)) == 2 and max(downtimes(caplog)) < 20_000
        assert processes(there.xapi) == []
        guest.call.close()


def test_a_guest_whose_move_fails_goes_on_where_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with side(tmp_path / "one") as here, side(tmp_path / "two") as there:
        guest = Guest(here.xapi, image=writer_disk())
        here.call("VM.start", guest.vm, False, False)
        with guest.console() as line:
            read_until(line, b"boot ok")
        before = there.inventory()
        vifs = dict.fromkeys(here.call("VM.get_VIFs", guest.vm), there.network)
        pid = guest.domain.process.pid
        there.xapi.pool.storage.set_limit(there.sr, 1 << 20)
        told = here.call.error("VM.migrate_send", guest.vm, there.receive(), True, {}, vifs, {})
        assert told[0] == "VM_MIGRATE_FAILED"
        assert there.inventory() == before and processes(there.xapi) == []
        there.xapi.pool.storage.set_limit(there.sr, None)
        with monkeypatch.context() as patched:  # no guest can be built: found out when this one is about to stop here
            patched.setenv("PATH", str(tmp_path))
            told = here.call.error("VM.migrate_send", guest.vm, there.receive(), True, {}, vifs, {})
        assert told[0] == "VM_MIGRATE_FAILED" and "qemu-system-x86" in told[4]
        assert there.inventory() == before and processes(there.xapi) == []
        assert guest.domain.process.pid == pid
        with guest.console() as line:
            line.sendall(b"on it goes")
            read_until(line, b"on it goes")
        guest.wait(power_state="Halted")
        assert written(here.content(guest.vdi)) > 0
        guest.call.close()


@pytest.mark.skipif(not any(path.exists() for path in OVMF_CODE), reason="no UEFI firmware (apt-get install ovmf)")
def test_a_uefi_guest_moves_with_its_variables(tmp_path: Path) -> None:
    with side(tmp_path / "one", 2) as here, side(tmp_path / "two") as there:
        boot = {"HVM_boot_params": {"order": "d", "firmware": "uefi"}}
        vm = machine(here, memory_dynamic_max=1 << 27, memory_dynamic_min=1 << 27, **boot)
        uuid = here.call("VM.get_uuid", vm)
        here.call("VM.start_on", vm, here.host, False, False)
        here.call("VM.pool_migrate", vm, here.xapi.hosts[1].ref, {"live": "true"})
        assert here.call("VM.get_power_state", vm) == "Running"
        here.call("VM.hard_shutdown", vm)
        variables = here.xapi.settings.state / "nvram" / f"{uuid}.fd"
        content = bytearray(variables.read_bytes())
        content[-16:] = b"of this very VM!"
        variables.write_bytes(content)
        arrived = here.call("VM.migrate_send", vm, there.receive(), False, {}, vif_map(here, vm, there), {})
        assert (there.xapi.settings.state / "nvram" / f"{uuid}.fd").read_bytes() == content
        assert not variables.exists()
        there.call("VM.start", arrived, False, False)
        back = there.call("VM.migrate_send", arrived, here.receive(), True, {}, vif_map(there, arrived, here), {})
        assert here.call("VM.get_power_state", back) == "Running" and variables.exists()
        here.call("VM.hard_shutdown", back)


def test_progress_of_a_move_is_shown(tmp_path: Path) -> None:
    with side(tmp_path / "one", 2) as here:
        vm = machine(here)
        here.call("VM.start_on", vm, here.host, False, False)
        store = here.xapi.pool.store
        with store.watch(["task"]) as watch:
            task = here.call("Async.VM.pool_migrate", vm, here.xapi.hosts[1].ref, {"live": "true"})
            shown = [0.0]
            while store.get("task", task)["status"] == "pending":
                shown.append(store.get("task", task)["progress"])
                watch.wait(60)
        assert store.get("task", task)["status"] == "success" and shown == sorted(shown)
        here.call("VM.hard_shutdown", vm)
