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
"""Fetch Debian packages and unpack them without installing them."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

from nova_xapi.demo.errors import DemoError, Missing
from nova_xapi.demo.packages import apt, find


def download(names: list[str], directory: Path, note: Callable[[str], None], log: Path) -> None:
    """Put the packages' .deb files into a directory. Fetches apt's lists first when it does not know a package."""
    ensure_lists(names, note, log)
    unknown = set(names) - candidates(names).keys()
    if unknown:
        raise Missing(
            f"apt does not know {', '.join(sorted(unknown))}",
            "the guest is made of Debian 12's packages: use such a system, and run apt-get update as root",
        )
    note(f"downloading {', '.join(names)}")
    # the directory is private, so apt's own user could not write there
    apt(
        ["download", "-q", "-o", f"APT::Sandbox::User={'root' if os.geteuid() == 0 else ''}", *names],
        note,
        log,
        directory,
    )


def ensure_lists(names: list[str], note: Callable[[str], None], log: Path) -> None:
    """Fetch apt's lists when it does not know one of these packages and we may (a fresh container has no lists)."""
    if os.geteuid() == 0 and set(names) - candidates(names).keys():
        note("apt-get update")
        apt(["update", "-q"], note, log)


def candidates(names: list[str]) -> dict[str, str]:
    """The versions that apt would fetch; packages it does not know are left out."""
    found, name = {}, ""
    for line in query(["apt-cache", "policy", *names]).splitlines():
        if line and not line.startswith(" "):
            name = line.rstrip(":")
        key, _, value = line.strip().partition(": ")
        if key == "Candidate" and value != "(none)":
            found[name] = value
    return found


def dependency(name: str, prefix: str) -> str:
    """The package with this prefix that `name` (a meta package) depends on; raises Missing when there is none."""
    for line in query(["apt-cache", "depends", "--no-recommends", "--no-suggests", name]).splitlines():
        key, _, value = line.strip().partition(": ")
        if key == "Depends" and value.startswith(prefix):
            return value
    raise Missing(f"{name} depends on no {prefix}*", "the guest needs Debian 12's kernel packages")


def query(argv: list[str]) -> str:
    env = {**os.environ, "LC_ALL": "C.UTF-8"}
    return subprocess.run([find(argv[0]), *argv[1:]], env=env, capture_output=True, text=True, check=False).stdout


def unpack(deb: Path, directory: Path) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    process = subprocess.run(
        [find("dpkg-deb"), "-x", str(deb), str(directory)], capture_output=True, text=True, check=False
    )
    if process.returncode != 0:
        raise DemoError(f"{deb.name} cannot be unpacked: {process.stderr.strip()}")
