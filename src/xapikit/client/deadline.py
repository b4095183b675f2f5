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
"""A point in time until which something may take, passed down instead of time-outs that add up."""

from __future__ import annotations

import time


class Deadline:
    """``Deadline(5.0)`` expires five seconds from now; ``Deadline(None)`` never."""

    __slots__ = ("_at",)

    def __init__(self, seconds: float | None) -> None:
        self._at = None if seconds is None else time.monotonic() + seconds

    @property
    def expired(self) -> bool:
        return self._at is not None and time.monotonic() >= self._at

    def remaining(self, at_most: float | None = None) -> float | None:
        """Seconds left, never negative, at most ``at_most``; None for no limit."""
        if self._at is None:
            return at_most
        left = max(self._at - time.monotonic(), 0.0)
        return left if at_most is None else min(left, at_most)

    def socket_timeout(self, at_most: float) -> float:
        """For ``settimeout``, where 0 would mean non-blocking. Raises TimeoutError when expired."""
        left = self.remaining(at_most)
        if left is None or left <= 0:
            raise TimeoutError("deadline passed")
        return left
