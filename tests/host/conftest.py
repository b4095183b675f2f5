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
"""An embedded pool and a plain caller that speaks to it."""

from collections.abc import Iterator

import pytest

from xapi_caller import Caller
from xapikit.host import EmbeddedHost
from xapikit.host.pytest_plugin import xapi_factory, xapi_host, xapi_pool  # noqa: F401 - fixtures


@pytest.fixture
def call(xapi_host: EmbeddedHost) -> Iterator[Caller]:  # noqa: F811
    """A logged-in caller of a pool of one host."""
    caller = Caller(xapi_host.urls[0], password=xapi_host.password)
    yield caller
    caller.close()
