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
"""A 1 GiB raw image from Glance into a VHD of the SR, the way the driver does it: hashed, inspected, zeros left out.

Glance, the XAPI host and the importing service are three processes. Compared with what writing the same file takes
without any of that: ``qemu-img convert -O vpc`` and ``cp``, both with fsync, in turns with ours.
"""

from collections.abc import Callable, Iterator
from typing import Any

from bench.compute import compute, image_meta, request_context
from bench.fig_vhd_stream import timed_convert, timed_copy
from bench.glance import ServedImage, served_image
from bench.measure import in_turns, sample_image, scratch, seconds, sync_file
from bench.pool import ServedPool, served_pool
from bench.report import Figure

FIGURES = ("image_import",)

_QEMU = "qemu-img convert -O vpc, fsync"
_COPY = "cp, fsync"


def run(wanted: list[str]) -> Iterator[Figure]:
    del wanted
    with (
        scratch() as directory,
        served_pool(directory=directory) as pool,
        served_image(sample_image(directory / "image.raw")) as glance,
        compute(pool, directory, scheme="https", glance_url=glance.url) as by_https,
        compute(pool, directory, scheme="http", glance_url=glance.url) as by_http,
    ):
        raw, target = directory / "image.raw", directory / "target"
        times = in_turns(
            {
                "https": importing(by_https, pool, glance),
                "http": importing(by_http, pool, glance),
                _QEMU: lambda: timed_convert(raw, "raw", target, "vpc"),
                _COPY: lambda: timed_copy(raw, target),
            }
        )
        for scheme in ("https", "http"):
            for versus in (_QEMU, _COPY):
                yield Figure(
                    "image_import", times[scheme], "s", variant=scheme, versus=versus,
                    ratio=times[scheme] / times[versus], note="1 GiB raw, half of it zeros",
                )  # fmt: skip


def importing(driver: Any, pool: ServedPool, glance: ServedImage) -> Callable[[], float]:
    """A function that imports the image once more and answers the seconds that took, the last fsync included."""
    from nova_xapi.image.description import describe_meta
    from nova_xapi.ops.calls import remove_vdi

    meta = image_meta(glance.image_id)
    image, context, conn = describe_meta(meta), request_context(), driver.service.conn
    sr = next(iter(conn.cache.records("pool").values()))["default_SR"]

    def once() -> float:
        def work() -> None:
            base = driver.service.images.provide(context, meta, sr, 0)
            found.append(base.ref)
            sync_file(next(pool.state.rglob(f"{base.uuid}.vhd")))

        found: list[str] = []
        # the last base copy may have been the other driver's
        conn.wait(lambda _: driver.service.images.find(image, sr) is None)
        spent = seconds(work)
        remove_vdi(conn, found[0])
        return spent

    return once
