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
"""The services' configuration is whole, on loopback only, and unreadable for others."""

import configparser
import re
import stat
import sys
from pathlib import Path

import pytest

from nova_xapi.demo import configs
from nova_xapi.demo.layout import Ports, State


@pytest.fixture
def state(short_path: Path) -> State:
    made = State(short_path, Ports(23000))
    made.prepare()
    return made


def read(path: Path) -> configparser.RawConfigParser:
    parser = configparser.RawConfigParser(strict=True)
    parser.read_string(path.read_text())
    return parser


def test_every_file_is_rendered_whole_and_for_its_owner_only(state: State) -> None:
    configs.write_control_plane(state)
    configs.write_compute(state, 2, "https://127.0.0.1:23007", {"an_option": "its value"})
    configs.write_client(state)
    paths = [*(state.etc / name for name in configs.CONTROL_PLANE.values()), state.etc / "nova/compute2.conf"]
    for path in paths:
        assert read(path).sections(), path
        assert "$" not in path.read_text(), f"{path}: oslo.config would look for another option"
    for path in [*paths, state.root / "clouds.yaml"]:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path


def test_only_loopback_addresses_occur(state: State) -> None:
    configs.write_control_plane(state)
    for name in configs.CONTROL_PLANE.values():
        text = (state.etc / name).read_text()
        addresses = re.findall(r"\d+\.\d+\.\d+\.\d+", text)
        assert set(addresses) <= {"127.0.0.1"}, name
        ports = {int(port) for port in re.findall(r"127\.0\.0\.1:(\d+)", text)}
        assert ports <= set(range(23000, 23020)), name


def test_a_compute_service_has_its_own_host_directory_and_url(state: State) -> None:
    one = read(configs.write_compute(state, 1, "https://127.0.0.1:23006", {"an_option": "its value"}))
    other = read(configs.write_compute(state, 2, "https://127.0.0.1:23007", {}))
    assert one["DEFAULT"]["host"] != other["DEFAULT"]["host"]
    assert one["DEFAULT"]["state_path"] != other["DEFAULT"]["state_path"]
    assert Path(one["DEFAULT"]["state_path"]).is_dir()
    assert one["DEFAULT"]["compute_driver"] == "xenapi.XenAPIDriver"
    assert one["xenserver"]["connection_url"] == "https://127.0.0.1:23006"
    assert one["xenserver"]["an_option"] == "its value"


def test_compute_services_are_given_no_database(state: State) -> None:
    configs.write_control_plane(state)
    files = (state.etc / "nova/nova.conf", configs.write_compute(state, 1, "https://127.0.0.1:23006", {}))
    assert not any("mysql" in path.read_text() for path in files)
    assert "mysql" in (state.etc / "nova/nova-database.conf").read_text()


def test_a_name_without_a_value_is_a_mistake() -> None:
    with pytest.raises(KeyError):
        configs.render("nova.conf", {})


def test_no_file_outside_of_the_state_directory_and_the_environment_is_named(state: State) -> None:
    configs.write_control_plane(state)
    for name in configs.CONTROL_PLANE.values():
        text = (state.etc / name).read_text()
        paths = re.findall(r"= ?(/\S+)", text)
        assert all(path.startswith((str(state.root), sys.prefix)) for path in paths), name


def test_all_of_keystones_key_repositories_are_the_demos(state: State) -> None:
    configs.write_control_plane(state)
    parser = read(state.etc / "keystone/keystone.conf")
    # each of these has a default below /etc/keystone
    for section in ("fernet_tokens", "fernet_receipts", "credential"):
        assert parser[section]["key_repository"].startswith(str(state.root)), section
