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
"""Joining what a text console sends on connect with what was recorded before.

A host hands the last screenfuls of a console to whoever connects, so after a broken connection most of that is in the
file already; after a reboot of the guest none of it is. Decided by looking for the end of the record in what arrives.
"""

from __future__ import annotations

from typing import Final

#: what a host may hand out at most before it is live; after that many bytes nothing older can come
MAX_HISTORY: Final = 1 << 19
#: the end of the record that is looked for
ANCHOR: Final = 256


class Joiner:
    """Gets the end of the record, then everything a new connection delivers; gives out what is new."""

    def __init__(self, recorded: bytes) -> None:
        self._recorded = recorded
        self._held = bytearray()
        self._joined = not recorded

    @property
    def holding(self) -> bool:
        """Whether bytes are held back because they may be history: call `settle` when none have come for a while."""
        return not self._joined

    def feed(self, data: bytes) -> bytes:
        """The bytes that are new for certain."""
        if self._joined:
            return data
        self._held += data
        seam, common = self._seam()
        # a seam with a past that differs may be an accident of repetitive output: wait for a better one
        if len(self._held) > MAX_HISTORY or (seam and seam == common):
            return self.settle()
        return b""

    def settle(self) -> bytes:
        """No more history will come: everything that is new."""
        if self._joined:
            return b""
        self._joined = True
        return bytes(self._held[self._seam()[0] :])

    def _seam(self) -> tuple[int, int]:
        """Where in what is held the record ends, and how many bytes before that are common to both; 0, 0 if nowhere."""
        anchor = self._recorded[-ANCHOR:]
        if len(anchor) < ANCHOR:
            # so short a record is found anywhere by accident; but it is short because the console is young: then its
            # history begins with it
            return (len(anchor), len(anchor)) if self._held.startswith(anchor) else (0, 0)
        best, longest = 0, 0
        at = self._held.find(anchor)
        while at >= 0:
            end = at + len(anchor)
            common = self._common(end)
            if common > longest:
                best, longest = end, common
            at = self._held.find(anchor, at + 1)
        return best, longest

    def _common(self, end: int) -> int:
        """How many bytes before ``end`` of what is held are the end of the record."""
        length = min(end, len(self._recorded))
        held, recorded = self._held[end - length : end], self._recorded[len(self._recorded) - length :]
        if held == recorded:
            return length
        low, high = 0, length
        while high - low > 1:
            middle = (low + high) // 2
            if held[length - middle :] == recorded[length - middle :]:
                low = middle
            else:
                high = middle
        return low
