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
"""The page about the library says what the library does."""

import doctest
from pathlib import Path

import pytest

from xapikit.vhd import Reason

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "vhd.rst"


def test_the_examples_of_the_page_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = doctest.testfile(str(PAGE), module_relative=False, optionflags=doctest.IGNORE_EXCEPTION_DETAIL)
    assert result.attempted > 10
    assert not result.failed


def test_the_page_names_every_reason() -> None:
    listed = {line.split("``")[1] for line in PAGE.read_text().splitlines() if line.startswith("``")}
    assert {str(reason) for reason in Reason} <= listed
