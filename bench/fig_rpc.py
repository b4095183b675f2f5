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

from collections.abc import Iterator

from bench.clients import calls_per_second
from bench.pool import served_pool
from bench.report import Figure

FIGURES = ("rpc_per_second",)

SECONDS = 4.0


def run(wanted: list[str]) -> Iterator[Figure]:
    del wanted
    with served_pool() as pool:
        for scheme in ("https", "http"):
            for clients in (1, 8):
                noun = "client" if clients == 1 else "clients"
                rate = calls_per_second(pool, scheme, clients, "host.get_name_label", SECONDS)
                yield Figure("rpc_per_second", rate, "calls/s", variant=f"{clients} {noun}, {scheme}")
