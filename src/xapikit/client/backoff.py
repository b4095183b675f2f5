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
"""Waiting before something is tried again: at once the first time, then longer and longer, never for ever."""

from __future__ import annotations

import random
import threading
from typing import Final

from xapikit.client.deadline import Deadline

_FIRST: Final = 0.1
_LONGEST: Final = 5.0


class Backoff:
    """Delays 0, 0.1, 0.2, 0.4 ... 5 s with jitter, until ``patience`` seconds after the first failure are over."""

    def __init__(self, patience: float, deadline: Deadline, closing: threading.Event) -> None:
        self._patience = patience
        self._deadline = deadline
        self._closing = closing
        self._until: Deadline | None = None
        self._delay = 0.0
        self.failures = 0

    def pause(self) -> bool:
        """Wait. False when there is no time left or the client is being closed: give up then."""
        self.failures += 1
        if self._until is None:
            self._until = Deadline(self._patience)
        delay = self._delay * random.uniform(0.7, 1.3)
        left = self._deadline.remaining(self._until.remaining())
        if self._until.expired or left is None or left <= delay:
            return False
        self._delay = min(max(self._delay * 2, _FIRST), _LONGEST)
        return not self._closing.wait(delay)
