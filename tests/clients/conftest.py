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
"""Clients of others, unchanged, from their registries, against the embedded host: ``make clients``.

What they need is installed once into a cache directory (``NOVA_XAPI_CLIENTS``, default ``~/.cache/nova-xapi/clients``).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

INSTALL_SECONDS = 600


def cache_directory() -> Path:
    given = os.environ.get("NOVA_XAPI_CLIENTS")
    return Path(given) if given else Path.home() / ".cache" / "nova-xapi" / "clients"


def run(*command: str | Path, cwd: Path | None = None, timeout: float = 120, check: bool = True) -> str:
    """Standard output of a command; fails the test with what it said on standard error."""
    done = subprocess.run(
        [str(word) for word in command], cwd=cwd, capture_output=True, text=True, timeout=timeout, check=False
    )
    if check and done.returncode:
        pytest.fail(f"{command[0]} ended with {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
    return done.stdout


def once(directory: Path, install: Callable[[Path], None]) -> Path:
    """Install into ``directory`` unless that was completed before."""
    done = directory / ".complete"
    if not done.exists():
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(parents=True)
        install(directory)
        done.touch()
    return directory


@pytest.fixture(scope="session")
def python_with() -> Callable[..., Path]:
    """``python_with("XenAPI==2.14")``: the interpreter of an environment that has these packages."""

    def make(*packages: str) -> Path:
        def install(directory: Path) -> None:
            run(sys.executable, "-m", "venv", directory, timeout=INSTALL_SECONDS)
            run(directory / "bin/python", "-m", "pip", "install", "-q", *packages, timeout=INSTALL_SECONDS)

        name = "python-" + "-".join(packages).replace("=", "").replace("/", "_").lower()
        return once(cache_directory() / name, install) / "bin/python"

    return make


@pytest.fixture(scope="session")
def node_with() -> Callable[..., Path]:
    """``node_with("xen-api@4.7.6")``: a directory in which node finds these packages."""
    if shutil.which("npm") is None:
        pytest.skip("npm is not installed (apt-get install npm)")

    def make(*packages: str) -> Path:
        def install(directory: Path) -> None:
            (directory / "package.json").write_text('{"private": true, "type": "module"}')
            command = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", *packages]
            run(*command, cwd=directory, timeout=INSTALL_SECONDS)

        name = "node-" + "-".join(packages).replace("/", "_").replace("@", "-")
        return once(cache_directory() / name, install)

    return make
