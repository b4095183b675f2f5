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
"""A real guest under QEMU: its screen through the relay, its serial line in the log, over TLS, across a reboot."""

import shutil
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from bootsector import boot_disk
from console.test_relay import opened
from driver_rig import Rig

pytestmark = [
    pytest.mark.qemu,
    pytest.mark.skipif(not shutil.which("qemu-system-x86_64"), reason="QEMU is not installed"),
]


@pytest.fixture
def rig() -> Iterator[Rig]:
    with Rig(domains="qemu", https=True) as made:
        yield made


def within(seconds: float, look: Callable[[], Any]) -> Any:
    never = threading.Event()
    for _ in range(int(seconds / 0.1)):
        if found := look():
            return found
        never.wait(0.1)
    raise AssertionError("not in time")


@pytest.mark.feature("console.vnc", "console.serial.log")
def test_screen_and_serial_line_of_a_real_guest(rig: Rig) -> None:
    driver = rig.driver()
    server = rig.spawn(driver, rig.glance.add(boot_disk(), "raw"))
    within(60, lambda: b"boot ok" in driver.get_console_output(rig.context, server))
    # SeaBIOS writes on the screen before it starts the disk
    within(60, lambda: opened(driver.get_vnc_console(rig.context, server)).picture(30).drawn() > 0.001)
    driver.reboot(rig.context, server, [], "HARD")
    within(60, lambda: driver.get_console_output(rig.context, server).count(b"boot ok") == 2)
    assert opened(driver.get_vnc_console(rig.context, server)).picture(30)
    driver.destroy(rig.context, server, [])
    assert driver.service.recorder.tail(server.uuid, 100) is None
