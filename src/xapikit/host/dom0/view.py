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
"""Runs a program with dom0's directory as its root: ``python view.py DIRECTORY PROGRAM ARGUMENT...``

In namespaces of its own, which needs no rights, the directory lies over the root of this machine: where both have a
directory its entries are mixed and dom0's win, and what only this machine has (its Python, its libraries) is there,
too. A program that uses the paths of a real host so finds dom0. The program becomes this process.
"""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path
from typing import Final

OWN: Final = frozenset((
    "boot/guest", "etc/xapi.d", "etc/xensource", "images", "opt/xensource", "run/sr-mount", "run/xenstored",
    "usr/etc", "var/lib/xcp", "var/log/xen",
))  # fmt: skip
"""Directories that are dom0's alone: what programs put there stays. Elsewhere new files vanish with the program."""
CANNOT_ENTER: Final = 126
CANNOT_RUN: Final = 127
_NEW_MOUNTS, _NEW_USERS = 0x00020000, 0x10000000
_BIND, _RECURSIVE, _PRIVATE = 0x1000, 0x4000, 0x40000
_MACHINE, _DOM0 = ".machine", ".dom0"


def enter(directory: Path) -> None:
    """Make the view and go into it. Raises OSError where namespaces are not to be had."""
    user, group = os.getuid(), os.getgid()
    library = ctypes.CDLL(None, use_errno=True)

    def call(name: str, *arguments: object) -> None:
        if getattr(library, name)(*arguments):
            number = ctypes.get_errno()
            raise OSError(number, f"{name}: {os.strerror(number)}")

    def mount(source: str, target: str, kind: str | None, flags: int) -> None:
        kinds = kind.encode() if kind is not None else None
        call("mount", source.encode(), os.fsencode(target), kinds, ctypes.c_ulong(flags), None)

    call("unshare", _NEW_USERS | _NEW_MOUNTS)
    for file, text in (("setgroups", "deny"), ("uid_map", f"0 {user} 1"), ("gid_map", f"0 {group} 1")):
        Path("/proc/self", file).write_text(text)
    mount("none", "/", None, _RECURSIVE | _PRIVATE)
    base = directory / ".view"
    base.mkdir(exist_ok=True)
    mount("view", str(base), "tmpfs", 0)
    for name, source in ((_MACHINE, "/"), (_DOM0, str(directory))):
        (base / name).mkdir()
        mount(source, str(base / name), None, _BIND | _RECURSIVE)
    _mix(base, "", directory, Path("/"))
    os.chroot(base)
    os.chdir("/")


def _mix(base: Path, path: str, dom0: Path, machine: Path) -> None:
    """Make the entries of one directory of the view."""
    own, others = set(os.listdir(dom0)), set(os.listdir(machine))  # noqa: PTH208 - names, of thousands of files
    for name in sorted(own | others):
        below = f"{path}/{name}" if path else name
        ours, theirs = dom0 / name, machine / name
        if below == ".view":
            continue
        both = name in own and name in others and _is_directory(ours) and _is_directory(theirs)
        if both and below not in OWN:
            (base / below).mkdir()
            _mix(base, below, ours, theirs)
        else:
            (base / below).symlink_to(f"/{_DOM0 if name in own else _MACHINE}/{below}")


def _is_directory(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def main(arguments: list[str]) -> int:
    """Become the program. Returns a status when that is not possible."""
    directory, program, *rest = arguments
    try:
        enter(Path(directory))
    except OSError as error:
        sys.stderr.write(f"dom0_view=root needs user namespaces, which this machine does not give: {error}\n")
        return CANNOT_ENTER
    try:
        os.execv(program, [program, *rest])  # noqa: S606 - that is the purpose
    except OSError:
        return CANNOT_RUN  # as a host tells of a program that cannot be run: with nothing


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
