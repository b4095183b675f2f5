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

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

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


STAND_INS = Path(__file__).parent / "stand_ins"
# what the packages want in versions that a registry may not have any more, and what it has
NODE_VERSIONS = {
    "xo-common": "0.9.0",
    "@vates/async-each": "1.0.3",
    "@vates/decorate-with": "2.1.0",
    "@vates/nbd-client": "3.6.0",
    "@vates/read-chunk": "1.2.1",
    "@xen-orchestra/async-map": "0.1.4",
    "@xen-orchestra/disk-transform": "1.3.3",
    "@xen-orchestra/log": "0.7.2",
    "@xen-orchestra/qcow2": "1.3.1",
}


@pytest.fixture(scope="session")
def node_with() -> Callable[..., Path]:
    """``node_with("xen-api@4.7.6")``: a directory in which node finds these packages.

    When the registry lacks something that they depend on, its place is taken by the small modules in ``stand_ins``; the
    packages themselves are as their authors published them.
    """
    if shutil.which("npm") is None:
        pytest.skip("npm is not installed (apt-get install npm)")

    def make(*packages: str) -> Path:
        def install(directory: Path) -> None:
            project = directory / "package.json"
            project.write_text('{"private": true, "type": "module"}')
            command = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts"]
            done = subprocess.run(
                [*command, *packages],
                cwd=directory,
                capture_output=True,
                text=True,
                timeout=INSTALL_SECONDS,
                check=False,
            )
            if done.returncode and any(code in done.stderr for code in ("E404", "ETARGET", "ERESOLVE")):
                project.write_text(json.dumps(_with_stand_ins(packages), indent=1))
                run(*command, "--legacy-peer-deps", cwd=directory, timeout=INSTALL_SECONDS)
            elif done.returncode:
                pytest.fail(done.stderr[-4000:])

        name = "node-" + "-".join(packages).replace("/", "_").replace("@", "-")
        return once(cache_directory() / name, install)

    return make


def _with_stand_ins(packages: Sequence[str]) -> dict[str, Any]:
    """A package.json that takes stand-ins for what is missing."""
    dependencies = {
        json.loads(file.read_text())["name"]: f"file:{file.parent}" for file in STAND_INS.glob("*/package.json")
    }
    dependencies |= {name: version for name, _, version in (package.rpartition("@") for package in packages)}
    overrides = {**NODE_VERSIONS, **{name: f"${name}" for name in dependencies}}
    return {"private": True, "type": "module", "dependencies": dependencies, "overrides": overrides}
