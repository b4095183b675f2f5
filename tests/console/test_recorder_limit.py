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
"""The recorder leaves a host connections for everything else."""

import threading
from collections.abc import Callable
from pathlib import Path

from driver_rig import Rig
from nova_xapi.console.recorder import Recorder


def eventually(met: Callable[[], bool]) -> bool:
    """Recording is the work of another thread."""
    never = threading.Event()
    return any(met() or never.wait(0.1) for _ in range(300))


def test_not_more_consoles_than_allowed_are_followed_and_each_has_its_turn(tmp_path: Path) -> None:
    with Rig() as rig:
        driver = rig.driver("a")
        servers = {server.uuid: server for server in (rig.spawn(driver, rig.image()) for _ in range(3))}
        client = driver.service.conn.client
        recorder = Recorder(
            client, lambda _, record: record["other_config"].get("nova_uuid"), directory=tmp_path, limit=1 << 16, most=1
        )
        recorder.start()
        try:
            followed: list[str] = []
            while servers:
                assert eventually(lambda: bool(recorder.following & set(servers)))
                (now,) = recorder.following
                followed.append(now)
                assert eventually(lambda now=now: (recorder.tail(now, 100) or b"").endswith(b"login: "))  # type: ignore[misc]
                assert recorder.following == {now}
                driver.power_off(servers.pop(now))
            assert len(set(followed)) == 3
        finally:
            recorder.stop()
