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
"""A VM goes into an archive and comes out of it again: contents, devices and what is new about the copy."""

import gzip
import http.server
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest

from archive_rig import CONTENT, MIB, Archives, as_older_hosts, document, members, objects
from transfer_rig import noise


def test_an_archive_holds_the_document_and_the_chunks_that_are_not_zeros(archives: Archives) -> None:
    guest = archives.guest()
    answer, outcome = archives.export(guest.uuid)
    assert outcome == ("success", "")
    assert answer.headers["content-disposition"] == 'attachment; filename="export.xva"'
    assert answer.headers["server"].startswith("xapi/")
    chunks = [name for name, _ in members(answer.body)]
    wanted = [f"Ref:4/0000000{number}" for number in (0, 1, 5, 7)]
    assert chunks == ["ova.xml", *(name for chunk in wanted for name in (chunk, f"{chunk}.xxhash"))]
    (vm,) = objects(answer.body, "VM")
    assert vm["uuid"] == guest.uuid and vm["power_state"] == "Halted"
    assert [item["class"] for item in document(answer.body)["objects"]][:2] == ["VM", "VM_metrics"]
    stated = dict(members(answer.body))["Ref:4/00000000.xxhash"].decode()
    assert stated == stated.upper(), "hosts compare checksums as text, and theirs are in capitals"


@pytest.mark.parametrize("compression", ["", "true", "gzip", "zstd", "no-such-word"])
def test_a_round_trip_brings_the_contents_and_the_devices(archives: Archives, compression: str) -> None:
    guest = archives.guest()
    body = archives.archive(guest.uuid, f"use_compression={compression}")
    (vm,) = archives.imported(body)
    row = archives.store.get("VM", vm)
    assert row["name_label"] == "golden" and row["power_state"] == "Halted" and not row["is_a_template"]
    assert row["uuid"] != guest.uuid and "import_task" in row["other_config"]
    assert row["current_operations"] == {}
    (disk,) = archives.disks(vm)
    assert archives.content(disk) == CONTENT
    (vif,) = row["VIFs"]
    assert archives.store.get("VIF", vif)["network"] == guest.network
    assert archives.store.get("VIF", vif)["MAC"] != guest.mac
    assert archives.call("VM.start", vm, False, False) == ""


def test_compressed_archives_are_what_other_programs_read(archives: Archives) -> None:
    uuid = archives.guest().uuid
    plain = [name for name, _ in members(archives.archive(uuid))]
    unpacked = gzip.decompress(archives.archive(uuid, "use_compression=true"))
    assert [name for name, _ in members(unpacked)] == plain
    packed = archives.archive(uuid, "use_compression=zstd")
    unpacked = subprocess.run(["zstd", "-dc"], input=packed, capture_output=True, check=True).stdout
    assert [name for name, _ in members(unpacked)] == plain


def test_chains_of_disks_are_read_to_the_ground(archives: Archives) -> None:
    guest = archives.guest()
    snapshot = archives.call("VM.snapshot", guest.vm, "before")
    assert archives.put(f"vdi={guest.vdi}", noise(MIB, 9))[1][0] == "success"
    (after,) = archives.imported(archives.archive(guest.uuid))
    assert archives.content(archives.disks(after)[0]) == noise(MIB, 9) + CONTENT[MIB:]
    (before,) = archives.imported(archives.archive(archives.call("VM.get_uuid", snapshot)))
    assert archives.content(archives.disks(before)[0]) == CONTENT
    row = archives.store.get("VM", before)
    assert row["is_a_template"] and not row["is_a_snapshot"], "a snapshot alone comes back as a template"


def test_disks_go_in_the_order_of_the_text_of_their_names(archives: Archives) -> None:
    """With more than ten objects Ref:11 comes before Ref:4, on both sides."""
    guest = archives.guest()
    contents = {}
    for number in range(1, 7):
        vdi = archives.create(MIB)
        contents[str(number)] = noise(MIB, 20 + number)
        archives.put(f"vdi={vdi}", contents[str(number)])
        archives.attach(guest.vm, vdi, str(number))
    body = archives.archive(guest.uuid)
    stems = list(dict.fromkeys(name.partition("/")[0] for name, _ in members(body) if name != "ova.xml"))
    assert stems == sorted(stems) and "Ref:11" in stems
    (vm,) = archives.imported(body)
    for vbd in archives.store.get("VM", vm)["VBDs"]:
        row = archives.store.get("VBD", vbd)
        if row["userdevice"] in contents:
            assert archives.content(row["VDI"])[:MIB] == contents[row["userdevice"]]


@pytest.mark.parametrize("form", [0, 1, 2])
def test_archives_of_older_hosts_are_read(archives: Archives, form: int) -> None:
    body = as_older_hosts(archives.archive(archives.guest().uuid), form)
    (vm,) = archives.imported(body)
    assert archives.content(archives.disks(vm)[0]) == CONTENT


def test_a_restore_keeps_uuids_and_addresses(archives: Archives) -> None:
    guest = archives.guest()
    body = archives.archive(guest.uuid)
    _, outcome = archives.take(body, "restore=true")
    assert outcome == ("failure", ["VM_TO_IMPORT_IS_NOT_NEWER_VERSION", guest.vm, "1", "1"])
    archives.call("VM.destroy", guest.vm)
    (vm,) = archives.imported(body, "restore=true")
    row = archives.store.get("VM", vm)
    assert row["uuid"] == guest.uuid and row["version"] == 2
    assert [archives.store.get("VIF", vif)["MAC"] for vif in row["VIFs"]] == [guest.mac]
    archives.call("VM.start", vm, False, False)
    _, (status, error) = archives.take(body, "restore=true")
    assert (status, error[0]) == ("failure", "VM_BAD_POWER_STATE")


def test_a_forced_restore_takes_the_place_of_the_vm(archives: Archives) -> None:
    guest = archives.guest()
    body = archives.archive(guest.uuid)
    archives.call("VM.set_blocked_operations", guest.vm, {"destroy": "keep it"})
    before = archives.everything()
    assert archives.take(body, "restore=true&force=true")[1][1][0] == "OPERATION_BLOCKED"
    assert archives.store.get("VM", guest.vm)["uuid"] == guest.uuid
    archives.call("VM.set_blocked_operations", guest.vm, {})
    (vm,) = archives.imported(body, "restore=true&force=true")
    assert archives.store.by_uuid("VM", guest.uuid) == vm != guest.vm
    assert archives.store.peek("VM", guest.vm) is None
    assert archives.content(archives.disks(vm)[0]) == CONTENT
    assert guest.vdi in before["VDI"] & archives.everything()["VDI"], "disks outlive their VM"


def test_a_restore_does_not_share_a_mac_seed(archives: Archives) -> None:
    guest = archives.guest()
    body = archives.archive(guest.uuid)
    seed = archives.store.get("VM", guest.vm)["other_config"]["mac_seed"]
    archives.call("VM.destroy", guest.vm)
    other = archives.call("VM.clone", archives.template(), "other")
    archives.call("VM.set_other_config", other, {"mac_seed": seed})
    assert archives.take(body, "restore=true")[1] == ("failure", ["DUPLICATE_MAC_SEED", seed])
    assert archives.imported(body)


def test_a_suspended_vm_goes_on_where_it_was_saved(archives: Archives) -> None:
    guest = archives.guest()
    archives.call("VM.start", guest.vm, False, False)
    archives.call("VM.suspend", guest.vm)
    (halted,) = archives.imported(archives.archive(guest.uuid))
    assert archives.store.get("VM", halted)["power_state"] == "Halted"
    (suspended,) = archives.imported(archives.archive(guest.uuid, "preserve_power_state=true"))
    row = archives.store.get("VM", suspended)
    assert row["power_state"] == "Suspended" and row["suspend_VDI"] != archives.store.get("VM", guest.vm)["suspend_VDI"]
    archives.call("VM.resume", suspended, False, False)
    assert archives.store.get("VM", suspended)["power_state"] == "Running"


def test_a_running_vm_is_not_exported(archives: Archives) -> None:
    guest = archives.guest()
    archives.call("VM.start", guest.vm, False, False)
    answer, outcome = archives.export(guest.uuid)
    assert answer.status == "HTTP/1.1 500 Internal Error"
    assert outcome == ("failure", ["VM_BAD_POWER_STATE", guest.vm, "halted, suspended", "running"])
    assert archives.store.get("VM", guest.vm)["current_operations"] == {}


def test_an_unknown_reference_has_no_host(archives: Archives) -> None:
    task = archives.task()
    answer = archives.send("GET", "/export", f"task_id={task}&ref=OpaqueRef:nope")
    assert (answer.status, answer.body) == ("", b"")
    assert archives.outcome(task) == ("failure", ["NO_HOSTS_AVAILABLE"])


def test_exports_and_imports_go_to_the_host_that_has_the_disks(archives: Archives) -> None:
    guest = archives.guest()
    other = archives.xapi.urls[1]
    task = archives.task()
    query = f"task_id={task}&uuid={guest.uuid}"
    answer = archives.send("GET", "/export", query, url=other)
    assert answer.status == "HTTP/1.1 302 Found"
    assert answer.headers["location"] == f"{archives.xapi.urls[0]}/export?session_id={archives.call.session}&{query}"
    assert archives.call("task.get_status", task) == "pending", "the second request goes on with it"
    body = archives.archive(guest.uuid)
    answer = archives.send("PUT", "/import", f"sr_id={archives.sr}", body, url=other)
    assert answer.status == "HTTP/1.1 302 Found"


def test_disks_go_to_the_default_sr_unless_one_is_named(archives: Archives) -> None:
    body = archives.archive(archives.guest().uuid)
    task = archives.task()
    archives.send("PUT", "/import", f"task_id={task}", body)
    assert archives.outcome(task)[0] == "success"
    pool = archives.xapi.pool
    archives.call("pool.set_default_SR", pool.ref, "OpaqueRef:NULL")
    task = archives.task()
    archives.send("PUT", "/import", f"task_id={task}", body)
    assert archives.outcome(task) == ("failure", ["DEFAULT_SR_NOT_FOUND", "OpaqueRef:NULL"])


def test_networks_are_found_by_name_or_bridge_or_made(archives: Archives) -> None:
    guest = archives.guest()
    made = archives.call("network.create", {"name_label": "storage", "name_description": "", "other_config": {}})
    archives.call("VIF.move", archives.store.get("VM", guest.vm)["VIFs"][0], made)
    bridge = archives.store.get("network", made)["bridge"]
    body = archives.archive(guest.uuid)

    def network_of(vm: str) -> Any:
        return archives.store.get("VIF", archives.store.get("VM", vm)["VIFs"][0])["network"]

    (vm,) = archives.imported(body)
    assert network_of(vm) == made
    archives.call("network.set_name_label", made, "renamed")
    (vm,) = archives.imported(body)
    assert network_of(vm) == made, "by its bridge"
    for vif in list(archives.store.get("network", made)["VIFs"]):
        archives.call("VIF.destroy", vif)
    archives.call("network.destroy", made)
    (vm,) = archives.imported(body)
    row = archives.store.get("network", network_of(vm))
    assert row["name_label"] == "storage" and "import_task" in row["other_config"] and bridge


def test_a_cd_is_found_again_or_its_drive_is_empty(archives: Archives) -> None:
    guest = archives.guest()
    (directory,) = Path(archives.xapi.pool.state, "iso").glob("host1")
    (directory / "tools.iso").write_bytes(noise(MIB))
    library = next(ref for ref, row in archives.store.all("SR").items() if row["content_type"] == "iso"
                   and archives.xapi.pool.coordinator in archives.xapi.pool.storage.hosts_with(ref))  # fmt: skip
    archives.call("SR.scan", library)
    (iso,) = archives.store.find("VDI", location="tools.iso")
    archives.attach(guest.vm, iso, "3", type="CD", mode="RO", bootable=False)
    body = archives.archive(guest.uuid)
    assert not any(name.startswith("Ref:4/") for name, _ in members(body)) or len(objects(body, "VDI")) == 2

    def drive(vm: str) -> Any:
        rows = [archives.store.get("VBD", vbd) for vbd in archives.store.get("VM", vm)["VBDs"]]
        return next((row["VDI"], row["empty"]) for row in rows if row["type"] == "CD")

    (vm,) = archives.imported(body)
    assert drive(vm) == (iso, False)
    (directory / "tools.iso").unlink()
    archives.call("SR.scan", library)
    (vm,) = archives.imported(body)
    assert drive(vm) == ("OpaqueRef:NULL", True)


class Served:
    """A web server that hands out what it was given, and redirects."""

    def __init__(self, pages: dict[str, bytes | str]) -> None:
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                page = pages.get(self.path)
                if page is None:
                    self.send_error(404)
                elif isinstance(page, str):
                    self.send_response(302)
                    self.send_header("Location", page)
                    self.end_headers()
                else:
                    self.send_response(200)
                    self.send_header("Content-Length", str(len(page)))
                    self.end_headers()
                    self.wfile.write(page)

            def log_message(self, *_: object) -> None:
                """Nobody reads it."""

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"


def test_a_host_fetches_archives_itself(archives: Archives) -> None:
    body = archives.archive(archives.guest().uuid)
    web = Served({"/a.xva": body, "/moved": "/a.xva", "/loop": "/loop", "/half": body[: len(body) // 2]})
    try:
        for path in ("/a.xva", "/moved"):
            (vm,) = archives.call("VM.import", web.url + path, archives.sr, False, False)
            assert archives.content(archives.disks(vm)[0]) == CONTENT
        before = archives.everything()
        errors = {
            path: archives.call.error("VM.import", web.url + path, archives.sr, False, False)[0]
            for path in ("/loop", "/half", "/nothing")
        }
        assert errors == {
            "/loop": "IMPORT_ERROR",
            "/half": "IMPORT_ERROR_PREMATURE_EOF",
            "/nothing": "IMPORT_ERROR",
        }
        for url in ("file:///etc/passwd", "http://", "nonsense", "http://127.0.0.1:1/", "http://[::1"):
            assert archives.call.error("VM.import", url, archives.sr, False, False)[0] == "IMPORT_ERROR"
        assert archives.everything() == before
    finally:
        web.server.shutdown()
        web.server.server_close()
