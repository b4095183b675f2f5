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
"""pytest fixtures for tests of any XenAPI client: ``pytest_plugins = ["xapikit.host.pytest_plugin"]``.

``xapi_host`` is a pool of one host with timed guests, new for each test; ``xapi_pool`` one of two hosts.
``xapi_factory`` starts pools as you describe them and stops them at the end of the test.
``@pytest.mark.xapi_scenario("flaky-network", seed=7)`` plays scenarios of faults on them; what fired, and with which
seed, is printed at the end of the test, so that pytest shows it when the test fails.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any, TypeAlias

import pytest

from xapikit.host.embedded import EmbeddedHost

XapiFactory: TypeAlias = Callable[..., EmbeddedHost]


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known."""
    config.addinivalue_line(
        "markers", "xapi_scenario(*files_or_names, seed=None): play scenarios of faults on the embedded hosts"
    )


@pytest.fixture
def xapi_factory(request: pytest.FixtureRequest) -> Iterator[XapiFactory]:
    """``xapi_factory(hosts=2, https=True)``: the arguments are those of :class:`EmbeddedHost`."""
    marker = request.node.get_closest_marker("xapi_scenario")
    marked = {"scenario": marker.args, **marker.kwargs} if marker is not None else {}
    with ExitStack() as running:

        def make(**settings: Any) -> EmbeddedHost:
            xapi = running.enter_context(EmbeddedHost(**{**marked, **settings}))
            running.callback(_tell, xapi)
            return xapi

        yield make


def _tell(xapi: EmbeddedHost) -> None:
    for playing in xapi.faults.playing:
        print(playing)


@pytest.fixture
def xapi_host(xapi_factory: XapiFactory) -> EmbeddedHost:
    """A pool of one host."""
    return xapi_factory()


@pytest.fixture
def xapi_pool(xapi_factory: XapiFactory) -> EmbeddedHost:
    """A pool of two hosts."""
    return xapi_factory(hosts=2)
