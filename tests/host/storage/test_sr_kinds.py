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
"""SRs of every kind: where their files are, what a host says to bad ones, what a restart of the toolstack leaves."""

import http.client
import json
import subprocess
import threading
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from xml.etree import ElementTree

import pytest

from xapi_caller import Caller
from xapikit import vhd
from xapikit.host import EmbeddedHost
from xapikit.host.errors import ApiError
from xapikit.host.storage.drivers import drivers, sr_directory
from xapikit.host.storage.errors import backend_failure

MIB = 1 << 20


def create_sr(call: Caller, host: str, kind: str, config: dict[str, str], *, shared: bool = False) -> str:
    sr: str = call("SR.create", host, config, 0, "sr", "", kind, "user", shared, {})
    return sr


def create_vdi(call: Caller, sr: str) -> str:
    record = {"SR": sr, "virtual_size": 4 * MIB, "type": "user", "sharable": False, "read_only": False}
    vdi: str = call("VDI.create", {**record, "other_config": {}})
    return vdi


def test_an_nfs_sr_is_a_directory_of_its_uuid_on_the_export(xapi_pool: EmbeddedHost) -> None:
    call = Caller(xapi_pool.urls[0], password=xapi_pool.password)
    config = {"server": "filer.example", "serverpath": "/export/vms"}
    sr = create_sr(call, xapi_pool.hosts[0].ref, "nfs", config, shared=True)
    assert len(call("SR.get_PBDs", sr)) == 2 and len(call("SR.get_live_hosts", sr)) == 2
    vdi = create_vdi(call, sr)
    uuid, vdi_uuid = call("SR.get_uuid", sr), call("VDI.get_uuid", vdi)
    path = xapi_pool.settings.state / "shares" / "filer.example" / "export" / "vms" / uuid / f"{vdi_uuid}.vhd"
    assert vhd.info(path).virtual_size == 4 * MIB
    # what is there is found by a probe, forgotten, introduced again, and its disks with it
    assert uuid in call("SR.probe", xapi_pool.hosts[0].ref, config, "nfs", {})
    for pbd in call("SR.get_PBDs", sr):
        call("PBD.unplug", pbd)
    call("SR.forget", sr)
    assert call.error("VDI.get_uuid", vdi)[0] == "HANDLE_INVALID"
    again = call("SR.introduce", uuid, "again", "", "nfs", "user", True, {})
    pbd = call("PBD.create", {"SR": again, "host": xapi_pool.hosts[1].ref, "device_config": config})
    call("PBD.plug", pbd)
    call("SR.scan", again)
    assert [call("VDI.get_uuid", ref) for ref in call("SR.get_VDIs", again)] == [vdi_uuid]


def test_two_pools_with_one_share_root_see_each_others_disks(xapi_factory: Any, tmp_path: Path) -> None:
    config = {"server": "filer", "serverpath": "/vms"}
    one, two = (xapi_factory(options={"share_root": str(tmp_path)}) for _ in range(2))
    first, second = (Caller(xapi.urls[0], password=xapi.password) for xapi in (one, two))
    sr = create_sr(first, one.hosts[0].ref, "nfs", config, shared=True)
    uuid = first("VDI.get_uuid", create_vdi(first, sr))
    other = second("SR.introduce", first("SR.get_uuid", sr), "same", "", "nfs", "user", True, {})
    second("PBD.plug", second("PBD.create", {"SR": other, "host": two.hosts[0].ref, "device_config": config}))
    second("SR.scan", other)
    assert second("VDI.get_by_uuid", uuid)


@pytest.mark.parametrize(
    ("kind", "config", "error"),
    [
        ("ext", {}, "SR_BACKEND_FAILURE_90"),
        ("nfs", {}, "SR_BACKEND_FAILURE_102"),
        ("nfs", {"server": "a"}, "SR_BACKEND_FAILURE_101"),
        ("nfs", {"server": "a", "serverpath": "/../../etc"}, "SR_BACKEND_FAILURE_73"),
        ("nfs", {"server": "..", "serverpath": "/x"}, "SR_BACKEND_FAILURE_73"),
        ("nfs", {"server": "a", "serverpath": "/x\u0000y"}, "SR_BACKEND_FAILURE_73"),
        ("smb", {"server": "//a/../../../etc"}, "SR_BACKEND_FAILURE_73"),
        ("iso", {}, "SR_BACKEND_FAILURE_94"),
        ("iso", {"location": "/etc", "legacy_mode": "true"}, "SR_BACKEND_FAILURE_226"),
        ("iso", {"location": "relative", "legacy_mode": "true"}, "SR_BACKEND_FAILURE_226"),
        ("file", {"location": "/"}, "SR_BACKEND_FAILURE_226"),
    ],
)
def test_a_device_config_never_leads_out_of_the_state_directory(
    xapi_host: EmbeddedHost, kind: str, config: dict[str, str], error: str
) -> None:
    with pytest.raises(ApiError) as caught:
        sr_directory(drivers()[kind], "12345678-0000-4000-8000-000000000001", config, xapi_host.settings)
    assert caught.value.code == error


def test_the_exports_of_a_server_are_in_the_error_of_an_incomplete_probe(xapi_host: EmbeddedHost, call: Caller) -> None:
    host = xapi_host.hosts[0].ref
    create_sr(call, host, "nfs", {"server": "filer", "serverpath": "/export/vms"}, shared=True)
    (xapi_host.settings.state / "shares" / "filer" / "export" / "empty").mkdir()
    code, *_, listing = call.error("SR.probe", host, {"server": "filer"}, "nfs", {})
    assert code == "SR_BACKEND_FAILURE_101"
    exports = ElementTree.fromstring(listing)
    assert exports.tag == "nfs-exports"
    assert [export.findtext("Path") for export in exports] == ["/export/empty", "/export/vms"]
    assert {export.findtext("Target") for export in exports} == {"filer"}
    assert call.error("SR.probe", host, {}, "nfs", {})[0] == "SR_BACKEND_FAILURE_102"


def test_a_forgotten_sr_is_found_on_its_device(xapi_host: EmbeddedHost, call: Caller) -> None:
    host, config = xapi_host.hosts[0].ref, {"device": "/dev/sdb"}
    sr = create_sr(call, host, "ext", config)
    uuid, vdi_uuid = call("SR.get_uuid", sr), call("VDI.get_uuid", create_vdi(call, sr))
    error = call.error("SR.create", host, config, 0, "second", "", "ext", "user", False, {})
    assert error[0] == "SR_BACKEND_FAILURE_16", "one SR on a device"
    (pbd,) = call("SR.get_PBDs", sr)
    call("PBD.unplug", pbd)
    call("SR.forget", sr)

    def found(device: str) -> list[str | None]:
        answer = ElementTree.fromstring(call("SR.probe", host, {"device": device}, "ext", {}))
        return [one.findtext("UUID") for one in answer if one.findtext("Devlist") == device]

    assert (found("/dev/sdb"), found("/dev/sdc")) == ([uuid], [])
    again = call("SR.introduce", uuid, "again", "", "ext", "user", False, {})
    call("PBD.plug", call("PBD.create", {"SR": again, "host": host, "device_config": config}))
    call("SR.scan", again)
    assert call("VDI.get_uuid", call("SR.get_VDIs", again)[0]) == vdi_uuid
    call("VDI.destroy", call("SR.get_VDIs", again)[0])
    call("PBD.unplug", call("SR.get_PBDs", again)[0])
    call("SR.destroy", again)
    assert found("/dev/sdb") == []


def test_an_sr_of_files_has_no_figures_of_its_own(xapi_host: EmbeddedHost, call: Caller) -> None:
    sr = xapi_host.pool.row["default_SR"]
    assert call("SR.get_data_sources", sr) == []
    assert call.error("SR.query_data_source", sr, "size")[0] == "INTERNAL_ERROR"
    call("SR.forget_data_source_archives", sr, "size")
    assert call.error("SR.get_data_sources", "OpaqueRef:nope") == ["HANDLE_INVALID", "SR", "OpaqueRef:nope"]


def test_each_pbd_has_its_own_copy_of_a_secret(xapi_pool: EmbeddedHost) -> None:
    call = Caller(xapi_pool.urls[0], password=xapi_pool.password)
    secret = call("secret.create", {"value": "hunter2", "other_config": {}})
    given = call("secret.get_uuid", secret)
    config = {"server": "//filer/share", "username": "u", "password_secret": given}
    sr = create_sr(call, xapi_pool.hosts[0].ref, "smb", config, shared=True)
    pbds = call("SR.get_PBDs", sr)
    copies = [call("PBD.get_device_config", pbd)["password_secret"] for pbd in pbds]
    assert len({*copies, given}) == 3
    assert [call("secret.get_value", call("secret.get_by_uuid", uuid)) for uuid in copies] == ["hunter2"] * 2
    for pbd in pbds:
        call("PBD.unplug", pbd)
    call("SR.forget", sr)
    assert call("secret.get_all") == [secret]
    error = call.error("SR.create", xapi_pool.hosts[0].ref, {"SRmaster": "true"}, 0, "n", "", "dummy", "", False, {})
    assert error == ["VALUE_NOT_SUPPORTED", "SRmaster", "true", "This key is for internal use only"]


def test_a_shared_sr_is_not_plugged_on_a_host_that_is_off(xapi_pool: EmbeddedHost) -> None:
    call = Caller(xapi_pool.urls[0], password=xapi_pool.password)
    member = xapi_pool.hosts[1].ref
    xapi_pool.power_off(member)
    sr = create_sr(call, xapi_pool.hosts[0].ref, "nfs", {"server": "filer", "serverpath": "/vms"}, shared=True)
    attached = {
        row["host"]: row["currently_attached"]
        for row in [call("PBD.get_record", pbd) for pbd in call("SR.get_PBDs", sr)]
    }
    assert attached == {xapi_pool.hosts[0].ref: True, member: False}


def test_the_disks_in_use_keep_an_sr_plugged(xapi_host: EmbeddedHost, call: Caller) -> None:
    sr = xapi_host.pool.row["default_SR"]
    vdis = [create_vdi(call, sr) for _ in range(2)]
    for vdi in vdis:
        a_running_vm(call, vdi)
    (pbd,) = call("SR.get_PBDs", sr)
    code, *in_use = call.error("PBD.unplug", pbd)
    assert (code, sorted(in_use)) == ("VDI_IN_USE", sorted(vdis))


def test_a_failed_creation_leaves_no_rows(xapi_host: EmbeddedHost, call: Caller) -> None:
    before = (len(call("SR.get_all")), len(call("PBD.get_all")))
    missing = {"location": str(xapi_host.settings.state / "nowhere"), "legacy_mode": "true"}
    for kind, config in (("nfs", {}), ("iso", missing)):
        error = call.error("SR.create", xapi_host.hosts[0].ref, config, 0, "n", "", kind, "user", False, {})
        assert error[0].startswith("SR_BACKEND_FAILURE_")
    assert (len(call("SR.get_all")), len(call("PBD.get_all"))) == before


def test_the_operators_directories_may_be_opened(xapi_factory: Any, tmp_path: Path) -> None:
    (tmp_path / "isos").mkdir()
    (tmp_path / "isos" / "a.iso").write_bytes(b"x" * 2048)
    xapi = xapi_factory(options={"storage_directories": str(tmp_path / "isos")})
    call = Caller(xapi.urls[0], password=xapi.password)
    config = {"location": str(tmp_path / "isos"), "legacy_mode": "true"}
    sr = call("SR.create", xapi.hosts[0].ref, config, 0, "isos", "", "iso", "iso", False, {})
    assert [call("VDI.get_name_label", ref) for ref in call("SR.get_VDIs", sr)] == ["a.iso"]


def test_a_directory_that_is_no_longer_opened_does_not_keep_the_pool_from_starting(
    xapi_factory: Any, tmp_path: Path
) -> None:
    (tmp_path / "isos").mkdir()
    config = {"location": str(tmp_path / "isos"), "legacy_mode": "true"}
    options = {"storage_directories": str(tmp_path / "isos")}
    with EmbeddedHost(tmp_path / "s", options=options) as before:
        call = Caller(before.urls[0], password=before.password)
        sr = call("SR.create", before.hosts[0].ref, config, 0, "isos", "", "iso", "iso", False, {})
    xapi = xapi_factory(state=tmp_path / "s")
    call = Caller(xapi.urls[0], password=xapi.password)
    assert call.error("SR.scan", sr)[0] == "SR_BACKEND_FAILURE_226"
    create_vdi(call, xapi.pool.row["default_SR"])


def test_a_destroyed_sr_takes_its_directory_with_it(xapi_host: EmbeddedHost, call: Caller) -> None:
    sr = create_sr(call, xapi_host.hosts[0].ref, "ext", {"device": "/dev/sdb"})
    directory = xapi_host.settings.state / "sr" / call("SR.get_uuid", sr)
    vdi = create_vdi(call, sr)
    assert directory.is_dir()
    (pbd,) = call("SR.get_PBDs", sr)
    call("PBD.unplug", pbd)
    assert call.error("VDI.snapshot", vdi) == ["SR_HAS_NO_PBDS", sr]
    assert call.error("SR.destroy", sr) == ["SR_NOT_EMPTY"]
    call("PBD.plug", pbd)
    call("VDI.destroy", vdi)
    call("PBD.unplug", pbd)
    call("SR.destroy", sr)
    assert not directory.exists()


def test_a_directory_that_went_away_is_said_so(xapi_host: EmbeddedHost, call: Caller) -> None:
    sr = create_sr(call, xapi_host.hosts[0].ref, "ext", {"device": "/dev/sdb"})
    (xapi_host.settings.state / "sr" / call("SR.get_uuid", sr)).rmdir()
    assert call.error("SR.scan", sr)[0] == backend_failure(47).code


def test_disks_stay_attached_over_a_restart_of_the_toolstack(xapi_factory: Any, tmp_path: Path) -> None:
    xapi = xapi_factory(state=tmp_path / "s")
    call = Caller(xapi.urls[0], password=xapi.password)
    vdi = create_vdi(call, xapi.pool.row["default_SR"])
    vm = a_running_vm(call, vdi)
    (vbd,) = call("VDI.get_VBDs", vdi)
    # a timed guest has no data path of its own: give its disk one
    use = xapi.pool.storage.attached(vdi, holder=vbd)
    xapi.pool.storage.attachments.serve(use, xapi.pool.storage.path_of(vdi))
    assert guest(use, "write -P 3 0 1M") == ""
    xapi.restart()
    call = Caller(xapi.urls[0], password=xapi.password)
    again = xapi.pool.storage.attached(vdi, holder=vbd)
    assert again is not None and again.socket == use.socket and again.data_path.process == use.data_path.process
    assert guest(again, "read -P 3 0 1M") == ""
    assert call.error("VDI.destroy", vdi) == ["VDI_IN_USE", vdi, "destroy"]
    snapshot = call("VDI.snapshot", vdi)
    call("VM.hard_shutdown", vm)
    call("VDI.destroy", snapshot)
    call("VDI.destroy", vdi)
    assert not list((tmp_path / "s" / "run" / "disk").iterdir())


def test_a_broken_disk_does_not_keep_the_pool_from_starting(xapi_factory: Any, tmp_path: Path) -> None:
    xapi = xapi_factory(state=tmp_path / "s", password="secret")
    call = Caller(xapi.urls[0], password="secret")
    sr = xapi.pool.row["default_SR"]
    vdi = create_vdi(call, sr)
    path = xapi.pool.storage.path_of(vdi)
    path.write_bytes(path.read_bytes()[:700])
    xapi.restart()
    call = Caller(xapi.urls[0], password="secret")
    assert call.error("SR.scan", sr)[0] == "SR_BACKEND_FAILURE_40"
    assert call.error("VDI.snapshot", vdi)[0] == "SR_BACKEND_FAILURE_65"
    with pytest.raises(ApiError) as caught:
        xapi.pool.storage.attach(vdi, False, holder="vbd")
    assert caught.value.code == "SR_BACKEND_FAILURE_46"
    call("VDI.destroy", vdi)
    call("SR.scan", sr)


def test_srs_are_made_full_and_slow_over_http(xapi_host: EmbeddedHost, call: Caller) -> None:
    uuid = call("SR.get_uuid", xapi_host.pool.row["default_SR"])

    def control(method: str, body: Any = None) -> Any:
        connection = http.client.HTTPConnection(urlsplit(xapi_host.urls[0]).netloc, timeout=30)
        try:
            path = f"/_embedded/storage?session_id={call.session}"
            connection.request(method, path, None if body is None else json.dumps(body))
            return json.loads(connection.getresponse().read())
        finally:
            connection.close()

    assert uuid in [one["sr"] for one in control("GET")]
    answer = control("POST", {"sr": uuid, "limit_bytes": MIB, "bytes_per_second": 4 * MIB})
    assert answer["limit_bytes"] == MIB and answer["bytes_per_second"] == 4 * MIB and answer["physical_size"] == MIB
    record = {"SR": call("SR.get_by_uuid", uuid), "virtual_size": MIB, "type": "user", "sharable": False}
    error = call.error("VDI.create", {**record, "read_only": False, "other_config": {}})
    assert error[0] == "SR_BACKEND_FAILURE_44"
    control("POST", {"sr": uuid, "limit_bytes": None})
    vdi = create_vdi(call, record["SR"])
    started = time.monotonic()
    storage = xapi_host.pool.storage
    with storage.opened(vdi, read_only=False, holder="test", host=xapi_host.hosts[0].ref) as disk:
        disk.pwrite(0, b"x" * MIB)
    assert time.monotonic() - started > 0.2, "1 MiB at 4 MiB/s"
    answer = control("POST", {"sr": uuid, "bytes_per_second": None, "latency_ms": 50})
    assert answer["latency_ms"] == 50 and answer["bytes_per_second"] is None
    started = time.monotonic()
    with storage.opened(vdi, read_only=False, holder="test", host=xapi_host.hosts[0].ref) as disk:
        disk.pwrite(0, b"x")
        disk.write_zeroes(0, MIB)
        disk.flush()
    assert 0.15 <= time.monotonic() - started < 2, "50 ms each"
    control("POST", {"sr": uuid, "latency_ms": None})
    use = storage.attach(vdi, False, holder="vbd")
    ended = threading.Event()
    storage.on_data_path_ended(lambda *_: ended.set())
    assert control("POST", {"kill_data_paths": call("VDI.get_uuid", vdi)}) == {"killed": 1}
    assert ended.wait(20) and use.data_path.status()["paused"] is False, "started again"
    storage.detach(vdi, holder="vbd")
    assert control("POST", {"kill_data_paths": call("VDI.get_uuid", vdi)}) == {"killed": 0}
    for wrong in (
        {"sr": "nope"},
        [],
        {"sr": uuid, "limit_bytes": "1"},
        {"sr": uuid, "bytes_per_second": 0},
        {"x": 1},
        {"kill_data_paths": "nope"},
        {"kill_data_paths": uuid, "sr": uuid},
        {"sr": uuid, "latency_ms": -1},
    ):
        assert "error" in control("POST", wrong)


def test_the_library_is_scanned_in_the_background(xapi_host: EmbeddedHost, call: Caller) -> None:
    (xapi_host.settings.state / "iso" / "host1" / "new.iso").write_bytes(b"x" * 2048)
    xapi_host.pool.storage.auto_scan.scan_all()
    assert call("VDI.get_by_name_label", "new.iso")


def test_the_disk_of_a_running_guest_moves_to_another_sr_under_it(xapi_host: EmbeddedHost, call: Caller) -> None:
    storage = xapi_host.pool.storage
    source, target = (
        xapi_host.pool.row["default_SR"],
        create_sr(call, xapi_host.hosts[0].ref, "ext", {"device": "/dev/b"}),
    )
    vdi = create_vdi(call, source)
    call("VDI.set_name_label", vdi, "root")
    vm = a_running_vm(call, vdi)
    (vbd,) = call("VDI.get_VBDs", vdi)
    # a timed guest has no data path of its own: give its disk one, and something that writes
    use = storage.attached(vdi, holder=vbd)
    storage.attachments.serve(use, storage.path_of(vdi))
    assert guest(use, "write -P 1 0 1M", "write -P 2 2M 64k") == ""
    writer = subprocess.Popen(
        ["qemu-io", "-f", "raw", use.nbd_uri], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    )
    assert writer.stdin is not None
    writer.stdin.write("".join(f"write -P 3 {3 * 1024 + n}k 1k\n" for n in range(300)))
    writer.stdin.flush()
    moved = call("VDI.pool_migrate", vdi, target, {})
    writer.stdin.close()
    writer.wait(30)
    assert moved != vdi and call("VDI.get_SR", moved) == target and call("VDI.get_name_label", moved) == "root"
    assert call.error("VDI.get_uuid", vdi)[0] == "HANDLE_INVALID" and call("VBD.get_VDI", vbd) == moved
    assert call("VDI.get_sm_config", moved)[f"host_{xapi_host.hosts[0].ref}"] == "RW"
    assert guest(use, "read -P 1 0 1M", "read -P 2 2M 64k", "read -P 3 3M 300k", "write -P 4 0 64k") == ""
    assert storage.collector.wait_idle(30) and call("SR.get_VDIs", source) == []
    call("VM.hard_shutdown", vm)
    with vhd.open_chain(storage.path_of(moved)) as disk:
        assert disk.pread(0, 8) == b"\4" * 8 and disk.pread(3 * MIB, 300 * 1024) == b"\3" * 300 * 1024
    assert call.error("VDI.pool_migrate", moved, source, {}) == ["VDI_NEEDS_VM_FOR_MIGRATE", moved]


def guest(use: Any, *commands: str) -> str:
    """What goes wrong when a guest does this."""
    line = ["qemu-io", "-f", "raw"]
    for command in commands:
        line += ["-c", command]
    done = subprocess.run([*line, use.nbd_uri], capture_output=True, text=True, timeout=30, check=False)
    said = done.stdout + done.stderr
    return said if "rror" in said or "failed" in said else ""


def a_running_vm(call: Caller, vdi: str) -> str:
    (template,) = call("VM.get_by_name_label", "Other install media")
    vm: str = call("VM.clone", template, "vm")
    call("VM.provision", vm)
    record = {"VM": vm, "VDI": vdi, "userdevice": "0", "bootable": True, "mode": "RW", "type": "Disk", "empty": False}
    call("VBD.create", {**record, "other_config": {}, "qos_algorithm_type": "", "qos_algorithm_params": {}})
    call("VM.start", vm, False, False)
    return vm
