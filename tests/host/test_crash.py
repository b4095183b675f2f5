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
"""``kill -9`` at random moments under load: nothing acknowledged is lost, nothing half-done is visible.

``XAPI_CRASH_ROUNDS=100`` makes the long form of it.
"""

import http.client
import json
import os
import random
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from xapi_caller import Caller, CallFailed

ROUNDS = int(os.environ.get("XAPI_CRASH_ROUNDS", "3"))
CLIENTS = 4


def start(state: Path) -> tuple["subprocess.Popen[str]", dict[str, Any]]:
    command = [
        sys.executable,
        "-m",
        "xapikit.host.cli",
        "serve",
        "--state",
        str(state),
        "--json",
        "--http",
        "127.0.0.1:0",
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    return process, json.loads(process.stdout.readline())


class Load:
    """A client that remembers what was acknowledged."""

    def __init__(self, ready: dict[str, Any], password: str, prefix: str) -> None:
        self.caller = Caller(ready["urls"][0], password=password)
        self.prefix = prefix
        self.created: dict[str, str] = {}
        self.renamed: dict[str, str] = {}
        self.destroyed: set[str] = set()
        self.blobs: set[str] = set()
        self.failures: list[BaseException] = []

    def run(self) -> None:
        choose = random.Random(self.prefix)
        pool = self.caller("pool.get_all")[0]
        number = 0
        try:
            while True:
                number += 1
                name = f"{self.prefix}-{number}"
                ref = self.caller("VM_appliance.create", {"name_label": name})
                self.created[ref] = name
                # two rows in one transaction: the blob, and the map of the pool that names it
                self.blobs.add(self.caller("pool.create_new_blob", pool, name, "text/plain", False))
                if choose.random() < 0.3:
                    victim = choose.choice(sorted(self.created))
                    del self.created[victim]
                    self.caller("VM_appliance.destroy", victim)
                    self.destroyed.add(victim)
        except (OSError, http.client.HTTPException):
            return  # the server was killed
        except CallFailed as error:
            self.failures.append(error)


@pytest.mark.timeout(60 + 10 * ROUNDS)
def test_acknowledged_changes_survive_kill_and_transactions_are_whole(tmp_path: Path) -> None:
    choose = random.Random(ROUNDS)
    state = tmp_path / "pool"
    process, ready = start(state)
    password = Path(ready["password_file"]).read_text().strip()
    seen: dict[str, str] = {}
    gone: set[str] = set()
    try:
        for round_ in range(ROUNDS):
            loads = [Load(ready, password, f"{round_}-{client}") for client in range(CLIENTS)]
            threads = [threading.Thread(target=load.run) for load in loads]
            for thread in threads:
                thread.start()
            threading.Event().wait(choose.uniform(0.1, 0.8))
            process.kill()
            process.wait(20)
            assert process.stdout
            process.stdout.close()
            for thread in threads:
                thread.join(30)
            assert not any(load.failures for load in loads)
            process, ready = start(state)
            caller = Caller(ready["urls"][0], password=password)
            appliances = {ref: row["name_label"] for ref, row in caller("VM_appliance.get_all_records").items()}
            blobs = set(caller("blob.get_all"))
            named = set(caller("pool.get_blobs", caller("pool.get_all")[0]).values())
            assert blobs == named
            for load in loads:
                seen |= load.created
                gone |= load.destroyed
                assert load.blobs <= blobs
            assert seen.items() <= appliances.items()
            assert not gone & appliances.keys()
            caller.close()
    finally:
        process.kill()
        process.wait(20)
        if process.stdout:
            process.stdout.close()
    assert len(seen) > ROUNDS
