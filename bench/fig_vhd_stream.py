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
"""Turning a raw image into a VHD and back, to disk: our streams against qemu-img and against a plain copy.

All of them end with fsync, so that nobody is faster by leaving work behind.
"""

import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from bench.measure import in_turns, sample_image, scratch, seconds, sync_file, tool
from bench.report import Figure
from xapikit import vhd

FIGURES = ("vhd_from_raw", "vhd_to_raw", "vhd_inspect")

_QEMU = "qemu-img convert, fsync"
_COPY = "cp, fsync"


def run(wanted: list[str]) -> Iterator[Figure]:
    with scratch() as directory:
        raw = sample_image(directory / "image.raw")
        image = directory / "image.vhd"
        _save(image, vhd.stream.from_file(raw))
        target = directory / "target"
        if "vhd_from_raw" in wanted:
            times = in_turns(
                {
                    "ours": lambda: _timed(target, lambda: _save(target, vhd.stream.from_file(raw))),
                    _QEMU: lambda: timed_convert(raw, "raw", target, "vpc"),
                    _COPY: lambda: timed_copy(raw, target),
                }
            )
            yield from _against("vhd_from_raw", times)
        if "vhd_to_raw" in wanted:
            times = in_turns(
                {
                    "ours": lambda: _timed(target, lambda: _unpack(image, target)),
                    _QEMU: lambda: timed_convert(image, "vpc", target, "raw"),
                    _COPY: lambda: timed_copy(raw, target),
                }
            )
            yield from _against("vhd_to_raw", times)
        if "vhd_inspect" in wanted:
            length = image.stat().st_size
            spent = min(seconds(lambda: _inspect(image)) for _ in range(3))
            yield Figure("vhd_inspect", length / spent / 1e6, "MB/s", note="bytes read and inspected on one core")


def timed_convert(source: Path, source_format: str, target: Path, target_format: str) -> float:
    """Seconds that qemu-img and an fsync take."""
    return _timed(target, lambda: _convert(source, source_format, target, target_format))


def timed_copy(source: Path, target: Path) -> float:
    """Seconds that cp and an fsync take."""
    return _timed(target, lambda: _copy(source, target))


def _timed(target: Path, action: Callable[[], object]) -> float:
    target.unlink(missing_ok=True)
    return seconds(action)


def _against(name: str, times: dict[str, float]) -> Iterator[Figure]:
    ours = times.pop("ours")
    for versus, theirs in times.items():
        yield Figure(name, ours, "s", versus=versus, ratio=ours / theirs, note="1 GiB, half of it zeros")


def _chunks(path: Path, size: int = 1 << 20) -> Iterator[bytes]:
    with path.open("rb", buffering=0) as file:
        while chunk := file.read(size):
            yield chunk


def _save(path: Path, chunks: Iterable[bytes | bytearray | memoryview]) -> None:
    vhd.stream.save(path, chunks)
    sync_file(path)


def _unpack(source: Path, target: Path) -> None:
    vhd.stream.to_file(target, _chunks(source), source.stat().st_size)
    sync_file(target)


def _convert(source: Path, source_format: str, target: Path, target_format: str) -> None:
    options = ["-o", "subformat=dynamic,force_size=on"] if target_format == "vpc" else []
    tool("qemu-img", "convert", "-f", source_format, "-O", target_format, *options, source, target)
    sync_file(target)


def _copy(source: Path, target: Path) -> None:
    tool(shutil.which("cp") or "cp", "--reflink=never", source, target)
    sync_file(target)


def _inspect(path: Path) -> None:
    inspector = vhd.inspect.StreamInspector("vhd", length=path.stat().st_size)
    for chunk in _chunks(path):
        inspector.feed(chunk)
    inspector.finish()
