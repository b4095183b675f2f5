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
"""What guests print is kept: from their first line, across reboots and restarts, bounded, and gone with the server."""

import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from driver_rig import Rig


@pytest.fixture
def rig() -> Iterator[Rig]:
    with Rig(https=True) as made:
        yield made


def seen(driver: Any, server: Any, until: Callable[[bytes], bool]) -> bytes:
    """The console log, once it is as wanted: it is written by another thread, a little behind the guest."""
    never = threading.Event()
    for _ in range(300):
        log: bytes = driver.get_console_output(None, server)
        if until(log):
            return log
        never.wait(0.1)
    raise AssertionError(f"not in the console log: {log[-2000:]!r}")


def type_in(rig: Rig, driver: Any, server: Any, text: bytes) -> None:
    """What a user types is echoed by the guest."""
    vm, _ = driver.service.servers.get(server.uuid)
    with rig.xapi.pool.domains.get(vm).open_console("vt100") as console:
        console.sendall(text)


def boots(log: bytes) -> int:
    return len(re.findall(rb"Booting \S+ \(", log))


def test_the_boot_is_in_the_log(rig: Rig) -> None:
    driver = rig.driver("a")
    server = rig.spawn(driver, rig.image())
    log = seen(driver, server, lambda log: log.endswith(b"login: "))
    assert log.startswith(b"Booting ") and boots(log) == 1


def test_what_follows_is_recorded_as_it_comes(rig: Rig) -> None:
    driver = rig.driver("a")
    server = rig.spawn(driver, rig.image())
    seen(driver, server, lambda log: log.endswith(b"login: "))
    type_in(rig, driver, server, b"somebody\n")
    assert b"login: somebody\r\nnobody is here" in seen(driver, server, lambda log: b"nobody is here" in log)


def test_a_reboot_is_recorded_behind_what_was_before(rig: Rig) -> None:
    driver = rig.driver("a")
    server = rig.spawn(driver, rig.image())
    seen(driver, server, lambda log: log.endswith(b"login: "))
    type_in(rig, driver, server, b"before")
    seen(driver, server, lambda log: log.endswith(b"before"))
    driver.reboot(rig.context, server, [], "HARD")
    log = seen(driver, server, lambda log: boots(log) == 2 and log.endswith(b"login: "))
    assert log.index(b"before") < log.rindex(b"Booting ")


def test_a_restart_of_the_service_repeats_and_loses_nothing(rig: Rig) -> None:
    driver = rig.driver("a")
    server = rig.spawn(driver, rig.image())
    seen(driver, server, lambda log: log.endswith(b"login: "))
    rig.stop("a")
    type_in_without_driver(rig, server, b"meanwhile")
    again = rig.driver("a")
    log = seen(again, server, lambda log: log.endswith(b"meanwhile"))
    assert boots(log) == 1 and log.count(b"login: ") == 1


def type_in_without_driver(rig: Rig, server: Any, text: bytes) -> None:
    (vm,) = [
        ref for ref, row in rig.xapi.pool.store.all("VM").items() if row["other_config"].get("nova_uuid") == server.uuid
    ]
    with rig.xapi.pool.domains.get(vm).open_console("vt100") as console:
        console.sendall(text)


def test_a_restart_of_the_host_repeats_and_loses_nothing(rig: Rig) -> None:
    driver = rig.driver("a")
    server = rig.spawn(driver, rig.image())
    seen(driver, server, lambda log: log.endswith(b"login: "))
    rig.xapi.restart()
    type_in_without_driver(rig, server, b"afterwards")
    log = seen(driver, server, lambda log: log.endswith(b"afterwards"))
    assert boots(log) == 1 and log.count(b"login: ") == 1


def test_the_log_of_a_deleted_server_is_gone(rig: Rig) -> None:
    driver = rig.driver("a")
    server = rig.spawn(driver, rig.image())
    seen(driver, server, lambda log: log.endswith(b"login: "))
    directory = driver.service.recorder.directory
    assert logs(directory) == [f"{server.uuid}.log"]
    driver.destroy(rig.context, server, [])
    assert logs(directory) == []


def logs(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir() if ".log" in path.name)


def test_logs_of_servers_deleted_while_the_service_was_away_are_removed_at_its_start(rig: Rig) -> None:
    driver = rig.driver("a")
    server = rig.spawn(driver, rig.image())
    seen(driver, server, lambda log: log.endswith(b"login: "))
    directory = driver.service.recorder.directory
    (directory / "0c0d3f5e-8f2b-4f6b-b8c6-0c8d4f3f1a22.log").write_bytes(b"old")
    (directory / "0c0d3f5e-8f2b-4f6b-b8c6-0c8d4f3f1a22.log.1").write_bytes(b"older")
    rig.stop("a")
    rig.driver("a")
    assert logs(directory) == [f"{server.uuid}.log"]


def test_recording_makes_no_calls_while_nothing_happens(rig: Rig) -> None:
    driver = rig.driver("a")
    server = rig.spawn(driver, rig.image())
    seen(driver, server, lambda log: log.endswith(b"login: "))
    before = rig.xapi.faults.total()
    type_in(rig, driver, server, b"typed")
    seen(driver, server, lambda log: log.endswith(b"typed"))
    assert rig.xapi.faults.total() == before


def test_the_log_is_bounded(rig: Rig) -> None:
    driver = rig.driver("a", console_log_size=16)
    server = rig.spawn(driver, rig.image())
    seen(driver, server, lambda log: log.endswith(b"login: "))
    type_in(rig, driver, server, b"".join(b"%04d " % number * 200 for number in range(40)))
    seen(driver, server, lambda log: log.endswith(b"0039 " * 200))
    directory = driver.service.recorder.directory
    assert 0 < sum(path.stat().st_size for path in directory.glob(f"{server.uuid}*")) <= 16 << 10
