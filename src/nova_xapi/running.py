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
"""Which operations are under way in this service: their objects are not to be reaped, their effects need no news."""

from __future__ import annotations

import threading
from collections.abc import Callable


class Running:
    """Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._operations: dict[str, str] = {}
        self.on_uncertain: Callable[[], None] = lambda: None
        """Called when an operation could not undo something, or does not know whether it has to."""

    def begin(self, operation: str, instance: str) -> None:
        with self._lock:
            self._operations[operation] = instance

    def end(self, operation: str) -> None:
        with self._lock:
            self._operations.pop(operation, None)

    def operations(self) -> frozenset[str]:
        """Ids of the operations under way."""
        with self._lock:
            return frozenset(self._operations)

    def busy(self, instance: str) -> bool:
        """Whether an operation on this server is under way."""
        with self._lock:
            return instance in self._operations.values()
