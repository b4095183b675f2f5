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
"""Measuring: scratch space, the sample image, others' tools, and runs that take turns so that noise hits all."""

import os
import random
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

MIB = 1 << 20
GIB = 1 << 30


class Missing(Exception):
    """Something that a figure needs is not on this machine; the message says what."""


@contextmanager
def scratch() -> Iterator[Path]:
    """A directory that vanishes at the end; NOVA_XAPI_BENCH_DIR says on which file system it is made."""
    with tempfile.TemporaryDirectory(prefix="bench-", dir=os.environ.get("NOVA_XAPI_BENCH_DIR")) as directory:
        yield Path(directory)


def sample_image(path: Path, size: int = GIB, run: int = 8 * MIB) -> Path:
    """A raw image: runs of random data and of zeros in turn. The zeros are written, not left as holes."""
    rnd = random.Random(20)
    with path.open("wb") as file:
        for number in range(size // run):
            file.write(bytes(run) if number % 2 else rnd.randbytes(run))
        file.flush()
        os.fsync(file.fileno())
    return path


def tool(*command: str | Path) -> None:
    """Run another program; its failure is ours."""
    if shutil.which(str(command[0])) is None:
        raise Missing(f"{command[0]} is not installed")
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=600, check=False)
    if done.returncode:
        raise RuntimeError(f"{command[0]} ended with {done.returncode}: {done.stderr.strip()}")


def sync_file(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def seconds(action: Callable[[], object]) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def in_turns(contenders: Mapping[str, Callable[[], float]], rounds: int = 3) -> dict[str, float]:
    """Let all contenders run in turn, `rounds` times; answers the median seconds of each.

    A contender measures itself, so that preparing and tidying up stay outside.
    """
    found: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, contender in contenders.items():
            found[name].append(contender())
    return {name: statistics.median(times) for name, times in found.items()}
