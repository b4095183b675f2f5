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
"""`nova-xapi demo`: arguments, exit codes and messages, without a cloud."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from nova_xapi.cli.main import main
from nova_xapi.demo import cloud
from nova_xapi.demo.errors import EXIT_MISSING
from nova_xapi.demo.layout import Ports, State


@pytest.fixture
def state(tmp_path: Path) -> State:
    made = State(tmp_path, Ports(24000))
    (tmp_path / "run").mkdir()
    (tmp_path / "log").mkdir()
    (tmp_path / "demo.json").write_text('{"port_base": 24000}')
    return made


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["demo", "--help"])
    assert caught.value.code == 0
    text = capsys.readouterr().out
    for command in ("up", "check", "status", "logs", "shell", "down"):
        assert f"    {command} " in text
    assert "no tenant connectivity" in text
    assert "exit codes" in text


@pytest.mark.parametrize("arguments", [[], ["demo"], ["demo", "sideways"], ["demo", "up", "--port-base", "many"]])
def test_a_wrong_command_line_is_exit_code_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2


@pytest.mark.parametrize("command", ["check", "status", "logs", "shell", "down"])
def test_without_a_demo_each_command_says_how_to_start_one(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["demo", command, "--state", str(tmp_path)]) == EXIT_MISSING
    assert "nova-xapi demo up" in capsys.readouterr().err


def test_a_bad_port_base_is_an_error_with_advice(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "up", "--state", str(tmp_path), "--port-base", "70000"]) == 1
    assert "out of range" in capsys.readouterr().err


def test_status_of_a_stopped_demo_is_exit_code_1_and_json(state: State, capsys: pytest.CaptureFixture[str]) -> None:
    state.secrets()
    assert main(["demo", "status", "--json", "--state", str(state.root)]) == 1
    said = json.loads(capsys.readouterr().out)
    assert {row["state"] for row in said["services"]} == {"stopped"}
    assert said["servers"] == []
    assert said["servers_unknown_because"]


def test_down_of_a_stopped_demo_is_well(state: State, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "down", "--state", str(state.root)]) == 0
    assert "stopped 0 services" in capsys.readouterr().out
    assert main(["demo", "down", "--purge", "--state", str(state.root)]) == 0
    assert not state.root.exists()


def test_down_tells_of_processes_that_it_did_not_start(state: State, capsys: pytest.CaptureFixture[str]) -> None:
    stray = subprocess.Popen(["sleep", "65"], cwd=state.root, start_new_session=True)
    try:
        assert main(["demo", "down", "--purge", "--state", str(state.root)]) == 1
        assert f"{stray.pid}  sleep 65" in capsys.readouterr().err
        assert state.root.exists(), "what somebody works in is not removed"
    finally:
        stray.kill()
        stray.wait()


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "nova_xapi.cli.main", *arguments]
    source = str(Path(cloud.__file__).parents[2])
    env = {**os.environ, "PYTHONPATH": source, "OS_PASSWORD": "of somebody else"}
    return subprocess.run(argv, env=env, capture_output=True, text=True, check=False, timeout=60)


def test_logs_are_listed_shown_and_found_by_the_host_name_of_a_compute(state: State) -> None:
    (state.log / "nova-compute1.log").write_text("".join(f"line {number}\n" for number in range(9)))
    listed = run("demo", "logs", "--state", str(state.root))
    assert "nova-compute1" in listed.stdout
    assert run("demo", "logs", "compute1", "-n", "2", "--state", str(state.root)).stdout == "line 7\nline 8\n"
    unknown = run("demo", "logs", "cinder", "--state", str(state.root))
    assert unknown.returncode == 1
    assert "nova-compute1" in unknown.stderr


def test_a_shell_command_runs_as_the_clouds_administrator(state: State) -> None:
    command = 'echo "$OS_CLOUD $OS_CLIENT_CONFIG_FILE ${OS_PASSWORD-none}"'
    done = run("demo", "shell", "--state", str(state.root), "--", "sh", "-c", command)
    assert done.stdout == f"demo {state.root}/clouds.yaml none\n"


def test_the_proof_is_the_line_that_the_user_data_prints(tmp_path: Path) -> None:
    script = cloud.USER_DATA.format(nonce="abc", marker=cloud.MARKER)
    nic = tmp_path / "eth0"
    nic.mkdir()
    (nic / "address").write_text("fa:16:3e:00:00:01\n")
    script = script.replace("/sys/class/net/e*", f"{tmp_path}/e*").replace("$(hostname)", "demo1")
    output = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True, timeout=20).stdout
    assert output.strip() == cloud.Proof("abc", "demo1", "fa:16:3e:00:00:01").line
    assert "abc" not in output, "the console log proves by the sum, not by an echo"
