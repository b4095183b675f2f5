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
"""What the demo needs from the machine: Debian packages (installed when root) and Python packages (only checked).

The packages' daemons are not started by their installation: a policy-rc.d refuses while apt runs (and one that
exists already is respected). The demo runs copies of its own, on loopback, below its state directory.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from nova_xapi.demo.errors import DemoError, Missing

POLICY = Path("/usr/sbin/policy-rc.d")
RABBITMQ_SERVER = "/usr/lib/rabbitmq/bin/rabbitmq-server"


@dataclass(frozen=True)
class Program:
    """A program (command or path) and the Debian package that has it."""

    command: str
    package: str

    def found(self) -> bool:
        if self.command.startswith("/"):
            return Path(self.command).exists()
        # daemons lie in sbin, which is not in everybody's PATH
        return shutil.which(self.command, path=search_path()) is not None


def search_path() -> str:
    return os.environ.get("PATH", "") + ":/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin"


def find(command: str) -> str:
    """Full path of a program that `require` has made sure of."""
    path = shutil.which(command, path=search_path())
    if path is None:
        raise Missing(f"the program {command} is missing")
    return path


PROGRAMS = (
    Program("mariadbd", "mariadb-server"),
    Program("mariadb-install-db", "mariadb-server"),
    Program("mariadb", "mariadb-client"),
    Program(RABBITMQ_SERVER, "rabbitmq-server"),
    Program("epmd", "erlang-base"),
    Program("memcached", "memcached"),
    Program("qemu-system-x86_64", "qemu-system-x86"),
    # for the guest image
    Program("syslinux", "syslinux"),
    Program("/usr/lib/syslinux/mbr/mbr.bin", "syslinux-common"),
    Program("mcopy", "mtools"),
    Program("mkfs.vfat", "dosfstools"),
    Program("mke2fs", "e2fsprogs"),
    Program("dpkg-deb", "dpkg"),
)

# module -> distribution of the extra "demo"
MODULES = {
    "nova": "nova",
    "keystone": "keystone",
    "glance": "glance",
    "neutron": "neutron",
    "placement": "openstack-placement",
    "openstack": "openstacksdk",
    "openstackclient": "python-openstackclient",
    "gunicorn": "gunicorn",
    "pymysql": "PyMySQL",
    "pymemcache": "pymemcache",
    "websocket": "websocket-client",
}


def require_python_packages() -> None:
    """Raise Missing naming what this interpreter's environment lacks."""
    missing = [name for module, name in MODULES.items() if importlib.util.find_spec(module) is None]
    if missing:
        raise Missing(
            f"{sys.prefix} has no {', '.join(missing)}",
            "install the extra of this release: pip install 'nova-xapi[demo]' -c constraints/2026.2.txt "
            "(from a clone, `make demo` does all of it)",
        )


def require_programs(
    note: Callable[[str], None], log: Path, programs: tuple[Program, ...] = PROGRAMS, *, root: bool | None = None
) -> str:
    """Install the missing programs' Debian packages; raises Missing when this system has no apt, or when we are not
    `root` (default: whether this process is)."""
    packages = sorted({program.package for program in programs if not program.found()})
    if not packages:
        return "nothing to install"
    if shutil.which("apt-get") is None:
        raise Missing(
            f"programs are missing, of the Debian packages {', '.join(packages)}",
            "this is not a Debian-like system: install them with the system's own tools, then start again",
        )
    if not (os.geteuid() == 0 if root is None else root):
        raise Missing(
            f"Debian packages are missing: {', '.join(packages)}",
            f"run as root, or have them installed: apt-get install --no-install-recommends {' '.join(packages)}",
        )
    with daemons_not_started():
        note("apt-get update")
        apt(["update", "-q"], note, log)
        note(f"installing {', '.join(packages)}")
        apt(["install", "-y", "-q", "--no-install-recommends", *packages], note, log)
    missing = sorted({program.command for program in programs if not program.found()})
    if missing:
        raise Missing(f"still missing after the installation of packages: {', '.join(missing)}", f"see {log}")
    return f"installed {', '.join(packages)}"


@contextmanager
def daemons_not_started(policy: Path = POLICY) -> Iterator[None]:
    """While this lasts, Debian's maintainer scripts start no daemon."""
    made = False
    if not policy.exists():
        policy.write_text("#!/bin/sh\n# put here by nova-xapi demo while it installs packages\nexit 101\n")
        policy.chmod(0o755)
        made = True
    try:
        yield
    finally:
        if made:
            with suppress(FileNotFoundError):
                policy.unlink()


def apt(arguments: list[str], note: Callable[[str], None], log: Path, cwd: Path | None = None) -> None:
    """Run apt-get, its output in `log`, what it is at in `note`. Waits for other users of apt."""
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"}
    argv = ["apt-get", "-o", "DPkg::Lock::Timeout=300", *arguments]
    with log.open("a") as file:
        process = subprocess.Popen(
            argv,
            env=env,
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert process.stdout is not None
        last = ""
        for line in process.stdout:
            file.write(line)
            if line.startswith(("Get:", "Unpacking", "Setting up")):
                note(line.strip()[:100])
            if line.startswith(("E:", "Err")):
                last += line
        if process.wait() != 0:
            raise DemoError(f"{' '.join(argv)} failed:\n{last.strip()}", f"the whole output: {log}")


def in_debian_user(user: str, argv: list[str]) -> list[str]:
    """The command run as a Debian system user when we are root; as ourselves otherwise."""
    if os.geteuid() != 0:
        return argv
    return [find("setpriv"), f"--reuid={user}", f"--regid={user}", "--init-groups", *argv]
