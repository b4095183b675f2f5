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
"""`demo check`: proof from outside, through OpenStack's APIs and Nova's console proxy, that the guests are real."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Event
from typing import Any

from nova_xapi.demo import cloud, rfb
from nova_xapi.demo.catalog import connect
from nova_xapi.demo.configs import compute_host
from nova_xapi.demo.errors import DemoError
from nova_xapi.demo.layout import State
from nova_xapi.demo.png import png
from nova_xapi.demo.processes import Processes
from nova_xapi.demo.progress import Progress

# less than this part of the screen drawn is a cursor, not a console
DRAWN = 0.002


@dataclass(frozen=True)
class Result:
    """One check: what was looked for, and what was found."""

    name: str
    passed: bool
    detail: str

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def check(state: State, progress: Progress, screenshots: Path, timeout: float) -> list[Result]:
    """All checks, servers side by side. `timeout` (s) is for each thing to show up; a guest may still be booting."""
    nonce = cloud.nonce_of_run(state)

    def run(name: str, probe: Callable[[], str]) -> Result:
        progress.start(name, name)
        try:
            detail = probe()
        except DemoError as error:
            progress.fail(name)
            return Result(name, False, error.message)
        except Exception as error:
            # a check must give a result whatever goes wrong, and name what did
            progress.fail(name)
            return Result(name, False, f"{type(error).__name__}: {error}")
        progress.done(name)
        return Result(name, True, detail)

    def server(number: int, name: str) -> list[Result]:
        """The picture comes last: by then the guest has something to show."""
        host = compute_host(number)
        path = screenshots.with_name(f"{screenshots.name}-{name}.png")
        return [
            run(f"{name} is active on {host}", lambda: active_on(state, name, host)),
            run(
                f"{name} prints nonce, host name and MAC on its serial console",
                lambda: console_log(state, name, nonce, timeout),
            ),
            run(
                f"{name} shows a picture through the console proxy",
                lambda: console_picture(state, name, path, timeout),
            ),
        ]

    results = [run("services run", lambda: services_run(state))]
    with ThreadPoolExecutor(len(cloud.SERVERS)) as pool:
        for of_server in pool.map(server, range(1, len(cloud.SERVERS) + 1), cloud.SERVERS):
            results += of_server
    return results


def services_run(state: State) -> str:
    processes = Processes(state.root)
    processes.check_alive()
    running = processes.records()
    if not running:
        raise DemoError("none runs; start them: nova-xapi demo up")
    return f"{len(running)} processes"


def active_on(state: State, name: str, host: str) -> str:
    connection = connect(state)
    server = connection.compute.find_server(name, ignore_missing=False, details=True)
    if server.status != "ACTIVE" or server.power_state != cloud.RUNNING:
        raise DemoError(f"status {server.status}, power state {server.power_state} (wanted ACTIVE and 1)")
    if server.compute_host != host:
        raise DemoError(f"it is on {server.compute_host}")
    return f"{server.id}"


def console_log(state: State, name: str, nonce: str, timeout: float) -> str:
    """Wait for the line that only this guest can print."""
    connection = connect(state)
    server = connection.compute.find_server(name, ignore_missing=False)
    ports = list(connection.network.ports(device_id=server.id))
    if len(ports) != 1:
        raise DemoError(f"{name} has {len(ports)} ports, the demo gave it one")
    wanted = cloud.Proof(nonce, name, ports[0].mac_address).line
    text = ""
    deadline = time.monotonic() + timeout
    pause = Event()
    while True:
        text = str(connection.compute.get_server_console_output(server.id)["output"] or "")
        if wanted in text:
            return wanted
        if time.monotonic() > deadline:
            end = "\n".join(text.splitlines()[-8:]) or "(nothing)"
            raise DemoError(f"not within {timeout:.0f} s: {wanted!r}; its console log ends with:\n{end}")
        pause.wait(1)


def console_picture(state: State, name: str, path: Path, timeout: float) -> str:
    """A picture that shows something, saved as PNG."""
    deadline = time.monotonic() + timeout
    pause = Event()
    while True:
        last = time.monotonic() > deadline
        try:
            picture = rfb.look(cloud.console_url(state, name))
            drawn = picture.drawn()
            if drawn >= DRAWN and picture.colours() > 1:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(png(picture.width, picture.height, picture.rgb))
                return f"{picture.width}x{picture.height}, {drawn:.1%} drawn, saved as {path}"
            found = f"the screen of {picture.width}x{picture.height} is blank ({drawn:.2%} drawn)"
        except (rfb.RfbError, OSError) as error:
            found = str(error)
        if last:
            raise DemoError(f"not within {timeout:.0f} s: {found}")
        pause.wait(2)
