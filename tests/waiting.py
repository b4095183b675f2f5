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
"""Waiting for what no event tells of: that a server which restarts answers again, that a process is gone."""

import threading
from collections.abc import Callable
from time import monotonic
from typing import TypeVar

T = TypeVar("T")
STEP = 0.01


def wait(happened: Callable[[], T], seconds: float = 60.0) -> T:
    """The first answer of ``happened`` that is true; fails the test when there is none in time."""
    deadline, pause = monotonic() + seconds, threading.Event()
    while True:
        value = happened()
        if value:
            return value
        assert monotonic() < deadline, "it did not happen in time"
        pause.wait(STEP)
