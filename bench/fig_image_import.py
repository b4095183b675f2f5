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
from contextlib import contextmanager
from typing import Any

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
        importing(pool, glance, "https") as by_https,
        importing(pool, glance, "http") as by_http,
    ):
        raw, target = directory / "image.raw", directory / "target"
        times = in_turns(
            {
                "https": by_https,
                "http": by_http,
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


@contextmanager
def importing(pool: ServedPool, glance: ServedImage, scheme: str) -> Iterator[Callable[[], float]]:
    """A function that imports the image once more and answers the seconds that took, the last fsync included."""
    import nova.conf
    from nova.context import RequestContext

    from nova_xapi.hosts.connection import CACHED_CLASSES
    from nova_xapi.image.cache import ImageCache
    from nova_xapi.image.description import describe_meta
    from nova_xapi.storage import vdi

    nova.conf.CONF.set_override("api_servers", [glance.url], "glance")
    context = RequestContext(user_id="user", project_id="project", auth_token="none", is_admin=False)  # noqa: S106
    meta = _image_meta(context, glance.image_id)
    image = describe_meta(meta)
    with pool.client(scheme, f"nova-xapi-bench:{scheme}", CACHED_CLASSES) as client:
        client.cache.start(60)
        default_sr = next(iter(client.cache.records("pool").values()))["default_SR"]
        cache = ImageCache(client, f"bench-{scheme}", "1")

        def once() -> float:
            def work() -> None:
                base = cache.provide(context, meta, default_sr, 0)
                found.append(base.ref)
                sync_file(next(pool.state.rglob(f"{base.uuid}.vhd")))

            found: list[str] = []
            # the last base copy may have been the other client's
            client.cache.wait_for(lambda _: cache.find(image, default_sr) is None, 60)
            spent = seconds(work)
            vdi.discard(client, found[0])
            return spent

        yield once


def _image_meta(context: Any, image_id: str) -> Any:
    from nova.image import glance
    from nova.objects.image_meta import ImageMeta

    return ImageMeta.from_dict(glance.API().get(context, image_id))
