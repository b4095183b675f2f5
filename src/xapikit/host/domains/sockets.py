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
"""Where sockets of detached processes are: paths of Unix sockets must stay under 108 bytes."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

LONGEST_PATH = 107
"""Bytes in ``sun_path``, less the zero at its end."""


def socket_directory(run: Path, longest_name: str) -> Path:
    """``run`` itself when sockets in it fit, else a short private directory that ``run/sockets`` names."""
    run.mkdir(parents=True, exist_ok=True, mode=0o700)
    if len(os.fsencode(str(run.absolute() / longest_name))) <= LONGEST_PATH:
        return run.absolute()
    link = run / "sockets"
    if link.is_symlink():
        target = link.readlink()
        if target.is_dir() and target.stat().st_uid == os.getuid():
            return target
        link.unlink()
    target = Path(tempfile.mkdtemp(prefix="xapi-"))  # mode 0700: a socket must not be open to everybody
    link.symlink_to(target)
    return target


def leave_socket_directory(run: Path, sockets: Path) -> None:
    """Remove a short directory when nothing is in it any more."""
    if sockets != run.absolute() and sockets.is_dir() and not any(sockets.iterdir()):
        sockets.rmdir()
        (run / "sockets").unlink(missing_ok=True)
