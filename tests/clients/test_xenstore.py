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
"""XenStore clients of others, from their registries: ``pyxs`` plays a guest, Xen's own tools read what it wrote."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from host.dom0.rig import Machine
from xapi_caller import Caller
from xapikit.host import EmbeddedHost
from xapikit.host.pytest_plugin import xapi_factory, xapi_host  # noqa: F401 - fixtures

pytestmark = pytest.mark.slow
SECONDS = 30


@pytest.fixture
def machine(xapi_host: EmbeddedHost) -> Iterator[Machine]:  # noqa: F811
    call = Caller(xapi_host.urls[0], password=xapi_host.password)
    yield Machine.make(xapi_host, call, devices=False, other_config={"timed_agent": "none"}).start()
    call.close()


def socket_of(machine: Machine) -> str:
    return str(machine.xapi.pool.guests.socket(machine.xapi.hosts[0].uuid))


def test_a_guest_agent_written_with_pyxs(machine: Machine, python_with: Callable[..., Path]) -> None:
    agent = Path(__file__).parent / "agent_with_pyxs.py"
    command = [str(python_with("pyxs==0.4.1")), str(agent), socket_of(machine), str(machine.row["domid"])]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == "looking\n"
        said = machine.metrics
        assert said["PV_drivers_version"] == {"major": "9", "minor": "1", "micro": "-1"}
        assert said["os_version"] == {"name": "guest"}
        machine.write("data/host/a-1", '{"name": "version", "value": "agent"}')
        assert running.wait(SECONDS) == 0
    assert machine.value("data/guest/a-1") == '{"returncode": "0", "message": "version"}'
    assert machine.value("data/host/a-1") == "(none)"


@pytest.fixture
def tools(machine: Machine) -> Callable[..., tuple[tuple[int, str], tuple[int, str]]]:
    """``tools("read", "/a")``: what Xen's command answers, and what the command of the embedded dom0 does."""
    theirs = shutil.which("xenstore-ls")
    if theirs is None:
        pytest.skip("xenstore-utils is not installed (apt-get install xenstore-utils)")
    environment = {"XENSTORED_PATH": socket_of(machine), "PATH": os.environ["PATH"]}
    ours = machine.xapi.pool.programs.root(machine.xapi.hosts[0].uuid) / "usr/bin"

    def run(name: str, *arguments: str) -> tuple[tuple[int, str], tuple[int, str]]:
        answers = []
        for directory in (Path(theirs).parent, ours):
            done = subprocess.run(
                [str(directory / f"xenstore-{name}"), *arguments], env=environment, capture_output=True,
                timeout=SECONDS, check=False,
            )  # fmt: skip
            answers.append((done.returncode, done.stdout.decode("latin-1")))
        return answers[0], answers[1]

    return run


@pytest.mark.parametrize(
    "words",
    [
        "ls", "ls -f", "ls -p", "ls -f -p /local", "ls /t", "ls /none", "list /", "list -p /t", "list /many",
        "list /none", "read /t/odd", "read -R /t/odd", "read -p /t/a/b /t/odd", "read /none", "read",
        "exists /t /none", "exists /t", "write /t/w a\\nb\\\\c\\x41\\101", "chmod -r /t n0 r7", "rm -t /t/a/b",
        "rm /none/x", "write /a//b x", "write /a",
    ],
)  # fmt: skip
def test_commands_of_xen_and_of_the_embedded_dom0_agree(
    machine: Machine, tools: Callable[..., tuple[tuple[int, str], tuple[int, str]]], words: str
) -> None:
    with machine.xenstore.edit() as edit:
        edit.write("/t/odd", 'a\nb\tc\\d"e\x01f\xe9'.encode("latin-1"))
        edit.write("/t/long", "x" * 200)
        edit.write("/t/a/b", "1")
        edit.set_perms("/t/a", (("n", 0), ("r", 5)))
        for number in range(900):
            edit.write(f"/many/node-{number:05}", "")
    name, *arguments = words.split(" ")
    theirs, ours = tools(name, *arguments)
    if name == "rm" and theirs[0] == 0:  # the first one has removed it
        ours = theirs
    assert ours == theirs
