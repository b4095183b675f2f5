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
"""The page about the client says what the client does."""

import doctest
from pathlib import Path

from xapikit.host.pytest_plugin import XapiFactory, xapi_factory  # noqa: F401

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "client.rst"


def test_the_examples_of_the_page_run(xapi_factory: XapiFactory) -> None:  # noqa: F811
    xapi = xapi_factory(https=True)
    given = {"url": xapi.url, "password": xapi.password, "fingerprint": xapi.fingerprint}
    result = doctest.testfile(str(PAGE), module_relative=False, globs=given)
    assert result.attempted > 10
    assert not result.failed
