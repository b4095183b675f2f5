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
"""Compressed archives: gzip by the standard library, zstd by the program ``zstd``, as hosts do it.

Both directions work in one thread and with bounded memory, whatever a stream claims to hold.
"""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import subprocess
import zlib
from collections.abc import Generator, Iterable, Iterator
from typing import Final, Literal, Protocol, TypeAlias

from xapikit.host.errors import ApiError
from xapikit.host.storage.transfer.source import BodyEnded

Algorithm: TypeAlias = Literal["gzip", "zstd"]
GZIP_MAGIC: Final = b"\x1f\x8b"
ZSTD_MAGIC: Final = b"\x28\xb5\x2f\xfd"
_GZIP_WINDOW: Final = 31
_FAST: Final = 1
_PIPE_BYTES: Final = 1 << 16
_STUCK_SECONDS: Final = 60.0
_ZSTD: Final = "zstd"


class Source(Protocol):
    """Bytes in order, as a :class:`~xapikit.host.storage.transfer.source.Body` gives them."""

    def readinto(self, view: memoryview) -> int:
        """Fill ``view``; fewer bytes only at the end."""
        ...


def exactly(source: Source, length: int) -> bytes:
    """``length`` bytes; memory grows with what arrives, not with what is promised. Raises BodyEnded."""
    found = bytearray()
    buffer = memoryview(bytearray(min(length, _PIPE_BYTES)))
    while len(found) < length:
        part = buffer[: min(len(buffer), length - len(found))]
        count = source.readinto(part)
        if count < len(part):
            raise BodyEnded
        found += part
    return bytes(found)


class Rewound:
    """A source with what was read of it put back."""

    def __init__(self, first: bytes, source: Source) -> None:
        self._first = memoryview(first)
        self._source = source

    def readinto(self, view: memoryview) -> int:
        done = min(len(view), len(self._first))
        view[:done] = self._first[:done]
        self._first = self._first[done:]
        return done + (self._source.readinto(view[done:]) if done < len(view) else 0)


# writing -------------------------------------------------------------------------------------------------------------


def compressed(
    pieces: Iterable[bytes | bytearray | memoryview], algorithm: Algorithm
) -> Generator[bytes | bytearray | memoryview]:
    """A stream, compressed. Raises INTERNAL_ERROR when the program for it is missing or fails."""
    if algorithm == "gzip":
        yield from _gzipped(pieces)
        return
    with _program("-q", "-c", f"-{_FAST}") as program:
        for piece in pieces:
            yield from program.write(piece)
        yield from program.finish()


def _gzipped(pieces: Iterable[bytes | bytearray | memoryview]) -> Iterator[bytes]:
    packer = zlib.compressobj(_FAST, zlib.DEFLATED, _GZIP_WINDOW)
    for piece in pieces:
        if packed := packer.compress(piece):
            yield packed
    yield packer.flush()


# reading -------------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def unpacked(source: Source, first: bytes) -> Iterator[Source]:
    """A source whose bytes begin with ``first``, by the magic of zstd, else as gzip. Reading raises nothing for broken
    data: the stream just ends there, as it does behind a host's decompressor."""
    packed = Rewound(first, source)
    if not first.startswith(ZSTD_MAGIC):
        yield _Gunzipped(packed)
        return
    with _program("-q", "-d", "-c") as program:
        yield _Unzstd(packed, program)


class _Gunzipped:
    def __init__(self, packed: Source) -> None:
        self._packed = packed
        self._unpacker = zlib.decompressobj(_GZIP_WINDOW)
        self._input = b""
        self._ended = False

    def readinto(self, view: memoryview) -> int:
        done = 0
        while done < len(view) and not self._ended:
            if not self._input:
                self._input = _some(self._packed)
            last = not self._input  # what the unpacker still has inside comes without input, too
            try:
                data = self._unpacker.decompress(self._input, len(view) - done)
            except zlib.error:
                self._ended = True
                break
            self._input = self._unpacker.unconsumed_tail
            view[done : done + len(data)] = data
            done += len(data)
            if self._unpacker.eof:
                self._next_member()
            self._ended = last and not data
        return done

    def _next_member(self) -> None:
        """A gzip file may have several; one that a second decompressor does not like ends the stream."""
        self._input = self._unpacker.unused_data
        self._unpacker = zlib.decompressobj(_GZIP_WINDOW)


class _Unzstd:
    def __init__(self, packed: Source, program: _Program) -> None:
        self._packed = packed
        self._program = program

    def readinto(self, view: memoryview) -> int:
        done = 0
        while done < len(view):
            data = self._program.read(len(view) - done, self._packed)
            if not data:
                break
            view[done : done + len(data)] = data
            done += len(data)
        return done


def _some(source: Source) -> bytes:
    buffer = memoryview(bytearray(_PIPE_BYTES))
    return bytes(buffer[: source.readinto(buffer)])


# the program ---------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _program(*arguments: str) -> Iterator[_Program]:
    path = shutil.which(_ZSTD)
    if path is None:
        raise ApiError("INTERNAL_ERROR", f"{_ZSTD} is not installed (Debian: apt-get install {_ZSTD})")
    process = subprocess.Popen(
        [path, *arguments], bufsize=0, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    try:
        yield _Program(process)
    finally:
        process.kill()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        process.wait()


class _Program:
    """A filter that is fed and read by turns, so that neither side waits for the other."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdin is not None and process.stdout is not None, "both are pipes"
        self._process = process
        self._input, self._output = process.stdin, process.stdout
        os.set_blocking(self._input.fileno(), False)
        os.set_blocking(self._output.fileno(), False)
        self._poll = select.poll()
        self._poll.register(self._output, select.POLLIN)
        self._pending: memoryview | None = memoryview(b"")
        """What is to be written; None when the input is closed."""

    def write(self, piece: bytes | bytearray | memoryview) -> Iterator[bytes]:
        """Take a piece; yields what comes out meanwhile."""
        self._pending = memoryview(piece).cast("B")
        while self._pending:
            if data := self._turn(_PIPE_BYTES):
                yield data

    def finish(self) -> Iterator[bytes]:
        """End the input; yields the rest. Raises INTERNAL_ERROR when the program failed."""
        self._end_input()
        while (data := self._turn(_PIPE_BYTES)) is not None:
            yield data
        if self._process.wait(_STUCK_SECONDS):
            raise ApiError("INTERNAL_ERROR", f"{_ZSTD} failed with status {self._process.returncode}")

    def read(self, limit: int, source: Source) -> bytes:
        """At most ``limit`` bytes of output, with input from ``source`` as needed; empty at the end."""
        while True:
            if self._pending is not None and not self._pending:
                more = _some(source)
                self._pending = memoryview(more)
                if not more:
                    self._end_input()
            data = self._turn(limit)
            if data is None:
                return b""
            if data:
                return data

    def _end_input(self) -> None:
        if self._pending is not None:
            self._pending = None
            with contextlib.suppress(KeyError):
                self._poll.unregister(self._input)
            with contextlib.suppress(OSError):
                self._input.close()

    def _turn(self, limit: int) -> bytes | None:
        """Write or read once; None at the end of the output."""
        if self._pending:
            self._poll.register(self._input, select.POLLOUT)
        elif self._pending is not None:
            with contextlib.suppress(KeyError):  # nothing to write: it would be ready all the time
                self._poll.unregister(self._input)
        ready = dict(self._poll.poll(_STUCK_SECONDS * 1000))
        if not ready:
            raise ApiError("INTERNAL_ERROR", f"{_ZSTD} does not go on")
        if self._pending and self._input.fileno() in ready:
            try:
                self._pending = self._pending[os.write(self._input.fileno(), self._pending[:_PIPE_BYTES]) :]
            except BrokenPipeError:  # it saw what it does not understand
                self._end_input()
        if self._output.fileno() in ready:
            return os.read(self._output.fileno(), limit) or None
        return b""
