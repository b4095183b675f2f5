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
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any, TypeAlias

import pytest

from xapikit.host.embedded import EmbeddedHost

XapiFactory: TypeAlias = Callable[..., EmbeddedHost]


@pytest.fixture
def xapi_factory() -> Iterator[XapiFactory]:
    """``xapi_factory(hosts=2, https=True)``: the arguments are those of :class:`EmbeddedHost`."""
    with ExitStack() as running:

        def make(**settings: Any) -> EmbeddedHost:
            return running.enter_context(EmbeddedHost(**settings))

        yield make


@pytest.fixture
def xapi_host(xapi_factory: XapiFactory) -> EmbeddedHost:
    """A pool of one host."""
    return xapi_factory()


@pytest.fixture
def xapi_pool(xapi_factory: XapiFactory) -> EmbeddedHost:
    """A pool of two hosts."""
    return xapi_factory(hosts=2)
