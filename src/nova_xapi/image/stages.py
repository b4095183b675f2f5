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
"""The stages that image data flows through between Glance and a host: each takes an iterator and is one.

Nothing is kept but the chunks under way, and each byte is read once. A stage raises as soon as the bytes prove
something wrong; what comes behind it in the flow has then not seen those bytes. Closing the last stage closes all.
"""

from __future__ import annotations

import contextlib
import hashlib
import queue
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import Any

from oslo_utils.imageutils import format_inspector

from xapikit.vhd import VhdRejected
from xapikit.vhd.inspect import StreamInspector
from xapikit.vhd.zeros import ZEROS

from .description import Image, Kind
from .errors import ImageFetchFailed, ImageRefused

#: chunks that may wait between two threads; Glance's client delivers chunks of 1 MiB
DEPTH = 8
#: runs of zeros shorter than this are sent like data
HOLE = 64 << 10
#: what `xapikit.client` frames extents in must be whole sectors
SECTOR = 512
#: an extent is at most so long
PIECE = 1 << 20

Extent = tuple[int, bytes | memoryview]


class Verified:
    """Counts and hashes; compares at the end.

    Where Glance has no hash, or the source compares it itself (``hashing=False``), only the length is compared.
    """

    def __init__(self, chunks: Iterable[bytes], image: Image, *, hashing: bool = True) -> None:
        self._chunks = chunks
        self._image = image
        self._claim = None
        self._hash = None
        if hashing and image.claims:
            known = [claim for claim in image.claims if claim.algorithm in hashlib.algorithms_available]
            if not known:
                named = ", ".join(claim.algorithm for claim in image.claims)
                raise ImageRefused(image.id, "hash", f"this machine can compute none of its hashes: {named}")
            self._claim = known[0]
            self._hash = hashlib.new(known[0].algorithm, usedforsecurity=False)

    def __iter__(self) -> Iterator[bytes]:
        """Raises ImageFetchFailed for a length, ImageRefused for a hash that differs from Glance's record."""
        image, seen = self._image, 0
        for chunk in self._chunks:
            seen += len(chunk)
            if image.size and seen > image.size:
                raise ImageRefused(image.id, "length", f"more than the {image.size} bytes of its record came")
            if self._hash is not None:
                self._hash.update(chunk)
            yield chunk
        if image.size and seen != image.size:
            raise ImageFetchFailed(image.id, f"the data ended after {seen} of {image.size} bytes")
        if self._hash is not None and self._claim is not None:
            found = self._hash.hexdigest()
            if found != self._claim.hexdigest:
                raise ImageRefused(
                    image.id,
                    "hash",
                    f"its {self._claim.algorithm} is {found}, its record says {self._claim.hexdigest}",
                )


_END = object()


class _NotNeeded(BaseException):
    """Ends the thread behind `pulled` when nobody takes what it makes; no error, so that nobody logs it as one."""


def pulled(
    push: Callable[[Callable[[bytes], None]], None], *, name: str, depth: int = DEPTH
) -> Generator[bytes, None, None]:
    """The chunks that ``push(put)`` puts, which runs in a thread of its own, at most ``depth`` chunks ahead.

    Closing this stage ends the thread at its next chunk; exceptions come through as they are.
    """
    waiting: queue.Queue[Any] = queue.Queue(depth)
    gone = threading.Event()

    def put(item: Any) -> None:
        while not gone.is_set():
            try:
                waiting.put(item, timeout=1.0)
                return
            except queue.Full:
                continue
        raise _NotNeeded

    def run() -> None:
        with contextlib.suppress(_NotNeeded):
            try:
                push(put)
            except _NotNeeded:
                raise
            except BaseException as error:
                put(error)
            else:
                put(_END)

    threading.Thread(target=run, name=name, daemon=True).start()
    try:
        while (item := waiting.get()) is not _END:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        gone.set()
        # make room, so that a thread that waits for it sees at once that it is not needed any more
        while not waiting.empty():
            waiting.get_nowait()


def ahead(chunks: Iterable[bytes], done: Callable[[], None], depth: int = DEPTH) -> Generator[bytes, None, None]:
    """Run everything before this stage in a thread of its own, at most ``depth`` chunks ahead.

    Receiving and hashing then go on while the other thread inspects and sends. ``done()`` is called in that thread
    when it ends. Otherwise as `pulled`.
    """

    def push(put: Callable[[bytes], None]) -> None:
        try:
            for chunk in chunks:
                put(chunk)
        finally:
            done()

    return pulled(push, name="image-reader", depth=depth)


class Inspected:
    """Holds the first chunks back until they prove what the image is, then lets data through as it inspects it.

    Two inspectors look at every byte: `xapikit.vhd.inspect` for what it claims to be, and the one of oslo.utils that
    all of OpenStack uses, for whether it could be taken for something else.
    """

    def __init__(self, chunks: Generator[bytes, None, None], image: Image) -> None:
        self._chunks = chunks
        self._image = image
        self._ours = StreamInspector(image.kind.value, length=image.size or None)
        self._formats = {
            name: kind() for name, kind in format_inspector.ALL_FORMATS.items() if name not in ("raw", "gpt")
        }
        self._held: list[bytes] = []

    def virtual_size(self) -> int:
        """Bytes of the image's disk. Reads only as much as it takes to know and to trust that.

        Raises ImageRefused, and what the stages before raise.
        """
        while not self._ours.head_passed or self._ours.virtual_size is None:
            chunk = next(self._chunks, None)
            if chunk is None:
                self._finish()
                break
            self._look(chunk)
            self._held.append(chunk)
        size = self._ours.virtual_size
        if size is None:
            # raw and ISO images: the file is the disk
            raise ImageFetchFailed(self._image.id, "Glance does not say how long the image is")
        return size

    def __iter__(self) -> Iterator[bytes]:
        """All chunks. Raises ImageRefused, at the latest instead of the end."""
        held, self._held = self._held, []
        yield from held
        for chunk in self._chunks:
            self._look(chunk)
            yield chunk
        self._finish()

    def close(self) -> None:
        """End the stages before this one."""
        self._chunks.close()

    def _look(self, chunk: bytes) -> None:
        try:
            self._ours.feed(chunk)
        except VhdRejected as error:
            raise self._refused(error) from error
        self._look_for_other_formats(chunk)

    def _look_for_other_formats(self, chunk: bytes) -> None:
        for name, inspector in list(self._formats.items()):
            try:
                inspector.eat_chunk(chunk)
                settled = inspector.complete
            except Exception:
                # one that cannot make sense of the data has thereby said that it is not of its format
                del self._formats[name]
            else:
                if settled and not inspector.format_match:
                    del self._formats[name]
                elif settled:
                    self._judge(name)
        self._must_be_own()

    def _finish(self) -> None:
        try:
            self._ours.finish()
        except VhdRejected as error:
            raise self._refused(error) from error
        for name, inspector in self._formats.items():
            inspector.finish()
            if inspector.complete and inspector.format_match:
                self._judge(name)

    def _refused(self, error: VhdRejected) -> ImageRefused:
        return ImageRefused(self._image.id, error.reason.value, str(error))

    def _judge(self, found: str) -> None:
        claimed = self._image.kind.value
        if found != claimed:
            raise ImageRefused(self._image.id, "other-format", f"its record says {claimed}, its content says {found}")

    def _must_be_own(self) -> None:
        claimed = self._image.kind.value
        if self._image.kind is Kind.RAW or claimed in self._formats:
            return
        hint = " (a fixed VHD must be made a dynamic one)" if self._image.kind is Kind.VHD else ""
        raise ImageRefused(
            self._image.id, "other-format", f"its record says {claimed}, its content something else{hint}"
        )


def extents(chunks: Iterable[bytes]) -> Iterator[Extent]:
    """What is not zero, as (offset, bytes) in ascending order; whole sectors, at most `PIECE` bytes each.

    A last sector that is not whole is filled with zeros.
    """
    offset = 0
    rest = b""
    for chunk in chunks:
        data = rest + chunk if rest else chunk
        usable = len(data) - len(data) % SECTOR
        yield from _runs(data, usable, offset)
        offset += usable
        rest = data[usable:]
    if rest:
        data = rest.ljust(SECTOR, b"\0")
        yield from _runs(data, len(data), offset)


def _runs(data: bytes, length: int, offset: int) -> Iterator[Extent]:
    """Runs of steps of `HOLE` bytes that are not zero."""
    view = memoryview(data)
    start = None
    for at in range(0, length, HOLE):
        end = min(at + HOLE, length)
        # bytes.startswith takes any buffer without copying it, and is memcmp inside
        zero = ZEROS.startswith(view[at:end])
        if start is not None and (zero or end - start > PIECE):
            yield offset + start, view[start:at]
            start = None
        if start is None and not zero:
            start = at
    if start is not None:
        yield offset + start, view[start:length]
