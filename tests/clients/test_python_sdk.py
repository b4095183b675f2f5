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
"""The official Python SDK, newest and old, over http and https."""

from collections.abc import Callable
from pathlib import Path

import pytest

from clients.conftest import run
from xapikit.host.pytest_plugin import XapiFactory, xapi_factory  # noqa: F401

pytestmark = [pytest.mark.slow, pytest.mark.timeout(700)]
SCRIPT = Path(__file__).parent / "sdk_session.py"


@pytest.mark.parametrize("package", ["XenAPI==26.21.1", "XenAPI==2.14"])
@pytest.mark.parametrize("https", [False, True], ids=["http", "https"])
def test_the_official_sdk_works(
    xapi_factory: XapiFactory,  # noqa: F811
    python_with: Callable[..., Path],
    package: str,
    https: bool,
) -> None:
    xapi = xapi_factory(hosts=2, https=https)
    python = python_with(package)
    member = next(host.url for host in xapi.hosts if host.ref != xapi.pool.coordinator)
    assert run(python, SCRIPT, xapi.url, member, xapi.password).splitlines()[-1] == "done"
