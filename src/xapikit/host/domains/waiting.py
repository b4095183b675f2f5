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
"""A call that waits for what one guest does."""

from __future__ import annotations

import threading

from xapikit.host.domains.model import Ended


class Waiter:
    """Waits for what one guest does, on behalf of a call."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._told: list[Ended | None] = []
        self._acknowledged = False

    def tell(self, ended: Ended | None) -> None:
        """The guest ended; None when somebody else ended its domain, or the call is to give up."""
        with self._changed:
            self._told.append(ended)
            self._changed.notify_all()

    def acknowledge(self) -> None:
        """The guest took a request."""
        with self._changed:
            self._acknowledged = True
            self._changed.notify_all()

    def wait_acknowledged(self, seconds: float) -> bool:
        """Whether the guest took the request, or there is an end to wait for, within ``seconds``."""
        with self._changed:
            return self._changed.wait_for(lambda: self._acknowledged or bool(self._told), seconds)

    def wait(self, seconds: float) -> Ended | None:
        """The end. Raises TimeoutError after ``seconds``."""
        with self._changed:
            if not self._changed.wait_for(lambda: bool(self._told), seconds):
                raise TimeoutError
            return self._told[0]
