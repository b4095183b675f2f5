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
"""Statistics come as a host writes them, newest first, and outlive the run of a VM."""

import http.client
import json
import math
import threading
import xml.etree.ElementTree as ElementTree
from urllib.parse import urlsplit

import pytest

from xapi_caller import Caller
from xapikit.host import EmbeddedHost
from xapikit.host.statistics.archive import STEP_SECONDS, Archive
from xapikit.host.statistics.formats import full_json


def get(xapi: EmbeddedHost, path: str, accept: str = "application/xml") -> tuple[int, str, str]:
    connection = http.client.HTTPConnection(urlsplit(xapi.urls[0]).netloc, timeout=10)
    connection.request("GET", path, headers={"Accept": accept})
    reply = connection.getresponse()
    body = reply.read().decode()
    connection.close()
    return reply.status, reply.headers.get("content-type", ""), body


def test_an_archive_consolidates_averages_and_forgets_the_oldest() -> None:
    archive = Archive()
    for number in range(300):
        archive.push(1_000_000 + 5 * number, {"a": float(number % 12)})
    fine, minutes, *_ = archive.consolidations
    assert len(fine.rows) == 120 and fine.rows[-1][1]["a"] == 299 % 12
    assert len(minutes.rows) >= 23 and all(0 <= values["a"] <= 11 for _, values in minutes.rows)
    assert archive.choose(1_000_000 + 5 * 290, 1_000_000 + 5 * 300, None) is fine
    assert archive.choose(0, 1_000_000, None) is archive.consolidations[-1]
    assert archive.choose(0, 1_000_000, 60) is minutes
    again = Archive.load(json.loads(json.dumps(archive.dump())))
    assert list(again.consolidations[0].rows) == list(fine.rows) and again.names == ["a"]


def test_updates_of_a_host_in_both_forms(xapi_host: EmbeddedHost, call: Caller) -> None:
    where = f"/rrd_updates?session_id={call.session}&start=-60&host=true"
    status, kind, body = get(xapi_host, where)
    assert (status, kind) == (200, "text/xml")
    root = ElementTree.fromstring(body)
    legend = [entry.text for entry in root.findall("meta/legend/entry")]
    uuid = xapi_host.hosts[0].uuid
    assert f"AVERAGE:host:{uuid}:memory_free_kib" in legend and f"AVERAGE:host:{uuid}:cpu0" in legend
    row = root.find("data/row")
    assert row is not None and len(row.findall("v")) == len(legend) == int(root.findtext("meta/columns") or 0)
    status, kind, body = get(xapi_host, where, "*/*")
    found = json.loads(body)
    assert kind == "application/json" and found["meta"]["step"] == "5" and found["data"][0]["values"]


@pytest.mark.parametrize(
    ("query", "status"),
    [("", 400), ("&start=abc", 500), ("&start=-60&vm_uuid=nope", 500), ("&start=-60&cf=MAX&host=true", 500)],
)
def test_questions_that_cannot_be_answered(xapi_host: EmbeddedHost, call: Caller, query: str, status: int) -> None:
    assert get(xapi_host, f"/rrd_updates?session_id={call.session}{query}")[0] == status


def test_the_full_archive_of_a_host(xapi_host: EmbeddedHost, call: Caller) -> None:
    status, _, body = get(xapi_host, f"/host_rrd?session_id={call.session}")
    root = ElementTree.fromstring(body)
    assert status == 200 and [len(rra.findall("database/row")) for rra in root.findall("rra")] == [120, 120, 168, 366]
    assert json.loads(get(xapi_host, f"/host_rrd?session_id={call.session}&json=true")[2])["version"] == "0003"


def test_data_sources_over_the_api(call: Caller) -> None:
    host = call("host.get_all")[0]
    sources = {source["name_label"]: source for source in call("host.get_data_sources", host)}
    assert sources["memory_free_kib"]["units"] == "KiB" and sources["cpu0"]["max"] == 1.0
    assert not math.isnan(call("host.query_data_source", host, "memory_total_kib"))
    assert call.error("host.query_data_source", host, "nope")[0] == "INTERNAL_ERROR"
    assert call.error("host.query_data_source", "OpaqueRef:nope", "x") == ["HOST_OFFLINE", "OpaqueRef:nope"]


def test_archives_are_read_while_samples_are_taken() -> None:
    archive = Archive()
    done = threading.Event()

    def sample() -> None:
        for moment in range(0, 20_000 * STEP_SECONDS, STEP_SECONDS):
            archive.push(float(moment), {"load": 1.0})
        done.set()

    thread = threading.Thread(target=sample)
    thread.start()
    while not done.is_set():
        assert json.loads(full_json(archive, {}))["rra"]
    thread.join(10)
