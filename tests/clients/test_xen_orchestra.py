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
"""Xen Orchestra's client library from npm: its object cache, tasks and streams."""

from collections.abc import Callable
from pathlib import Path

import pytest

from clients.conftest import run
from xapikit.host.pytest_plugin import XapiFactory, xapi_factory  # noqa: F401

pytestmark = [pytest.mark.slow, pytest.mark.timeout(700)]
SCRIPT = Path(__file__).parent / "xen_orchestra.mjs"


@pytest.mark.parametrize("https", [False, True], ids=["http", "https"])
def test_xen_api_works(xapi_factory: XapiFactory, node_with: Callable[..., Path], https: bool) -> None:  # noqa: F811
    xapi = xapi_factory(hosts=2, https=https)
    modules = node_with("xen-api@4.7.6")
    # node resolves packages from where the script lies
    script = modules / SCRIPT.name
    script.write_text(SCRIPT.read_text())
    assert run("node", script, xapi.url, xapi.password, cwd=modules).splitlines()[-1] == "done"
