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
"""Cutting a stream of bytes into the blocks of a disk, copying only where a block is spread over chunks."""

from collections.abc import Iterable, Iterator

from xapikit.vhd.format import BLOCK_SIZE
from xapikit.vhd.rawio import Buffer


def cut(chunks: Iterable[Buffer], size: int = BLOCK_SIZE) -> Iterator[memoryview]:
    """Pieces of exactly `size` bytes (the last may be shorter); each is valid until the next is asked for."""
    gathered = bytearray(size)
    room = memoryview(gathered)
    filled = 0
    for chunk in chunks:
        view = memoryview(chunk).cast("B")
        at = 0
        if filled:
            at = min(size - filled, len(view))
            room[filled : filled + at] = view[:at]
            filled += at
            if filled < size:
                continue
            yield room
            filled = 0
        while len(view) - at >= size:
            yield view[at : at + size]
            at += size
        rest = len(view) - at
        if rest:
            room[:rest] = view[at:]
            filled = rest
    if filled:
        yield room[:filled]
