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
"""What operators fetch from a host: backups, logs, reports, and the log of who changed what."""

import gzip
import io
import re
import tarfile
import xml.etree.ElementTree as ElementTree
import zipfile
from pathlib import Path
from typing import Any

import pytest

from archive_rig import Archives
from transfer_rig import Answer, Handlers
from xapi_caller import Caller
from xapikit.host import EmbeddedHost
from xapikit.host.pytest_plugin import XapiFactory
from xapikit.host.server.audit import KEPT
from xapikit.host.server.sessions import Account

LINE = re.compile(
    r"\w{3} [ \d]\d \d\d:\d\d:\d\d \S+ xapi: \[(?P<stamp>\d{8}T\d\d:\d\d:\d\d\.\d{3}Z)\|audit\|[^\]]*\|audit\] "
    r"\('trackid=[0-9a-f]{32}' '(?P<subject>[^']*)' '(?P<user>[^']*)' '(?P<allowed>\w+)' '(?P<outcome>[^']*)' "
    r"'(?P<kind>\w+)' '(?P<name>[^']*)' \((?P<objects>.*)\)\)"
)


def fetched(archives: Handlers, path: str, query: str = "", **more: Any) -> Answer:
    task = archives.task()
    answer = archives.send("GET", path, f"task_id={task}&{query}", **more)
    assert archives.outcome(task) == ("success", "")
    assert answer.status.endswith(" 200 OK")
    return answer


def names(archive: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        return {info.name: file.read() for info in tar if (file := tar.extractfile(info)) is not None}


def audited(archives: Archives, since: str = "") -> list[dict[str, str]]:
    lines = fetched(archives, "/audit_log", f"since={since}").body.decode().splitlines()
    found = [LINE.fullmatch(line) for line in lines]
    assert all(found), lines
    return [match.groupdict() for match in found if match]


def test_a_backup_has_the_files_of_dom0_and_the_database(archives: Archives) -> None:
    root = archives.xapi.pool.programs.root(archives.xapi.hosts[0].uuid)
    plugin = root / "etc/xapi.d/plugins/mine"
    plugin.write_text("#!/bin/sh\n")
    (root / "etc/passwd").symlink_to("/etc/passwd")
    found = names(gzip.decompress(fetched(archives, "/host_backup").body))
    assert found["etc/xapi.d/plugins/mine"] == b"#!/bin/sh\n"
    assert b"<database>" in found["var/lib/xcp/state.db"]
    assert "etc/passwd" not in found, "links lead elsewhere"
    # each host has its own
    other = names(gzip.decompress(fetched(archives, "/host_backup", url=archives.xapi.urls[1]).body))
    assert "etc/xapi.d/plugins/mine" not in other


def test_a_backup_is_checked_and_kept(archives: Archives) -> None:
    body = fetched(archives, "/host_backup").body
    task = archives.task()
    answer = archives.send("PUT", "/host_restore", f"task_id={task}", body)
    assert answer.status == "HTTP/1.1 200 OK" and archives.outcome(task) == ("success", "")
    (kept,) = Path(archives.xapi.pool.state, "backups").iterdir()
    assert kept.read_bytes() == body


def test_what_is_no_backup_is_refused(archives: Archives) -> None:
    bodies = [b"", b"garbage"]
    for name in ("../../evil", "/evil", "plain"):
        made = io.BytesIO()
        with tarfile.open(fileobj=made, mode="w:gz") as tar:
            tar.addfile(tarfile.TarInfo(name))
        bodies.append(made.getvalue())
    for body in bodies:
        task = archives.task()
        archives.send("PUT", "/host_restore", f"task_id={task}", body)
        status, error = archives.outcome(task)
        assert (status, error[0]) == ("failure", "RESTORE_SCRIPT_FAILED")
    assert not list(Path(archives.xapi.pool.state, "backups").iterdir())


def test_a_report_has_an_inventory_and_what_was_asked_for(archives: Archives) -> None:
    guest = archives.guest()
    archives.call("VM.start_on", guest.vm, archives.xapi.pool.coordinator, False, False)
    archives.call("secret.create", {"value": "hidden-word", "other_config": {}})
    for form in ("tar", "tar.bz2", "zip"):
        answer = fetched(archives, "/system-status", f"output={form}")
        assert answer.headers["content-disposition"].endswith(f'.{form}"')
        if form == "zip":
            with zipfile.ZipFile(io.BytesIO(answer.body)) as packed:
                found = {name: packed.read(name) for name in packed.namelist()}
        else:
            found = names(answer.body)
        (top,) = {name.partition("/")[0] for name in found}
        inventory = ElementTree.fromstring(found[f"{top}/inventory.xml"])
        listed = {entry.get("filename") for entry in inventory}
        assert listed == found.keys() - {f"{top}/inventory.xml"}
        assert guest.uuid in found[f"{top}/list_domains.out"].decode()
        assert not any(b"hidden-word" in content for content in found.values())
    alone = fetched(archives, "/system-status", "entries=xenserver-domains").body
    assert {name.partition("/")[2] for name in names(alone)} == {"list_domains.out", "inventory.xml"}


def test_a_report_can_be_asked_what_it_can_have(archives: Archives) -> None:
    answer = archives.send("GET", "/system-status", "list=true")
    assert answer.headers["content-type"] == "application/xml"
    text = archives.call("host.get_system_status_capabilities", archives.xapi.pool.coordinator)
    assert answer.body.decode() == text
    keys = [item.get("key") for item in ElementTree.fromstring(text)]
    assert "system-logs" in keys and "xenserver-databases" in keys


def test_changes_are_audited_and_reads_are_not(archives: Archives) -> None:
    vm = archives.call("VM.clone", archives.template(), "it's mine")
    archives.call("VM.set_name_description", vm, "a secret thing")
    archives.call("VM.get_record", vm)
    archives.call.error("VM.start", vm, False, True)
    archives.call.error("VM.suspend", vm)
    found = audited(archives)
    assert [entry["name"] for entry in found] == ["VM.clone", "VM.set_name_description", "VM.start", "VM.suspend"]
    uuid = archives.call("VM.get_uuid", vm)
    assert found[1]["objects"] == f"('self' 'it\\'s mine' '{uuid}' '{vm}')"
    assert found[3]["outcome"].startswith("ERROR:VM_BAD_POWER_STATE")
    assert {(entry["subject"], entry["allowed"], entry["kind"]) for entry in found} == {
        ("LOCAL_SUPERUSER", "ALLOWED", "API")
    }
    text = fetched(archives, "/audit_log").body.decode()
    assert "secret thing" not in text and archives.call.session not in text


def test_transfers_are_audited_and_a_moment_cuts_the_log(archives: Archives) -> None:
    guest = archives.guest()
    archives.export(guest.uuid)
    archives.export("nope")
    found = [entry for entry in audited(archives) if entry["name"] == "http/get_export"]
    assert [entry["kind"] for entry in found] == ["HTTP", "HTTP"]
    assert found[0]["outcome"] == "OK" and found[1]["outcome"].startswith("ERROR:")
    stamp = found[1]["stamp"]
    later = audited(archives, f"{stamp[:4]}-{stamp[4:6]}-{stamp[6:]}")
    assert later and all(entry["stamp"] >= stamp for entry in later)
    assert audited(archives, "2999-01-01") == []


def test_denials_are_audited(xapi_factory: XapiFactory) -> None:
    xapi = xapi_factory(accounts={"eve": Account("watching", "read-only", superuser=False)})
    handlers = Handlers(xapi)
    eve = Caller(xapi.urls[0], "eve", "watching")
    (pool,) = eve("pool.get_all")
    assert eve.error("pool.set_name_label", pool, "mine")[0] == "RBAC_PERMISSION_DENIED"
    handlers.call.session, root = eve.session, handlers.call.session
    assert handlers.send("GET", "/host_backup", "").status == "HTTP/1.1 403 Forbidden"
    handlers.call.session = root
    text = fetched(handlers, "/audit_log").body.decode()
    assert [line.split("'")[7] for line in text.splitlines()] == ["DENIED", "DENIED"]
    eve.close()


def test_a_long_log_is_cut_into_files(archives: Archives, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xapikit.host.server.audit.LARGEST", 2000)
    for number in range(60):
        archives.call("pool.set_name_label", archives.xapi.pool.ref, f"pool {number}")
    log = archives.xapi.pool.audit.path(archives.xapi.hosts[0].uuid)
    assert len(list(log.parent.glob("audit.log*"))) == 1 + KEPT
    stamps = [entry["stamp"] for entry in audited(archives)]
    assert stamps == sorted(stamps) and 20 < len(stamps) <= 60
    downloaded = names(gzip.decompress(fetched(archives, "/host_logs_download").body))
    assert "var/log/audit.log" in downloaded and f"var/log/audit.log.{KEPT}" in downloaded


def test_the_log_outlives_a_restart(xapi_host: EmbeddedHost) -> None:
    handlers = Handlers(xapi_host)
    handlers.call("pool.set_name_label", xapi_host.pool.ref, "one")
    xapi_host.restart()
    handlers = Handlers(xapi_host)
    handlers.call("pool.set_name_label", xapi_host.pool.ref, "two")
    assert len(fetched(handlers, "/audit_log").body.splitlines()) == 2
