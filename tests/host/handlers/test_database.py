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
"""The database as XML: complete, readable by XML tools, and put back in place of the present one."""

import http.client
import xml.etree.ElementTree as ElementTree
from typing import Any

import pytest

from archive_rig import Archives
from transfer_rig import Answer
from xapi_caller import Caller, CallFailed
from xapikit.host.backup import xmldb
from xapikit.model import MODEL

ODD = "tab\there  two blanks, 100% 'quoted' \"twice\" \\ back (a 'b') <&>\nnext line é"


def dumped(archives: Archives) -> bytes:
    task = archives.task()
    answer = archives.send("GET", "/pool/xmldbdump", f"task_id={task}")
    assert answer.status == "HTTP/1.1 200 OK"
    assert archives.outcome(task) == ("success", "")
    return answer.body


def restored(archives: Archives, body: bytes, query: str = "") -> tuple[Answer, tuple[str, Any]]:
    task = archives.task()
    answer = archives.send("PUT", "/pool/xmldbdump", f"task_id={task}&{query}", body)
    return answer, archives.outcome(task)


def test_every_table_and_row_is_in_the_dump(archives: Archives) -> None:
    guest = archives.guest()
    root = ElementTree.fromstring(dumped(archives))
    manifest = {pair.get("key"): pair.get("value") for pair in root.findall("manifest/pair")}
    assert manifest["schema_major_vsn"] == "5" and int(manifest["generation_count"] or 0) > 0
    tables = {table.get("name"): table for table in root.findall("table")}
    assert tables.keys() == {spec.name for spec in MODEL.classes.values() if spec.in_db}
    row = next(row for row in tables["VM"] if row.get("ref") == guest.vm)
    assert row.get("name__label") == "golden" and row.get("uuid") == guest.uuid
    assert row.get("VBDs") == f"('{archives.store.get('VM', guest.vm)['VBDs'][0]}')"
    assert row.get("HVM__boot_params", "").startswith("(('firmware'%.'bios')")
    assert len(tables["task"]) == len(tables["session"]) == 0


def test_what_is_written_is_read(archives: Archives) -> None:
    guest = archives.guest()
    archives.call("VM.set_name_description", guest.vm, ODD)
    archives.call("VM.set_other_config", guest.vm, {ODD: ODD, "empty": "", "'": "\\"})
    archives.call("VM.set_tags", guest.vm, [ODD, "", "plain"])
    found = xmldb.read(dumped(archives))
    for name, rows in found.rows.items():
        assert rows.keys() == archives.store.all(name).keys()
        for ref, fields in rows.items():
            row = archives.store.get(name, ref)
            assert fields == {field: row[field] for field in fields}, f"{name} {ref}"
    assert found.rows["VM"][guest.vm]["other_config"][ODD] == ODD


def test_a_dump_takes_the_place_of_the_database(archives: Archives) -> None:
    guest = archives.guest()
    body = dumped(archives)
    archives.call("VM.set_name_label", guest.vm, "renamed")
    other = archives.call("VM.clone", archives.template(), "made later")
    assert restored(archives, body, "dry_run=true")[1] == ("success", "")
    assert archives.call("VM.get_name_label", guest.vm) == "renamed", "a rehearsal changes nothing"
    token = archives.call("event.from", ["vm_appliance"], "", 0.0)["token"]
    assert restored(archives, body)[1] == ("success", "")
    with pytest.raises((CallFailed, http.client.HTTPException, OSError)):  # sessions end with the old toolstack
        archives.call("event.from", ["vm_appliance"], token, 25.0)
        archives.call("session.get_uuid", archives.call.session)
    assert archives.xapi.wait_running(20)
    again = Caller(archives.xapi.urls[0], password=archives.xapi.password)
    assert again("VM.get_name_label", guest.vm) == "golden"
    assert again.error("VM.get_uuid", other) == ["HANDLE_INVALID", "VM", other]
    assert again("VM.start", guest.vm, False, False) == ""
    again.close()


NONE = (
    b"",
    b"<database/>",
    b"<other/>",
    b"<!DOCTYPE database [<!ENTITY a 'b'>]><database>&a;</database>",
)


def test_what_is_no_database(archives: Archives) -> None:
    for broken in NONE:
        answer, (status, found) = restored(archives, broken)
        assert (status, found[0]) == ("failure", "INTERNAL_ERROR")
        assert b"HTTP/1.1 500 Internal Error" in answer.body


def test_databases_of_others_are_refused(archives: Archives) -> None:
    body = dumped(archives).decode()
    older = body.replace('key="schema_minor_vsn" value="', 'key="schema_minor_vsn" value="1')
    assert restored(archives, older.encode())[1] == ("failure", ["RESTORE_INCOMPATIBLE_VERSION"])
    uuid = archives.xapi.hosts[1].uuid
    assert restored(archives, body.replace(uuid, uuid[::-1]).encode())[1][1][0] == "RESTORE_TARGET_MISSING_DEVICE"
    for old, new in (
        ('name__label="', 'no_such_column="" name__label="'),
        ("memory__static_max=", "memory__static_max='x' a="),
    ):
        assert restored(archives, body.replace(old, new, 1).encode())[1][1][0] == "INTERNAL_ERROR"
    assert dumped(archives)


def test_only_administrators_see_the_database(archives: Archives) -> None:
    answer = archives.send("GET", "/pool/xmldbdump", "", headers="Cookie: session_id=nope\r\n")
    assert answer.status == "HTTP/1.1 401 Unauthorised"
