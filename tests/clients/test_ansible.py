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
"""Ansible's community.general.xenserver_* modules: create from a template, power, reconfigure, inform, delete."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from clients.conftest import run
from xapikit.host.pytest_plugin import XapiFactory, xapi_factory  # noqa: F401

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
PLAY = Path(__file__).parent / "xenserver_guest.yml"


def test_a_guest_lives_its_life_under_ansible(
    xapi_factory: XapiFactory,  # noqa: F811
    python_with: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    # the package carries the collections; its modules use the official SDK
    python = python_with("ansible==12.3.0", "XenAPI==2.14")
    xapi = xapi_factory()
    store = xapi.pool.store
    before = {cls: set(store.all(cls)) for cls in ("VM", "VDI", "VBD", "VIF")}
    variables = {
        "url": xapi.url,
        "pw": xapi.password,
        "sr": next(row["name_label"] for row in store.all("SR").values() if row["type"] == "ext"),
        "net": next(row["name_label"] for row in store.all("network").values() if row["bridge"] == "xenbr0"),
        "ansible_python_interpreter": str(python),
    }
    given = tmp_path / "variables.json"  # a password has no place in a command line
    given.write_text(json.dumps(variables))
    for name, value in {"LC_ALL": "C.UTF-8", "LANG": "C.UTF-8", "HOME": str(tmp_path)}.items():
        monkeypatch.setenv(name, value)
    assert os.environ["LC_ALL"] == "C.UTF-8"  # Ansible refuses other locales
    told = run(python.parent / "ansible-playbook", "-i", "localhost,", "-e", f"@{given}", PLAY, timeout=300)
    assert "failed=0" in told and "changed=4" in told
    assert {cls: set(store.all(cls)) for cls in before} == before, "something was left behind"
