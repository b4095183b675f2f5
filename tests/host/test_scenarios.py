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
"""Scenarios do what their files say, the same with the same seed, and files that say something else are refused."""

import contextlib
import http.client
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from host.test_faults import control
from xapi_caller import Caller, CallFailed
from xapikit.host import EmbeddedHost
from xapikit.host.faults import Faults, Match, ScenarioError, load_scenario, shipped_names
from xapikit.host.faults.scenario import read_scenario, shipped_text

SECONDS = 10.0
METHODS = ["VM.create", "VDI.create", "VM.start", "VM.clone", "VM.get_record", "session.logout", "VM.hard_shutdown"]
MIB = 1 << 20


def scenario(**members: Any) -> dict[str, Any]:
    return {"name": "test", **members}


# conditions --------------------------------------------------------------------------------------------------------


def test_arguments_are_matched_by_name_inside_records_and_by_what_references_stand_for(
    xapi_host: EmbeddedHost, call: Caller
) -> None:
    rule = {"kind": "error", "error": ["BOOM"]}
    sr = next(ref for ref, row in call("SR.get_all_records").items() if row["type"] == "ext")
    name = call("SR.get_name_label", sr)
    disk = {"SR": sr, "virtual_size": MIB, "type": "user", "sharable": False, "read_only": False, "other_config": {}}
    for pattern in ({"args.SR": name}, {"args.other_config.owner.id": "me"}, {"0.name_label": "disk-*"}):
        xapi_host.faults.add("error", method="VDI.create", arguments=pattern, error=["BOOM"], count=1)
    made = {**disk, "name_label": "disk-1", "other_config": {"owner.id": "me"}}
    assert [rule_.fired for rule_ in xapi_host.faults.rules] == [0, 0, 0]
    assert call.error("VDI.create", made) == ["BOOM"]
    assert [rule_.fired for rule_ in xapi_host.faults.rules] == [1, 1, 1]
    vdi = call("VDI.create", made)
    xapi_host.play(scenario(rules=[{**rule, "method": "VDI.set_name_label", "arguments": {"self": "disk-*"}}]))
    assert call.error("VDI.set_name_label", vdi, "other") == ["BOOM"]
    xapi_host.faults.clear()
    call("VDI.set_name_label", vdi, "other")


def test_rules_let_calls_pass_first_then_take_each_nth_within_their_time() -> None:
    now = [0.0]
    faults = Faults(clock=lambda: now[0])
    rule = faults.add("error", method="VM.* !VM.get_*", after=2, every=3, count=2, from_seconds=5, to_seconds=10)

    def failing(calls: int, method: str = "VM.start") -> list[int]:
        return [n for n in range(1, calls + 1) if faults.call_received(method, ["session"], "").error]

    assert failing(9) == []
    now[0] = 5.0
    assert failing(3, "VM.get_record") == failing(3, "VDI.create") == []
    assert failing(12) == [5, 8]
    now[0] = 10.0
    assert failing(3) == [] and (rule.matched, rule.fired) == (12, 2)


def test_a_transfer_breaks_after_as_many_bytes_as_the_rule_says(xapi_host: EmbeddedHost, call: Caller) -> None:
    sr = next(ref for ref, row in call("SR.get_all_records").items() if row["type"] == "ext")
    disk = {"SR": sr, "virtual_size": MIB, "type": "user", "sharable": False, "read_only": False, "other_config": {}}
    vdi = call("VDI.create", disk)
    uuid = call("VDI.get_uuid", vdi)
    rule = xapi_host.faults.add("cut_during", method="get_export_raw_vdi", bytes=5000, arguments={"vdi": uuid})
    connection = http.client.HTTPConnection(xapi_host.url.removeprefix("http://"), timeout=SECONDS)
    for times in (1, 2):
        connection.request("GET", f"/export_raw_vdi?session_id={call.session}&vdi={uuid}&format=raw")
        assert 4000 < len(connection.getresponse().read()) < 5000 and rule.fired == times
        connection.close()
    xapi_host.faults.clear()
    task = call("task.create", "up", "")
    other = call("VDI.create", disk)  # the export that broke off may not have let go of its disk yet
    xapi_host.faults.add("cut_during", method="put_*", bytes=600_000)
    with contextlib.suppress(OSError):  # whether the client notices while it sends is a matter of buffers
        connection.request("PUT", f"/import_raw_vdi?session_id={call.session}&vdi={other}&task_id={task}", b"x" * MIB)
        assert connection.getresponse().read() == b""
    connection.close()
    store = xapi_host.pool.store
    assert store.wait(lambda: store.get("task", task)["status"] == "failure", SECONDS)


# files ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("name = 'x'", "a scenario needs rules or events"),
        ("nam = 'x'", "x.toml: name: is needed"),
        ("name = 'x'\nseed = '1'", "x.toml:2: seed: must be a whole number"),
        ("name = 'x'\n[[rules]]\nkind = 'error'\nmetod = 'VM.*'", "x.toml:4: rules[1].metod: unknown (did you mean"),
        (
            "name = 'x'\n[[rules]]\nkind = 'delay'\n[[rules]]\n\nkind = 'dely'",
            "x.toml:6: rules[2].kind: 'dely' is none",
        ),
        (
            "name = 'x'\n[[rules]]\nkind = 'delay'\nprobability = 2",
            "rules[1].probability: must be at least 0 and at most 1",
        ),
        ("name = 'x'\n[[events]]\nevent = 'restart'", "x.toml:2: events[1]: an event has either a time (at) or a call"),
        ("name = 'x'\n[[events]]\nevent = 'restart'\nat = 1\nsr = 'x'", "x.toml:5: events[1].sr: unknown"),
        ("name = 'x'\n[[events]]\nevent = 'sr_full'\nwhen = { nht = 1 }", "x.toml:4: events[1].when.nht: unknown"),
        ("name = 'x'\n[[events]]\nevent = 'restart'\nat = 1\ntimes = 2", "times: needs every"),
        ("name = 'x'\n[[rules]\n", "line 2"),
        ('{"name": "x", "rules": [1]}', "rules[1]: must be a table"),
        ('{"name": "x",', "x.toml: Expecting"),
        ("name = 'x'\n[[rules]]\nname='a'\nkind='delay'\n[[rules]]\nname='a'\nkind='delay'", "x.toml:6: rules[2].name"),
    ],
)
def test_a_wrong_file_is_refused_with_the_place_and_the_reason(text: str, why: str) -> None:
    with pytest.raises(ScenarioError) as refused:
        read_scenario(text, "x.toml")
    assert why in str(refused.value)


def test_every_shipped_scenario_is_sound_and_says_what_it_is() -> None:
    assert len(shipped_names()) >= 9
    for name in shipped_names():
        loaded = load_scenario(name)
        assert loaded.name == name and loaded.description and shipped_text(name).startswith("name = ")
    with pytest.raises(ScenarioError, match=r"no file and no scenario 'nope'; there are .*flaky-network"):
        load_scenario("nope")


# seeds ---------------------------------------------------------------------------------------------------------------


def fates(name: str, seed: int | None) -> list[tuple[Any, ...]]:
    """What a scenario does to 400 calls."""
    faults = Faults(clock=lambda: 0.0)
    loaded = load_scenario(name)
    # what happens to the host needs a host
    faults.load(
        {**loaded.data, "events": [], "rules": list(loaded.data.get("rules", [])) or [{"kind": "delay"}]}, seed=seed
    )
    verdicts = [faults.call_received(METHODS[n % len(METHODS)], ["session", "x"], "") for n in range(400)]
    verdicts += [faults.transfer_received("get_export_raw_vdi", "", {}) for n in range(4)]
    return [(v.seconds, v.error, v.cut_before, v.cut_after, v.cut_during) for v in verdicts]


@pytest.mark.parametrize("name", ["flaky-network", "lost-answers", "busy-host", "slow-toolstack", "broken-transfers"])
def test_the_same_seed_gives_the_same_faults_and_another_gives_others(name: str) -> None:
    assert fates(name, None) == fates(name, None) == fates(name, load_scenario(name).seed)
    assert any(fate != (0.0, None, False, False, None) for fate in fates(name, None))
    if name != "broken-transfers":  # nothing at random in it
        assert fates(name, 1) != fates(name, 2)


def test_two_servers_with_one_seed_fail_the_same_calls_and_take_the_same_guests(
    xapi_factory: Callable[..., EmbeddedHost],
) -> None:
    told = []
    for _ in range(2):
        xapi = xapi_factory(scenario="lost-answers", seed=5, options={"timed_delay": "0"})
        xapi.play(scenario(events=[{"event": "guest_dies", "when": {"method": "pool.set_name_label"}}]), seed=5)
        caller = Caller(xapi.url, password=xapi.password)
        outcomes: list[Any] = []
        for number in range(40):
            try:
                caller("VM_appliance.create", {"name_label": f"a{number}"})
                outcomes.append(True)
            except (OSError, http.client.HTTPException):
                outcomes.append(False)
                caller.close()
        rows = xapi.pool.store.all("VM_appliance").values()
        assert sorted(row["name_label"] for row in rows) == sorted(f"a{number}" for number in range(40))
        template = next(
            ref for ref, row in xapi.pool.store.all("VM").items() if row["name_label"] == "Other install media"
        )
        xapi.faults.end("lost-answers")
        for number in range(5):
            vm = caller("VM.clone", template, f"guest{number}")
            caller("VM.provision", vm)
            caller("VM.start", vm, False, False)
        pool = caller("pool.get_all")[0]
        for _ in range(3):
            caller("pool.set_name_label", pool, "x")
        log = xapi.faults.playing[0].report()["log"]
        told.append((outcomes, [entry["what"].partition(" ")[2] for entry in log]))
    assert told[0] == told[1]
    assert set(told[0][0]) == {True, False}
    assert len(set(told[0][1])) == 3 and all(name.startswith("guest") for name in told[0][1])


# events --------------------------------------------------------------------------------------------------------------


def test_a_cut_link_breaks_connections_until_it_is_over(xapi_pool: EmbeddedHost) -> None:
    first, second = xapi_pool.hosts
    member = http.client.HTTPConnection(second.url.removeprefix("http://"), timeout=SECONDS)
    caller = Caller(first.url, password=xapi_pool.password)
    playing = xapi_pool.play(scenario(events=[{"event": "link_cut", "at": 0, "host": "coordinator"}]))
    assert playing.wait_for("link_cut-1", timeout=SECONDS)
    for _ in range(2):  # the old connection, and a new one
        with pytest.raises((OSError, http.client.HTTPException)):
            caller("pool.get_all")
        caller.close()
    xapi_pool.restart()  # a restart of the toolstack mends no cable
    with pytest.raises((OSError, http.client.HTTPException)):
        caller("pool.get_all")
    caller.close()
    member.request("GET", "/")
    assert member.getresponse().status == 403
    member.close()
    xapi_pool.faults.end("test")
    assert Caller(first.url, password=xapi_pool.password)("pool.get_all")


def test_full_and_slow_srs_last_as_long_as_they_are_told_to_and_over_restarts(
    xapi_host: EmbeddedHost, call: Caller
) -> None:
    sr = next(ref for ref, row in call("SR.get_all_records").items() if row["type"] == "ext")
    disk = {
        "SR": sr,
        "virtual_size": 8 * MIB,
        "type": "user",
        "sharable": False,
        "read_only": False,
        "other_config": {},
    }
    events = [
        {"event": "sr_full", "when": {"method": "VDI.create", "nth": 2}, "sr": call("SR.get_name_label", sr)},
        {"event": "slow_disk", "at": 0.0, "bytes_per_second": 1000},
    ]
    playing = xapi_host.play(scenario(events=events))
    call("VDI.create", disk)
    assert call.error("VDI.create", disk)[0] == "SR_BACKEND_FAILURE_44"
    assert playing.wait_for("slow_disk-2", timeout=SECONDS)
    xapi_host.restart()
    found = next(one for one in control(xapi_host, "GET", "/storage")[1] if one["type"] == "ext")
    assert found["bytes_per_second"] == 1000 and found["limit_bytes"] is not None
    status, report = control(xapi_host, "DELETE", "/scenarios/test")
    assert status == 200 and [event["happened"] for event in report["events"]] == [1, 1]
    found = next(one for one in control(xapi_host, "GET", "/storage")[1] if one["type"] == "ext")
    assert found["bytes_per_second"] is None and found["limit_bytes"] is None


def test_what_lasts_a_while_ends_by_itself_and_the_report_says_when(xapi_host: EmbeddedHost, call: Caller) -> None:
    playing = xapi_host.play(
        scenario(events=[{"event": "sr_full", "at": 0.0, "lasts": 0.05, "every": 0.2, "times": 2}])
    )

    def over(report: dict[str, Any]) -> bool:
        return sum(entry["what"].startswith("over:") for entry in report["log"]) == 2

    assert playing.wait(over, SECONDS)
    assert len(playing.report()["log"]) == 4
    assert all(one["limit_bytes"] is None for one in control(xapi_host, "GET", "/storage")[1])


@pytest.mark.parametrize("when", [{"at": 0.0}, {"when": {"method": "pool.set_name_label"}}], ids=["at", "when"])
def test_a_coordinator_without_power_is_gone_for_as_long_as_the_scenario_says(
    xapi_pool: EmbeddedHost, when: dict[str, Any]
) -> None:
    first, second = xapi_pool.hosts
    caller = Caller(first.url, password=xapi_pool.password)
    pool = caller("pool.get_all")[0]
    playing = xapi_pool.play(scenario(events=[{"event": "host_off", "host": "coordinator", **when, "lasts": 0.5}]))
    with pytest.raises((OSError, http.client.HTTPException, CallFailed)):
        while True:
            caller("pool.set_name_label", pool, "x")
    caller.close()
    assert playing.wait_for("host_off-1", timeout=SECONDS)
    assert playing.wait(lambda report: report["log"][-1]["what"].startswith("over:"), SECONDS)
    assert xapi_pool.wait_running(SECONDS)
    again = Caller(first.url, password=xapi_pool.password)
    assert again("host.get_uuid", again("pool.get_master", pool)) == first.uuid
    assert second.uuid in {row["uuid"] for row in again("host.get_all_records").values()}


@pytest.mark.parametrize(("end", "state"), [("crash", "Halted"), ("poweroff", "Halted"), ("reboot", "Running")])
def test_a_guest_dies_after_its_start_as_the_scenario_says(
    xapi_factory: Callable[..., EmbeddedHost], end: str, state: str
) -> None:
    xapi = xapi_factory(options={"timed_delay": "0"})
    call = Caller(xapi.url, password=xapi.password)
    template = next(
        ref for ref, row in call("VM.get_all_records").items() if row["name_label"] == "Other install media"
    )
    vm = call("VM.clone", template, "victim")
    call("VM.provision", vm)
    when = {"method": "VM.get_domid", "arguments": {"self": "victim"}, "nth": 2}
    playing = xapi.play(
        scenario(events=[{"event": "guest_dies", "when": when, "delay": 0.05, "vm": "vic*", "end": end}])
    )
    call("VM.start", vm, False, False)
    before = call("VM.get_domid", vm)
    call("VM.get_domid", vm)
    store = xapi.pool.store
    assert playing.wait_for("guest_dies-1", timeout=SECONDS)
    assert store.wait(
        lambda: (row := store.get("VM", vm))["power_state"] == state and (state == "Halted" or row["domid"] != before),
        SECONDS,
    )


def test_an_event_that_finds_nothing_is_counted_as_missed(xapi_host: EmbeddedHost) -> None:
    playing = xapi_host.play(scenario(events=[{"event": "guest_dies", "at": 0.0, "vm": "nobody"}]))
    assert playing.wait(lambda report: report["events"][0]["missed"] == 1, SECONDS)
    assert playing.report()["log"][0]["what"] == "missed: no running VM 'nobody'"


def test_a_restart_at_its_time_loses_sessions(xapi_host: EmbeddedHost, call: Caller) -> None:
    pool = xapi_host.pool
    playing = xapi_host.play(scenario(events=[{"event": "restart", "when": {"method": "pool.get_all"}}]))
    with pytest.raises((OSError, http.client.HTTPException, CallFailed)):
        call("pool.get_all")  # this one may still be answered, but it has an end
        while True:
            call("host.get_all")
    call.close()
    assert xapi_host.wait_running(SECONDS) and xapi_host.pool is not pool
    assert playing.report()["events"][0]["happened"] == 1
    assert call.error("host.get_all") == ["SESSION_INVALID", call.session]


# ways to play one ----------------------------------------------------------------------------------------------------


def test_scenarios_over_http(xapi_host: EmbeddedHost) -> None:
    status, report = control(xapi_host, "POST", "/scenarios", {"shipped": "flaky-network", "seed": 9})
    assert (status, report["seed"], report["rules"][0]["name"]) == (201, 9, "flaky-network/latency")
    assert control(xapi_host, "POST", "/scenarios", {"shipped": "flaky-network"})[0] == 400
    status, answer = control(xapi_host, "POST", "/scenarios", {"shipped": "../../etc/passwd"})
    assert status == 400 and "is none of" in answer["error"]
    assert control(xapi_host, "POST", "/scenarios", scenario(rules=[{"kind": "error", "count": 1}]))[0] == 201
    assert [one["name"] for one in control(xapi_host, "GET", "/scenarios")[1]] == ["flaky-network", "test"]
    assert control(xapi_host, "DELETE", "/scenarios/nope")[0] == 404
    assert len(control(xapi_host, "DELETE", "/scenarios")[1]) == 2
    assert xapi_host.faults.rules == xapi_host.faults.playing == []


def test_a_server_is_started_with_scenario_files(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text("name = 'mine'\n[[rules]]\nkind = 'error'\nerror = ['BOOM']\nmethod = 'host.get_all'\n")
    command = [sys.executable, "-m", "xapikit.host.cli"]
    told = subprocess.run([*command, "scenarios", file], capture_output=True, text=True, check=True, timeout=30)
    assert told.stdout.split() == ["mine"]
    with EmbeddedHost(scenario=[file, "slow-disks"], seed=3) as xapi:
        call = Caller(xapi.url, password=xapi.password)
        assert call.error("host.get_all") == ["BOOM"]
        assert [(one.name, one.seed) for one in xapi.faults.playing] == [("mine", 3), ("slow-disks", 3)]
        assert str(xapi.faults.playing[0]) == "scenario mine, seed 3: rule-1 fired 1 of 1"
    file.write_text("name = 'mine'\n[[rules]]\nkind = 'eror'\n")
    serve = [*command, "serve", "--state", tmp_path / "pool", "--scenario", file]
    told = subprocess.run(serve, capture_output=True, text=True, check=False, timeout=30)
    assert told.returncode == 2 and f"{file}:3: rules[1].kind: 'eror' is none of" in told.stderr


def test_a_failing_test_of_another_project_shows_the_scenario_and_its_seed(tmp_path: Path) -> None:
    (tmp_path / "test_mine.py").write_text(
        "import pytest\n"
        "@pytest.mark.xapi_scenario('lost-answers', seed=11)\n"
        "def test_mine(xapi_host):\n    assert xapi_host.faults.playing == []\n"
    )
    (tmp_path / "pytest.ini").touch()
    command = [sys.executable, "-m", "pytest", "-p", "xapikit.host.pytest_plugin", "--strict-markers", "-q", tmp_path]
    told = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert "scenario lost-answers, seed 11: constructors fired 0 of 0" in told.stdout, told.stdout + told.stderr


def test_conditions_are_checked_where_they_are_made() -> None:
    for members in ({"probability": 1.5}, {"every": 0}):
        with pytest.raises(ValueError, match=next(iter(members))):
            Match(**members)
