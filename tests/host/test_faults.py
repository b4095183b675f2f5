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
"""Rules do what they say, say how often they did it, and counts count everything that arrived."""

import base64
import http.client
import json
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import pytest

from xapi_caller import Caller, CallFailed
from xapikit.host import EmbeddedHost


def control(xapi: EmbeddedHost, method: str, path: str, body: Any = None) -> tuple[int, Any]:
    connection = http.client.HTTPConnection(urlsplit(xapi.urls[0]).netloc, timeout=10)
    credentials = base64.b64encode(f"{xapi.username}:{xapi.password}".encode()).decode()
    text = json.dumps(body) if body is not None else None
    connection.request(method, f"/_embedded{path}", text, {"Authorization": f"Basic {credentials}"})
    reply = connection.getresponse()
    data = reply.read()
    connection.close()
    return reply.status, json.loads(data) if data.startswith((b"{", b"[")) else data


def test_the_third_call_of_a_kind_fails_once(xapi_host: EmbeddedHost, call: Caller) -> None:
    rule = xapi_host.faults.add("error", method="pool.get_*", nth=3, error=["SR_FULL", "1", "2"])
    pool = call("pool.get_all")[0]
    call("pool.get_uuid", pool)
    assert call.error("pool.get_name_label", pool) == ["SR_FULL", "1", "2"]
    call("pool.get_name_label", pool)
    assert (rule.matched, rule.fired) == (4, 1)


def test_the_kth_call_received_is_counted_without_event_from(xapi_host: EmbeddedHost, call: Caller) -> None:
    xapi_host.faults.reset_counts()
    xapi_host.faults.add("error", nth_received=2, error=["BOOM"])
    call("pool.get_all")
    call("event.from", ["vm"], "", 0.0)
    assert call.error("host.get_all") == ["BOOM"]
    assert xapi_host.call_counts() == {"pool.get_all": 1, "event.from": 1, "host.get_all": 1}
    assert xapi_host.faults.total() == 2


@pytest.mark.parametrize(("kind", "effect"), [("cut_before", "old"), ("cut_after", "new")])
def test_a_connection_is_cut_before_or_after_the_effect(
    xapi_host: EmbeddedHost, call: Caller, kind: Any, effect: str
) -> None:
    pool = call("pool.get_all")[0]
    call("pool.set_name_label", pool, "old")
    xapi_host.faults.add(kind, method="pool.set_name_label")
    with pytest.raises((http.client.HTTPException, OSError)):
        call("pool.set_name_label", pool, "new")
    xapi_host.faults.clear()
    call.close()
    assert call("pool.get_name_label", pool) == effect


def test_arguments_select_calls(xapi_host: EmbeddedHost, call: Caller) -> None:
    xapi_host.faults.add("error", method="host.get_by_name_label", arguments={0: "bad*"}, error=["BOOM"])
    assert call("host.get_by_name_label", "good") == []
    assert call.error("host.get_by_name_label", "bad1") == ["BOOM"]


def test_probability_is_reproducible_with_a_seed(xapi_factory: Callable[..., EmbeddedHost]) -> None:
    outcomes = []
    for _ in range(2):
        xapi = xapi_factory()
        caller = Caller(xapi.urls[0], password=xapi.password)
        xapi.faults.add("error", method="pool.get_all", probability=0.5, seed=7, error=["BOOM"])
        row = []
        for _ in range(20):
            try:
                caller("pool.get_all")
                row.append(True)
            except CallFailed:
                row.append(False)
        outcomes.append(row)
    assert outcomes[0] == outcomes[1] and len(set(outcomes[0])) == 2


def test_a_toolstack_restart_loses_sessions_and_keeps_rows_and_ports(xapi_host: EmbeddedHost, call: Caller) -> None:
    pool = call("pool.get_all")[0]
    call("pool.set_name_label", pool, "kept")
    before = xapi_host.urls
    xapi_host.restart()
    assert xapi_host.urls == before
    call.close()
    assert call.error("pool.get_all") == ["SESSION_INVALID", call.session]
    again = Caller(before[0], password=xapi_host.password)
    assert again("pool.get_name_label", pool) == "kept"


def test_rules_and_counts_over_http(xapi_host: EmbeddedHost, call: Caller) -> None:
    status, made = control(xapi_host, "POST", "/faults", {"kind": "error", "method": "pool.get_all", "count": 1})
    assert status == 201 and made["fired"] == 0
    call.error("pool.get_all")
    call("pool.get_all")
    assert control(xapi_host, "GET", "/faults")[1][0]["fired"] == 1
    assert control(xapi_host, "DELETE", f"/faults/{made['name']}")[0] == 200
    counts = control(xapi_host, "GET", "/statistics")[1]
    assert counts["calls"]["pool.get_all"] == 2 and counts["total"] >= 3
    assert control(xapi_host, "DELETE", "/statistics")[0] == 200
    assert xapi_host.faults.total() == 0


@pytest.mark.parametrize("rule", [{}, {"kind": "x"}, {"kind": "error", "nth": "1"}, {"kind": "error", "what": 1}, []])
def test_a_wrong_rule_is_refused_with_a_reason(xapi_host: EmbeddedHost, rule: Any) -> None:
    status, answer = control(xapi_host, "POST", "/faults", rule)
    assert status == 400 and answer["error"]


def test_control_needs_a_superuser(xapi_host: EmbeddedHost) -> None:
    connection = http.client.HTTPConnection(urlsplit(xapi_host.urls[0]).netloc, timeout=10)
    connection.request("GET", "/_embedded/statistics")
    assert connection.getresponse().status == 401
    connection.close()
