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
"""VMs start, stop, pause, suspend and end by themselves: what a client sees of it."""

import socket
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from xapi_caller import Caller
from xapikit.host import EmbeddedHost
from xapikit.host.domains.model import End
from xapikit.host.domains.timed.kind import TimedDomain

RECORD: dict[str, Any] = {
    "name_label": "vm", "name_description": "", "user_version": 1, "is_a_template": False,
    "affinity": "OpaqueRef:NULL", "memory_static_max": 1 << 28, "memory_dynamic_max": 1 << 28,
    "memory_dynamic_min": 1 << 28, "memory_static_min": 1 << 27, "VCPUs_params": {}, "VCPUs_max": 1,
    "VCPUs_at_startup": 1, "actions_after_shutdown": "destroy", "actions_after_reboot": "restart",
    "actions_after_crash": "restart", "PV_bootloader": "", "PV_kernel": "", "PV_ramdisk": "", "PV_args": "",
    "PV_bootloader_args": "", "PV_legacy_args": "", "HVM_boot_policy": "BIOS order", "HVM_boot_params": {"order": "cd"},
    "platform": {}, "PCI_bus": "", "other_config": {}, "recommendations": "",
}  # fmt: skip
SECONDS = 10.0


@pytest.fixture
def vm(call: Caller) -> str:
    ref: str = call("VM.create", RECORD)
    return ref


def disk(call: Caller, size: int = 1 << 20, sr: str = "") -> str:
    sr = sr or call("pool.get_default_SR", call("pool.get_all")[0])
    record = {"name_label": "d", "SR": sr, "virtual_size": size, "type": "user", "sharable": False,
              "read_only": False, "other_config": {}}  # fmt: skip
    ref: str = call("VDI.create", record)
    return ref


def plugged(call: Caller, vm: str, vdi: str, position: str = "0") -> str:
    record = {"VM": vm, "VDI": vdi, "userdevice": position, "bootable": True, "mode": "RW", "type": "Disk",
              "empty": False, "other_config": {}, "qos_algorithm_type": "", "qos_algorithm_params": {}}  # fmt: skip
    ref: str = call("VBD.create", record)
    return ref


def messages(call: Caller, vm: str) -> list[str]:
    rows = call("message.get", "VM", call("VM.get_uuid", vm), "19700101T00:00:00Z")
    return sorted(row["name"] for row in rows.values())


def domain(xapi: EmbeddedHost, vm: str) -> TimedDomain:
    found = xapi.pool.domains.get(vm)
    assert isinstance(found, TimedDomain)
    return found


def wait_for(xapi: EmbeddedHost, vm: str, **fields: Any) -> None:
    store = xapi.pool.store
    assert store.wait(lambda: all(store.get("VM", vm)[k] == v for k, v in fields.items()), SECONDS), fields


def test_a_vm_runs_with_its_devices_and_leaves_nothing_attached(call: Caller, vm: str) -> None:
    vdi = disk(call)
    vbd = plugged(call, vm, vdi)
    call("VM.start", vm, False, False)
    row = call("VM.get_record", vm)
    assert row["power_state"] == "Running" and row["domid"] > 0
    host = call("host.get_record", row["resident_on"])
    assert vm in host["resident_VMs"]
    assert call("VBD.get_device", vbd) == "xvda" and call("VBD.get_currently_attached", vbd)
    assert {call("console.get_protocol", console) for console in row["consoles"]} == {"rfb", "vt100"}
    assert call("VM_metrics.get_VCPUs_number", row["metrics"]) == 1
    assert call("VM_guest_metrics.get_live", row["guest_metrics"])
    assert call.error("VDI.destroy", vdi) == ["VDI_IN_USE", vdi, "destroy"]
    call("VM.clean_shutdown", vm)
    row = call("VM.get_record", vm)
    assert (row["power_state"], row["domid"], row["consoles"]) == ("Halted", -1, [])
    assert row["resident_on"] == "OpaqueRef:NULL" and row["current_operations"] == {}
    assert not call("VBD.get_currently_attached", vbd)
    assert not [key for key in call("VDI.get_sm_config", vdi) if key.startswith("host_")]
    call("VDI.destroy", vdi)
    assert messages(call, vm) == ["VM_SHUTDOWN", "VM_STARTED"]


def test_a_failed_start_leaves_the_vm_halted_and_the_disks_free(call: Caller, vm: str) -> None:
    vdi = disk(call)
    plugged(call, vm, vdi)
    other = call("VM.create", RECORD)
    free, wanted = disk(call), plugged(call, other, vdi, "1")
    plugged(call, other, free)
    call("VM.start", vm, False, False)
    assert call.error("VM.start", other, False, False) == ["VDI_IN_USE", vdi]
    row = call("VM.get_record", other)
    assert (row["power_state"], row["scheduled_to_be_resident_on"]) == ("Halted", "OpaqueRef:NULL")
    assert not call("VBD.get_currently_attached", wanted)
    call("VDI.destroy", free)


def test_hosts_run_out_of_memory(call: Caller, vm: str) -> None:
    host = call("host.get_all")[0]
    before = call("host.compute_free_memory", host)
    call("VM.set_memory", vm, before - (512 << 20))
    call("VM.start", vm, False, False)
    assert call("host.compute_free_memory", host) < 512 << 20
    second = call("VM.create", RECORD)
    call("VM.set_memory", second, 1 << 30)
    code, needed, available = call.error("VM.start_on", second, host, False, False)
    assert code == "HOST_NOT_ENOUGH_FREE_MEMORY" and int(available) < 512 << 20
    assert int(needed) == (1 << 30) + call("VM.compute_memory_overhead", second)
    assert call.error("VM.start", second, False, False) == ["NO_HOSTS_AVAILABLE"]
    call("VM.hard_shutdown", vm)
    assert call("host.compute_free_memory", host) == before


def test_pausing_suspending_and_resuming(call: Caller, vm: str) -> None:
    call("VM.start", vm, True, False)
    assert call("VM.get_power_state", vm) == "Paused"
    call("VM.unpause", vm)
    call("VM.suspend", vm)
    image = call("VM.get_suspend_VDI", vm)
    assert call("VDI.get_type", image) == "suspend"
    call("VM.resume", vm, False, False)
    assert call("VM.get_power_state", vm) == "Running"
    assert call.error("VDI.get_record", image) == ["HANDLE_INVALID", "VDI", image]
    call("VM.suspend", vm)
    image = call("VM.get_suspend_VDI", vm)
    call("VM.hard_shutdown", vm)
    assert call.error("VDI.get_record", image) == ["HANDLE_INVALID", "VDI", image]


def test_a_reboot_gives_a_new_domain(call: Caller, vm: str) -> None:
    vbd = plugged(call, vm, disk(call))
    call("VM.start", vm, False, False)
    first, uuid = call("VM.get_domid", vm), call("console.get_uuid", call("VM.get_consoles", vm)[0])
    call("VM.clean_reboot", vm)
    second = call("VM.get_domid", vm)
    call("VM.hard_reboot", vm)
    assert len({first, second, call("VM.get_domid", vm)}) == 3
    assert uuid not in [call("console.get_uuid", console) for console in call("VM.get_consoles", vm)]
    assert call("VBD.get_currently_attached", vbd)


@pytest.mark.parametrize(
    ("end", "setting", "value", "state", "message"),
    [
        (End.HALTED, "actions_after_shutdown", "destroy", "Halted", "VM_SHUTDOWN"),
        (End.HALTED, "actions_after_shutdown", "restart", "Running", "VM_REBOOTED"),
        (End.REBOOTED, "actions_after_reboot", "restart", "Running", "VM_REBOOTED"),
        (End.REBOOTED, "actions_after_reboot", "destroy", "Halted", "VM_SHUTDOWN"),
        (End.CRASHED, "actions_after_crash", "destroy", "Halted", "VM_CRASHED"),
        # it crashed within moments of its start: starting it again would go on for ever
        (End.CRASHED, "actions_after_crash", "restart", "Halted", "VM_CRASHED"),
    ],
)
def test_what_follows_the_end_of_a_guest_is_what_the_vm_wants(
    call: Caller, xapi_host: EmbeddedHost, vm: str, end: End, setting: str, value: str, state: str, message: str
) -> None:
    call(f"VM.set_{setting}", vm, value)
    call("VM.start", vm, False, False)
    before = call("VM.get_domid", vm)
    domain(xapi_host, vm).end_by_itself(end)
    wait_for(xapi_host, vm, power_state=state)
    if state == "Running":
        assert xapi_host.pool.store.wait(lambda: xapi_host.pool.store.get("VM", vm)["domid"] != before, SECONDS)
    assert message in messages(call, vm)


def test_a_hard_shutdown_ends_a_clean_one_that_does_not_get_on(call: Caller, xapi_host: EmbeddedHost) -> None:
    vm = call("VM.create", {**RECORD, "platform": {"timed_ignores_requests": "true"}})
    call("VM.start", vm, False, False)
    task = call("Async.VM.clean_shutdown", vm)
    store = xapi_host.pool.store
    assert store.wait(lambda: "clean_shutdown" in store.get("VM", vm)["current_operations"].values(), SECONDS)
    assert "clean_shutdown" not in call("VM.get_allowed_operations", vm)
    call("VM.hard_shutdown", vm)
    assert store.wait(lambda: store.get("task", task)["status"] not in ("pending", "cancelling"), SECONDS)
    assert store.get("task", task)["error_info"][0] == "TASK_CANCELLED"
    assert call("VM.get_power_state", vm) == "Halted"


def test_data_sources_belong_to_running_vms(call: Caller, vm: str) -> None:
    assert call.error("VM.get_data_sources", vm) == ["VM_BAD_POWER_STATE", vm, "running", "halted"]
    assert call.error("VM.query_data_source", vm, "cpu0") == ["VM_BAD_POWER_STATE", vm, "running;paused", "halted"]
    call("VM.start", vm, True, False)
    assert isinstance(call("VM.query_data_source", vm, "cpu0"), float)


def test_disks_and_nics_come_and_go_while_the_vm_runs(call: Caller, vm: str) -> None:
    call("VM.start", vm, False, False)
    vdi = disk(call)
    vbd = plugged(call, vm, vdi, "2")
    call("VBD.plug", vbd)
    assert call("VBD.get_device", vbd) == "xvdc"
    call("VBD.unplug", vbd)
    call("VBD.destroy", vbd)
    call("VDI.destroy", vdi)
    network = call("network.get_all")[0]
    vif = call("VIF.create", {"device": "0", "network": network, "VM": vm, "MAC": "", "MTU": 0, "other_config": {},
                              "qos_algorithm_type": "", "qos_algorithm_params": {}})  # fmt: skip
    call("VIF.plug", vif)
    assert call("VIF.get_currently_attached", vif)
    call("VIF.unplug", vif)


def test_vms_run_on_when_the_toolstack_restarts(call: Caller, xapi_host: EmbeddedHost, vm: str) -> None:
    vdi = disk(call)
    plugged(call, vm, vdi)
    call("VM.start", vm, False, False)
    before = call("VM.get_record", vm)
    xapi_host.restart()
    again = Caller(xapi_host.urls[0], password=xapi_host.password)
    after = again("VM.get_record", vm)
    assert (after["power_state"], after["domid"]) == ("Running", before["domid"])
    assert domain(xapi_host, vm).is_alive()
    assert again.error("VDI.destroy", vdi) == ["VDI_IN_USE", vdi, "destroy"]
    again("VM.clean_shutdown", vm)
    again("VDI.destroy", vdi)
    again.close()


def connect(xapi: EmbeddedHost, path: str) -> socket.socket:
    address = urlsplit(xapi.urls[0])
    line = socket.create_connection((address.hostname, address.port), timeout=SECONDS)
    line.sendall(f"CONNECT {path} HTTP/1.0\r\n\r\n".encode())
    return line


def read_until(line: socket.socket, end: bytes) -> bytes:
    data = b""
    while end not in data:
        part = line.recv(1 if end == b"\r\n\r\n" else 4096)
        assert part, data
        data += part
    return data


def test_consoles_are_served_where_the_vm_runs(call: Caller, xapi_host: EmbeddedHost, vm: str) -> None:
    call("VM.start", vm, False, False)
    by_protocol = {call("console.get_protocol", ref): ref for ref in call("VM.get_consoles", vm)}
    uuid = call("console.get_uuid", by_protocol["vt100"])
    with connect(xapi_host, f"/console?uuid={uuid}&session_id={call.session}") as line:
        assert read_until(line, b"\r\n\r\n").startswith(b"HTTP/1.1 200 OK\r\n")
        assert b"Booting vm" in read_until(line, b"login: ")
    for name in (f"ref={by_protocol['rfb']}", f"uuid={call('VM.get_uuid', vm)}"):
        with connect(xapi_host, f"/console?{name}&session_id={call.session}") as line:
            read_until(line, b"\r\n\r\n")
            assert line.recv(12) == b"RFB 003.008\n"
    for path, status in (
        (f"/console?uuid={uuid}", b"HTTP/1.0 401"),
        (f"/console?uuid=nope&session_id={call.session}", b"HTTP/1.0 500"),
        (f"/console?session_id={call.session}", b"HTTP/1.0 500"),
    ):
        with connect(xapi_host, path) as line:
            assert read_until(line, b"\r\n").startswith(status)
    call("VM.hard_shutdown", vm)
    with connect(xapi_host, f"/console?uuid={uuid}&session_id={call.session}") as line:
        assert read_until(line, b"\r\n").startswith(b"HTTP/1.0 500")


def test_guests_that_end_with_the_host_are_halted_afterwards(tmp_path: Path) -> None:
    with EmbeddedHost(tmp_path) as xapi:
        first = Caller(xapi.urls[0], password=xapi.password)
        vm = first("VM.create", RECORD)
        vdi = disk(first)
        plugged(first, vm, vdi)
        first("VM.start", vm, False, False)
        first.close()
        xapi.stop(stop_guests=True)
    with EmbeddedHost(tmp_path) as xapi:
        second = Caller(xapi.urls[0], password=xapi.password)
        assert second("VM.get_power_state", vm) == "Halted"
        assert second("VM.get_VBDs", vm) and "VM_SHUTDOWN" in messages(second, vm)
        second("VM.start", vm, False, False)
        second.close()


def test_a_websocket_carries_the_console(call: Caller, xapi_host: EmbeddedHost, vm: str) -> None:
    call("VM.start", vm, False, False)
    uuid = next(
        call("console.get_uuid", ref)
        for ref in call("VM.get_consoles", vm)
        if call("console.get_protocol", ref) == "vt100"
    )
    address = urlsplit(xapi_host.urls[0])
    with socket.create_connection((address.hostname, address.port), timeout=SECONDS) as line:
        lines = [
            f"GET /console?uuid={uuid}&session_id={call.session} HTTP/1.1", "Host: x", "Connection: Upgrade",
            "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
            "Sec-WebSocket-Protocol: base64, binary",
        ]  # fmt: skip
        line.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
        head = read_until(line, b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101 ") and b"Sec-WebSocket-Protocol: binary\r\n" in head
        assert b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in head
        text = b""
        while b"login: " not in text:
            text += frame(line)[1]
        # a masked text frame with a carriage return, then a ping
        line.sendall(b"\x82\x81\x01\x02\x03\x04" + bytes([13 ^ 1]) + b"\x89\x81\x01\x02\x03\x04" + bytes([65 ^ 1]))
        got = [frame(line), frame(line)]
        assert (10, b"A") in got and any(b"nobody is here" in payload for _, payload in got)
        line.sendall(b"\x88\x80\x00\x00\x00\x00")
        assert frame(line)[0] == 8
        assert line.recv(1) == b""


def frame(line: socket.socket) -> tuple[int, bytes]:
    """One unmasked frame of a server."""
    first, length = exactly(line, 2)
    if length == 126:
        length = int.from_bytes(exactly(line, 2), "big")
    return first & 15, exactly(line, length)


def exactly(line: socket.socket, length: int) -> bytes:
    data = b""
    while len(data) < length:
        part = line.recv(length - len(data))
        assert part, data
        data += part
    return data
