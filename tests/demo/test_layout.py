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
"""The demo keeps to its directory and ports, and says what is wrong with them."""

import os
import socket
import stat
from pathlib import Path

import pytest

from nova_xapi.demo.errors import EXIT_MISSING, DemoError, Missing, PortInUse
from nova_xapi.demo.layout import PORT_OFFSETS, PORT_SPAN, Ports, State


def test_a_taken_port_is_named_with_its_service_its_holder_and_the_option() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(PortInUse) as caught:
            Ports(port - PORT_OFFSETS["glance"]).check_free(["glance"])
    assert str(port) in caught.value.message
    assert "glance" in caught.value.message
    assert f"(pid {os.getpid()})" in caught.value.message
    assert "--port-base" in caught.value.hint
    assert caught.value.code == EXIT_MISSING


def test_free_ports_pass_and_stay_free() -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        free = probe.getsockname()[1]
    Ports(free - PORT_OFFSETS["mariadb"]).check_free(["mariadb"])
    socket.create_server(("127.0.0.1", free)).close()


def test_ports_lie_apart_and_within_their_span() -> None:
    assert len(set(PORT_OFFSETS.values())) == len(PORT_OFFSETS)
    assert max(PORT_OFFSETS.values()) < PORT_SPAN


@pytest.mark.parametrize("base", [0, 80, 65530])
def test_a_port_base_out_of_range_is_refused(base: int) -> None:
    with pytest.raises(DemoError, match="out of range"):
        Ports(base)


def test_passwords_are_random_kept_and_readable_by_their_owner_only(tmp_path: Path) -> None:
    state = State(Path(os.path.relpath(tmp_path)))
    (tmp_path / "a").mkdir()
    one, other = State(tmp_path), State(tmp_path / "a")
    assert one.secrets()["admin"] == state.secrets()["admin"] != other.secrets()["admin"]
    assert stat.S_IMODE((tmp_path / "secrets.json").stat().st_mode) == 0o600
    assert one.secrets()["admin"] not in repr(one.secrets())


def test_a_state_made_with_other_ports_is_not_reused(short_path: Path) -> None:
    State(short_path, Ports(20000)).prepare()
    State(short_path, Ports(20000)).prepare()
    assert State.open(short_path).ports.base == 20000
    with pytest.raises(DemoError, match="--port-base 20000"):
        State(short_path, Ports(21000)).prepare()


def test_a_path_too_long_for_unix_sockets_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DemoError, match="too long"):
        State(tmp_path / ("d" * 60)).prepare()


def test_without_a_demo_the_user_is_told_how_to_start_one(tmp_path: Path) -> None:
    with pytest.raises(Missing) as caught:
        State.open(tmp_path)
    assert "nova-xapi demo up" in caught.value.hint
