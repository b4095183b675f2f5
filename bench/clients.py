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
"""Clients of a pool, each a process of its own, that call a getter as fast as it is answered."""

import json
import subprocess
import sys
from contextlib import ExitStack

from bench.pool import ServedPool


def calls_per_second(pool: ServedPool, scheme: str, clients: int, getter: str, seconds: float) -> float:
    """How many calls of a getter (``VM.get_power_state``), on all objects in turn, a pool answers them together."""
    with ExitStack() as stack:
        running = []
        for number in range(clients):
            client = stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-m", "bench.rpc_client"],
                    stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1,
                )
            )  # fmt: skip
            assert client.stdin and client.stdout
            orders = {
                "url": pool.url(scheme), "username": pool.username, "password": pool.password,
                "fingerprint": pool.fingerprint, "getter": getter, "seconds": seconds, "number": number,
            }  # fmt: skip
            client.stdin.write(json.dumps(orders) + "\n")
            running.append((client.stdin, client.stdout))
        for _, answers in running:
            if answers.readline().strip() != "ready":
                raise RuntimeError("a client did not connect")
        for start, _ in running:
            start.write("go\n")
        return sum(int(answers.readline()) for _, answers in running) / seconds
