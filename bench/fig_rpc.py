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
"""How many calls per second the embedded host answers: one getter, by one client process and by eight."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack

from bench.pool import ServedPool, served_pool
from bench.report import Figure

FIGURES = ("rpc_per_second",)

SECONDS = 4.0


def run(wanted: list[str]) -> Iterator[Figure]:
    del wanted
    with served_pool() as pool:
        for scheme in ("https", "http"):
            for clients in (1, 8):
                noun = "client" if clients == 1 else "clients"
                yield Figure(
                    "rpc_per_second", _rate(pool, scheme, clients), "calls/s", variant=f"{clients} {noun}, {scheme}"
                )


def _rate(pool: ServedPool, scheme: str, clients: int) -> float:
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
                "fingerprint": pool.fingerprint, "seconds": SECONDS, "number": number,
            }  # fmt: skip
            client.stdin.write(json.dumps(orders) + "\n")
            running.append((client.stdin, client.stdout))
        for _, answers in running:
            if answers.readline().strip() != "ready":
                raise RuntimeError("a client did not connect")
        for start, _ in running:
            start.write("go\n")
        return sum(int(answers.readline()) for _, answers in running) / SECONDS
