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
"""`demo down`: end what was started, by its records, in an order in which nobody misses anybody."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from threading import Event

from nova_xapi.demo import pool
from nova_xapi.demo.errors import DemoError
from nova_xapi.demo.layout import State
from nova_xapi.demo.processes import Processes
from nova_xapi.demo.progress import Progress
from nova_xapi.demo.services import LAYERS, NAMES, STOP_TIMEOUTS, Services
from nova_xapi.demo.up import only_one


def down(state: State, progress: Progress, *, purge: bool = False) -> list[str]:
    """Stop everything; with `purge`, remove the state directory as well. Names of what was running.

    Raises DemoError when something still works in the state directory afterwards."""
    processes = Processes(state.root)
    with only_one(state):
        stopped = []
        known = {name for layer in LAYERS for name in layer}
        unknown = tuple(record.name for record in processes.records() if record.name not in known)
        for layer in (*LAYERS[:-1], unknown, LAYERS[-1]):
            recorded = [name for name in layer if processes.record(name)]
            if not recorded:
                continue
            for name in recorded:
                progress.start(name, f"Stopping {name}" + (f" ({NAMES[name]})" if name in NAMES else ""))
            with ThreadPoolExecutor(len(recorded)) as threads:
                for name, was_alive in threads.map(lambda name: stop_one(processes, progress, name), recorded):
                    if was_alive:
                        stopped.append(name)
        if list(processes.strays()):
            end_guests(state, progress)
        left = list(processes.strays())
    if left:
        raise DemoError(
            "still at work in the state directory:\n" + "\n".join(f"  {pid}  {what[:120]}" for pid, what in left),
            "they are not in the demo's records; look at them, and end them with kill PID",
        )
    if purge:
        shutil.rmtree(state.root)
    return stopped


def end_guests(state: State, progress: Progress) -> None:
    """Guests outlive an xapi-host that was killed. Only it knows them: it is started, finds them and ends them."""
    services = Services(state)
    progress.start("guests", "Ending guests of a killed xapi-host")
    try:
        pool.start(services, lambda text: progress.note("guests", text), Event())
    except DemoError as error:
        # what is left is told below, by its process
        progress.note("guests", error.message)
        progress.fail("guests")
    else:
        services.processes.stop(pool.NAME, STOP_TIMEOUTS[pool.NAME])
        progress.done("guests")


def stop_one(processes: Processes, progress: Progress, name: str) -> tuple[str, bool]:
    was_alive = processes.stop(name, STOP_TIMEOUTS.get(name, 20.0))
    progress.done(name, "" if was_alive else "was not running")
    return name, was_alive
