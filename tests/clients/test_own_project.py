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
"""Another project's tests with the pytest plug-in, as ``docs/test-your-client.rst`` shows them."""

import os
import re
import subprocess
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from clients.conftest import run

pytestmark = [pytest.mark.slow, pytest.mark.timeout(700)]
ROOT = Path(__file__).parents[2]


def test_the_example_of_the_documentation_works_in_a_project_of_its_own(
    python_with: Callable[..., Path], tmp_path: Path
) -> None:
    python = python_with("pytest", "XenAPI==26.21.1", "cryptography", "pycdlib", "rich")
    site, project = tmp_path / "site", tmp_path / "project"
    run(python, "-m", "pip", "install", "-q", "--no-deps", "--target", site, ROOT, timeout=300)
    project.mkdir()
    page = (ROOT / "docs" / "test-your-client.rst").read_text()
    example = textwrap.dedent(re.split(r"\n\n(?=\S)", page.partition("::\n\n")[2])[0])
    for part in re.split(r"^# (?=\w+\.py$)", example, flags=re.MULTILINE)[1:]:
        name, _, text = part.partition("\n")
        (project / name).write_text(text)
    assert {path.name for path in project.iterdir()} == {"conftest.py", "test_backup.py"}
    (project / "test_faults.py").write_text(
        "import pytest\n"
        "@pytest.mark.xapi_scenario('lost-answers', seed=3)\n"
        "def test_faults(xapi_host):\n"
        "    assert [one.seed for one in xapi_host.faults.playing] == [3]\n"
    )
    done = subprocess.run(
        [python, "-m", "pytest", "-q", "--strict-markers"],
        cwd=project,
        env={**os.environ, "PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert "3 passed" in done.stdout, done.stdout + done.stderr
