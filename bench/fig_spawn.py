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
"""A server from a cached image, one disk and one VIF, no config drive: how many calls, and how long the driver itself.

The server counts: every call and transfer of all threads until the pool is quiet again, task clean-up included,
event.from apart.
"""

import statistics
from collections.abc import Iterator
from typing import Any

from bench.compute import Inside, compute, image_meta, spawn
from bench.glance import served_image
from bench.measure import MIB, sample_image, scratch, seconds
from bench.pool import ServedPool, quiet, served_pool
from bench.report import Figure, say

FIGURES = ("spawn_cached_calls", "spawn_cached_driver_ms")

CALLS_ALLOWED = 15
ROUNDS = 10


def run(wanted: list[str]) -> Iterator[Figure]:
    with (
        scratch() as directory,
        served_pool(directory=directory) as pool,
        served_image(sample_image(directory / "image.raw", 64 * MIB)) as glance,
        compute(pool, directory, glance_url=glance.url) as driver,
    ):
        meta = image_meta(glance.image_id)
        # fills the cache of images, and everything that is done once
        spawn(driver, meta)
        if "spawn_cached_calls" in wanted:
            yield _calls(pool, driver, meta)
        if "spawn_cached_driver_ms" in wanted:
            yield _driver_time(driver, meta)


def _calls(pool: ServedPool, driver: Any, meta: Any) -> Figure:
    quiet(pool)
    pool.reset_counts()
    spawn(driver, meta)
    quiet(pool)
    counts = {name: count for name, count in pool.counts().items() if name != "event.from"}
    total = pool.total()
    for name, count in sorted(counts.items()):
        say(f"    {count} {name}")
    if total != sum(counts.values()):
        raise RuntimeError(f"the server counted {total} calls, by method {sum(counts.values())}")
    return Figure("spawn_cached_calls", total, "calls", limit=CALLS_ALLOWED, note="one disk, one VIF; by the server")


def _driver_time(driver: Any, meta: Any) -> Figure:
    conn = driver.service.conn
    calls = Inside(conn.client, "call", "run", "import_vdi", "import_extents")
    events = Inside(conn, "wait")
    whole, outside, waiting = [], [], []
    for _ in range(ROUNDS):
        called, waited = calls.seconds, events.seconds
        spent = seconds(lambda: spawn(driver, meta))
        whole.append(spent)
        outside.append(spent - (calls.seconds - called))
        waiting.append(events.seconds - waited)
    whole_ms, outside_ms, waiting_ms = (statistics.median(times) * 1000 for times in (whole, outside, waiting))
    note = (
        f"median of {ROUNDS}; {waiting_ms:.0f} ms of it until events showed the effect; whole spawn {whole_ms:.0f} ms"
    )
    return Figure("spawn_cached_driver_ms", outside_ms, "ms", note=note)
