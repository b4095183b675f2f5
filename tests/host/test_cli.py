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
"""The command line: ready line, signals, password file, exit codes."""

import json
import signal
import stat
from pathlib import Path

import pytest

from host.crash import serving
from xapi_caller import Caller
from xapikit.host.cli import main, read_password
from xapikit.model import MODEL


def test_serve_says_where_it_is_and_ends_well_on_sigterm(tmp_path: Path) -> None:
    with serving(tmp_path / "pool", "--hosts", "2") as (process, ready):
        assert ready["ready"] and len(ready["urls"]) == 2 and ready["fingerprint"].startswith("SHA256:")
        password = Path(ready["password_file"]).read_text().strip()
        caller = Caller(ready["hosts"][0]["http"], password=password)
        assert len(caller("host.get_all")) == 2
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0


def test_what_was_acknowledged_is_there_after_kill(tmp_path: Path) -> None:
    with serving(tmp_path / "pool") as (process, ready):
        password = Path(ready["password_file"]).read_text().strip()
        caller = Caller(ready["hosts"][0]["http"], password=password)
        host = caller("host.get_all")[0]
        for number in range(50):
            caller("host.add_to_other_config", host, f"key{number}", "value")
        process.kill()
        process.wait(20)
    with serving(tmp_path / "pool") as (process, ready):
        caller = Caller(ready["hosts"][0]["http"], password=password)
        config = caller("host.get_other_config", host)
        assert {f"key{number}" for number in range(50)} <= config.keys()


def test_a_password_file_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "password"
    password = read_password(path)
    assert len(password) >= 16 and stat.S_IMODE(path.stat().st_mode) == 0o600
    assert read_password(path) == password


def test_a_second_server_on_one_state_directory_is_refused(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with serving(tmp_path / "pool"):
        assert main(["serve", "--state", str(tmp_path / "pool")]) == 4
    assert "another server runs" in capfd.readouterr().err


def test_an_open_password_file_and_a_taken_port_have_exit_codes_of_their_own(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "open"
    path.write_text("secret\n")
    path.chmod(0o644)
    assert main(["serve", "--state", str(tmp_path / "a"), "--password-file", str(path)]) == 5
    with serving(tmp_path / "pool") as (_, ready):
        taken = ready["hosts"][0]["http"].removeprefix("http://")
        assert main(["serve", "--state", str(tmp_path / "b"), "--http", taken]) == 3
    assert "cannot listen on 127.0.0.1" in capfd.readouterr().err


def test_a_pool_of_another_size_is_refused(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with serving(tmp_path / "pool", "--hosts", "2") as (process, _):
        process.terminate()
        process.wait(20)
    assert main(["serve", "--state", str(tmp_path / "pool"), "--hosts", "3"]) == 4
    assert "holds a pool of 2 host(s), not 3" in capfd.readouterr().err


def test_coverage_has_totals(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["coverage", "--format", "totals"]) == 0
    assert "calls in 73 classes" in capsys.readouterr().out


def test_the_coverage_page_has_every_call_and_every_http_action_with_totals(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["coverage", "--format", "json"]) == 0
    told = json.loads(capsys.readouterr().out)
    calls = {f"{spec.name}.{name}" for spec in MODEL.classes.values() for name in spec.messages}
    assert {f"{name}.{call}" for name, states in told["calls"].items() for call in states} == calls
    assert sum(told["totals"].values()) == len(calls)
    assert told["handlers"].keys() == {spec.action for spec in MODEL.http_handlers}
    assert main(["coverage", "--format", "rst"]) == 0
    page = capsys.readouterr().out
    for name, spec in MODEL.classes.items():
        section = page.partition(f"\n{name}\n{'~' * len(name)}\n")[2].partition("~~")[0]
        assert all(f"``{call}``" in section for call in spec.messages), name
    assert all(f" {spec.action}\n" in page for spec in MODEL.http_handlers)
