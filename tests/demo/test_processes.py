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
"""Processes of the demo are found, watched and stopped by their records, and nobody else's are touched."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from nova_xapi.demo.errors import DemoError, ServiceFailed
from nova_xapi.demo.processes import BOOT_ID, Processes, start_ticks, wait_gone

ENV = {"PATH": os.environ["PATH"]}


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    (tmp_path / "run").mkdir()
    made = Processes(tmp_path)
    yield made
    for record in made.records():
        made.stop(record.name, timeout=1)


def test_a_started_process_is_alive_logs_and_ends_on_request(processes: Processes) -> None:
    assert processes.start("one", ["sh", "-c", "echo hello; exec sleep 60"], ENV)
    processes.wait_ready("one", lambda: "hello" in processes.tail("one"), timeout=20)
    assert processes.alive("one")
    assert not processes.start("one", ["sh", "-c", "exit 1"], ENV), "it runs already"
    assert processes.stop("one")
    assert not processes.alive("one")
    assert processes.record("one") is None


def test_a_recycled_pid_is_neither_alive_nor_stopped(processes: Processes) -> None:
    foreign = subprocess.Popen(["sleep", "60"], start_new_session=True)
    try:
        ticks = start_ticks(foreign.pid)
        assert ticks is not None
        record = {
            "name": "old",
            "pid": foreign.pid,
            "ticks": ticks - 1,
            "boot": BOOT_ID.read_text().strip(),
            "began": 0,
        }
        (processes.run / "old.json").write_text(json.dumps(record))
        assert not processes.alive("old")
        assert not processes.stop("old")
        assert foreign.poll() is None
    finally:
        foreign.kill()
        foreign.wait()


def test_a_record_of_an_earlier_boot_is_nobody(processes: Processes) -> None:
    record = {"name": "old", "pid": os.getpid(), "ticks": start_ticks(os.getpid()), "boot": "another", "began": 0}
    (processes.run / "old.json").write_text(json.dumps(record))
    assert not processes.alive("old")
    assert not processes.stop("old")


def test_children_that_outlive_their_leader_are_ended_with_it(processes: Processes) -> None:
    script = "trap '' TERM; sleep 61 & echo $!; exec sleep 62"
    processes.start("parent", ["sh", "-c", script], ENV)
    processes.wait_ready("parent", lambda: processes.tail("parent").strip().isdigit(), timeout=20)
    child = int(processes.tail("parent"))
    record = processes.record("parent")
    assert record is not None
    os.kill(record.pid, signal.SIGKILL)
    assert wait_gone([record.pid], 10) == []
    assert not processes.alive("parent")
    assert start_ticks(child) is not None
    processes.stop("parent")
    assert start_ticks(child) is None


def test_who_ignores_the_request_to_end_is_killed(processes: Processes) -> None:
    processes.start("deaf", [sys.executable, "-c", "import signal; signal.signal(15, signal.SIG_IGN); print('on', flush=True); signal.pause()"], ENV)  # fmt: skip  # noqa: E501
    processes.wait_ready("deaf", lambda: "on" in processes.tail("deaf"), timeout=20)
    assert processes.stop("deaf", timeout=0.3)
    assert not processes.alive("deaf")


def test_a_service_that_ends_while_it_is_waited_for_is_told_with_its_log(processes: Processes) -> None:
    processes.start("brief", ["sh", "-c", "echo no such database >&2; exit 3"], ENV)
    with pytest.raises(ServiceFailed, match="no such database"):
        processes.wait_ready("brief", lambda: False, timeout=20)
    with pytest.raises(ServiceFailed, match="brief has ended"):
        processes.check_alive()


def test_a_service_that_never_becomes_ready_is_given_up(processes: Processes) -> None:
    processes.start("slow", ["sleep", "60"], ENV)
    with pytest.raises(ServiceFailed, match="not ready within"):
        processes.wait_ready("slow", lambda: False, timeout=0.2, interval=0.05)


def test_a_program_that_is_missing_is_named(processes: Processes) -> None:
    with pytest.raises(DemoError, match="/no/such/program"):
        processes.start("none", ["/no/such/program"], ENV)


def test_what_works_in_the_state_directory_without_a_record_is_seen(processes: Processes) -> None:
    stray = subprocess.Popen(["sleep", "63"], cwd=processes.root, start_new_session=True)
    try:
        assert (stray.pid, "sleep 63") in list(processes.strays())
        processes.start("known", ["sleep", "64"], ENV)
        assert [what for _, what in processes.strays()] == ["sleep 63"]
    finally:
        stray.kill()
        stray.wait()
    assert list(processes.strays()) == []
