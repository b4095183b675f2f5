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
"""How far a move is: the part of its task's progress that the state of the guest makes up."""

from __future__ import annotations

from typing import Final

from xapikit.host.context import TaskHandle
from xapikit.host.domains.model import Write

DISKS_SHARE: Final = 0.9
"""Part of the progress of a move that its disks are (wire reference 3.12)."""
_MOST: Final = 0.99
_STEPS: Final = 50


class Counted:
    """Passes the state of a guest on, shows the progress of that, and ends when the task is cancelled."""

    def __init__(self, task: TaskHandle, write: Write, expected: int) -> None:
        """``expected`` bytes, about: the memory of the guest."""
        self._task = task
        self._write = write
        self._expected = max(expected, 1)
        self._written = self._shown = 0

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Raises TASK_CANCELLED, and what writing raises."""
        self._task.raise_if_cancelled()
        self._write(data)
        self._written += len(data)
        if self._written - self._shown > self._expected // _STEPS:
            self._shown = self._written
            share = min(1.0, self._written / self._expected)
            self._task.set_progress(DISKS_SHARE + (_MOST - DISKS_SHARE) * share)
