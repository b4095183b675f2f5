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
"""What the machine lacks is said by name, with what to do about it."""

import subprocess
from pathlib import Path

import pytest

from nova_xapi.demo import packages
from nova_xapi.demo.errors import Missing


def test_programs_that_are_there_ask_for_nothing(tmp_path: Path) -> None:
    programs = (packages.Program("sh", "dash"), packages.Program("/bin/sh", "dash"))
    assert packages.require_programs(print, tmp_path / "log", programs) == "nothing to install"


def test_without_apt_the_packages_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Missing) as caught:
        packages.require_programs(print, tmp_path / "log", (packages.Program("no-such-daemon", "no-such-package"),))
    assert "no-such-package" in caught.value.message
    assert "not a Debian-like system" in caught.value.hint


def test_an_ordinary_user_is_told_what_to_have_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "apt-get").write_text("#!/bin/sh\nexit 100\n")
    (tmp_path / "apt-get").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    programs = (packages.Program("no-such-daemon", "no-such-package"),)
    with pytest.raises(Missing) as caught:
        packages.require_programs(print, tmp_path / "log", programs, root=False)
    assert "apt-get install --no-install-recommends no-such-package" in caught.value.hint


def test_daemons_are_kept_from_starting_only_while_packages_are_installed(tmp_path: Path) -> None:
    policy = tmp_path / "policy-rc.d"
    with packages.daemons_not_started(policy):
        assert subprocess.run([policy], check=False, timeout=20).returncode == 101
    assert not policy.exists()
    policy.write_text("somebody else's")
    with packages.daemons_not_started(policy):
        assert policy.read_text() == "somebody else's"
    assert policy.exists()
