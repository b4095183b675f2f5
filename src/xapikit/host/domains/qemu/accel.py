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
"""Hardware virtualization: tried, not assumed. A ``/dev/kvm`` that opens may still be unable to run a guest."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

LOG = logging.getLogger(__name__)

PROGRAM = "qemu-system-x86_64"
PACKAGE = "qemu-system-x86"
TRIAL_SECONDS = 3.0
"""A machine with working virtualization boots the trial in well under one second."""
TCG = "tcg,thread=multi"
KVM = "kvm"

# A boot sector that counts to 2^24 in 32-bit steps, writes to a port 4096 times (each is an exit to the hypervisor),
# and then ends QEMU through the debug port:
TRIAL = bytes.fromhex(
    "fa"  # cli
    "66b900000001"  # mov ecx, 1 << 24
    "6649"  # dec ecx
    "75fc"  # jnz -4
    "b90010"  # mov cx, 4096
    "b001"  # mov al, 1
    "e680"  # out 0x80, al
    "49"  # dec cx
    "75fb"  # jnz -5
    "b010"  # mov al, 16
    "e6f4"  # out 0xf4, al: isa-debug-exit ends with status 33
    "f4"  # hlt
)
TRIAL_STATUS = 33


def program() -> str | None:
    """Path of QEMU, or None when it is not installed."""
    return shutil.which(PROGRAM)


def choose(qemu: str, wanted: str, remembered: Path) -> str:
    """The accelerator to use: ``kvm`` when a trial guest runs under it, else TCG. ``wanted`` can force either.

    The outcome of a trial is kept in ``remembered`` until the machine boots again.
    """
    if wanted in ("kvm", "tcg"):
        return KVM if wanted == "kvm" else TCG
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return TCG
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    with contextlib.suppress(OSError, ValueError):
        known_boot, known = remembered.read_text().split()
        if known_boot == boot:
            return KVM if known == "kvm" else TCG
    seconds = trial(qemu, KVM)
    if seconds is None:
        LOG.warning("/dev/kvm opens, but a trial guest does not run under it: guests are emulated (slower)")
    else:
        LOG.info("hardware virtualization works: the trial guest took %.2f s", seconds)
    remembered.write_text(f"{boot} {'tcg' if seconds is None else 'kvm'}\n")
    return TCG if seconds is None else KVM


def trial(qemu: str, accel: str) -> float | None:
    """Seconds that the trial guest takes under an accelerator; None when it fails or is too slow to be of use."""
    with tempfile.TemporaryDirectory(prefix="xapi-trial-") as directory:
        disk = Path(directory) / "disk"
        # SeaBIOS does not read from a disk of less than one cylinder
        disk.write_bytes((TRIAL.ljust(510, b"\0") + b"\x55\xaa").ljust(1 << 20, b"\0"))
        # fmt: off
        command = [
            qemu, "-no-user-config", "-nodefaults", "-machine", "pc", "-accel", accel, "-m", "16M", "-display", "none",
            "-device", "isa-debug-exit,iobase=0xf4,iosize=0x01", "-no-reboot",
            "-blockdev", f"driver=file,node-name=d,filename={disk},read-only=on",
            "-device", "virtio-blk-pci,drive=d,bootindex=1",
        ]
        # fmt: on
        start = time.monotonic()
        try:
            done = subprocess.run(
                command, stdin=subprocess.DEVNULL, capture_output=True, timeout=TRIAL_SECONDS, check=False
            )
        except subprocess.TimeoutExpired:
            return None
        return time.monotonic() - start if done.returncode == TRIAL_STATUS else None
