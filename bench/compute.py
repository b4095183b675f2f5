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
"""The driver at work as nova-compute has it, against a pool that is another process; Nova's objects are made here."""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.pool import ServedPool

sys.path.append(str(Path(__file__).parents[1] / "tests"))


@contextmanager
def compute(
    pool: ServedPool, directory: Path, *, scheme: str = "https", glance_url: str | None = None
) -> Iterator[Any]:
    """A started driver, bound to the first host of the pool."""
    import nova.conf

    from driver_rig import Ports
    from nova_xapi import conf as options
    from nova_xapi.driver import XenAPIDriver

    name = f"bench-{scheme}"
    config = nova.conf.CONF
    if config._args is None:
        config([], project="nova", default_config_files=[])
    options.register(config)
    options.register_for_host(config, name)
    values = {
        "connection_url": [pool.url(scheme)],
        "connection_username": pool.username,
        "connection_password": pool.password,
        "connection_fingerprint": pool.fingerprint,
        "connection_host_uuid": pool.host_uuids[0],
        "console_relay_address": "127.0.0.1",
        "console_log_directory": str(directory / name),
    }
    for option, value in values.items():
        config.set_override(option, value, options.host_group(name))
    if glance_url is not None:
        config.set_override("api_servers", [glance_url], "glance")
    driver = XenAPIDriver(Ports())
    driver.init_host(name)
    try:
        yield driver
    finally:
        driver.cleanup_host(name)


def request_context() -> Any:
    from nova.context import RequestContext

    return RequestContext(user_id="user", project_id="project", auth_token="none", is_admin=True)  # noqa: S106


def image_meta(image_id: str) -> Any:
    """The image as Nova hands it to a driver, from the image service that `compute` was given."""
    from nova.image import glance
    from nova.objects.image_meta import ImageMeta

    return ImageMeta.from_dict(glance.API().get(request_context(), image_id))


def spawn(driver: Any, meta: Any, ports: int = 1) -> Any:
    """Make a server of one disk, as the compute manager does; answers the instance."""
    from nova.network.model import NetworkInfo

    from driver_rig import flavor, instance, port

    # the root disk grows beyond the image, as it does with any real flavor
    made = instance(meta.id, flavor(root_gb=1))
    network_info = NetworkInfo([port() for _ in range(ports)])
    driver.spawn(request_context(), made, meta, [], "secret", {}, network_info=network_info)
    return made


class Inside:
    """How long at least one of some methods of an object was under way, whatever the number of threads.

    It wraps the methods of that one object, which costs some microseconds per call.
    """

    def __init__(self, target: Any, *names: str) -> None:
        self._lock = threading.Lock()
        self._under_way = 0
        self._since = 0.0
        self.seconds = 0.0
        for name in names:
            setattr(target, name, self._timed(getattr(target, name)))

    def _timed(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*arguments: Any, **options: Any) -> Any:
            with self._lock:
                if not self._under_way:
                    self._since = time.perf_counter()
                self._under_way += 1
            try:
                return function(*arguments, **options)
            finally:
                with self._lock:
                    self._under_way -= 1
                    if not self._under_way:
                        self.seconds += time.perf_counter() - self._since

        return timed
