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
"""Kills a server under load, again and again, and lets a test look at what the next one makes of its state.

What the load is (:class:`Load`) and what must hold afterwards is the test's business. ``XAPI_CRASH_ROUNDS=100`` makes
the long form of the tests that use it.
"""

from __future__ import annotations

import http.client
import json
import os
import random
import subprocess
import sys
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Generic, TypeVar

from xapi_caller import Caller, CallFailed

ROUNDS = int(os.environ.get("XAPI_CRASH_ROUNDS", "3"))
END_SECONDS = 20
JOIN_SECONDS = 30


@contextmanager
def serving(state: Path, *options: str) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    """``xapi-host serve`` and the line with which it says that it is ready. Killed at the end if it still runs."""
    command = [sys.executable, "-m", "xapikit.host.cli", "serve", "--state", str(state), "--json", *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout
        yield process, json.loads(process.stdout.readline())
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(END_SECONDS)
        assert process.stdout
        process.stdout.close()


class Load(ABC):
    """A client that works until the server is gone, and remembers what was acknowledged."""

    def __init__(self, url: str, password: str, seed: str) -> None:
        self.url = url
        self.caller = Caller(url, password=password)
        self.choose = random.Random(seed)
        self.seed = seed
        self.failures: list[CallFailed] = []
        """What the server refused, which is a defect: each client works on objects of its own."""

    @abstractmethod
    def step(self) -> None:
        """One piece of work: note what the server acknowledged, and what was under way when it was cut short."""

    def run(self) -> None:
        try:
            while True:
                self.step()
        except (OSError, http.client.HTTPException):
            return  # the server was killed
        except CallFailed as error:
            self.failures.append(error)


AnyLoad = TypeVar("AnyLoad", bound=Load)


class Killed(Generic[AnyLoad]):
    """A state directory whose server is killed at random moments."""

    def __init__(self, state: Path, options: Sequence[str] = ("--http", "127.0.0.1:0")) -> None:
        self.state = state
        self.options = options
        self.password = ""

    def rounds(
        self,
        count: int,
        make: Callable[[str, str, str], AnyLoad],
        check: Callable[[int, Caller, list[AnyLoad]], None],
        *,
        clients: int,
        seconds: tuple[float, float],
    ) -> None:
        """``count`` times: ``make(url, password, seed)`` for each client, kill within ``seconds``, start again and
        ``check(round, caller, loads)``. The server is ended in an orderly way after the last."""
        moment = random.Random(count)
        loads: list[AnyLoad] = []
        for number in range(count + 1):
            with serving(self.state, *self.options) as (process, ready):
                self.password = Path(ready["password_file"]).read_text().strip()
                url = ready["hosts"][0]["http"]
                if number:
                    caller = Caller(url, password=self.password)
                    check(number, caller, loads)
                    caller.close()
                    if number % 10 == 0:
                        print(f"{number} of {count} kills: all in order", flush=True)
                if number == count:
                    process.terminate()
                    assert process.wait(END_SECONDS) == 0
                    return
                loads = [make(url, self.password, f"{number}-{client}") for client in range(clients)]
                self._kill(process, loads, moment.uniform(*seconds))

    @staticmethod
    def _kill(process: subprocess.Popen[str], loads: Sequence[Load], seconds: float) -> None:
        threads = [threading.Thread(target=load.run) for load in loads]
        for thread in threads:
            thread.start()
        threading.Event().wait(seconds)  # nobody sets it: the kill comes at a random moment
        process.kill()
        process.wait(END_SECONDS)
        for thread in threads:
            thread.join(JOIN_SECONDS)
            assert not thread.is_alive()
        failures = [(vars(load), failure.error) for load in loads for failure in load.failures]
        assert not failures, failures
