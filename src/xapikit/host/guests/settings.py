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
"""How simulated guests behave: keys of ``VM.other_config``, else of ``VM.platform``, else options of the server.

They are looked up at each decision, so a change works at once, on a running guest too.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from xapikit.host.pool import Pool

LOG = logging.getLogger(__name__)

AGENT: Final = "timed_agent"
"""What is in the guest: ``none``, ``drivers`` (a kernel's), ``xenserver`` (its tools), ``openstack`` (its agent, and
the drivers), or two of them joined by a comma."""
AGENT_DELAY: Final = "timed_agent_delay"
"""Seconds from the boot until the guest first speaks."""
REQUESTS: Final = "timed_requests"
"""What it does when asked to shut down, reboot or suspend: ``obey``, ``ignore`` (acknowledges, and nothing more),
``deaf`` (does not even acknowledge)."""
IGNORES: Final = "timed_ignores_requests"
"""``true`` is an older word for ``ignore``."""
SHUTDOWN_DELAY: Final = "timed_shutdown_delay"
"""Seconds that shutting down takes it."""
AGENT_VERSION: Final = "timed_agent_version"
"""Version that the OpenStack agent claims."""


class GuestSettings:
    """The settings of one VM, by its uuid."""

    def __init__(self, pool: Pool, vm: str) -> None:
        self._pool = pool
        self._vm = vm

    def text(self, name: str, default: str = "") -> str:
        store = self._pool.store
        row = store.peek("VM", store.by_uuid("VM", self._vm) or "")
        for given in (row["other_config"], row["platform"]) if row is not None else ():
            if name in given:
                return str(given[name])
        return self._pool.settings.options.get(name, default)

    def words(self, name: str, default: str) -> set[str]:
        return {word.strip() for word in self.text(name, default).split(",")}

    def seconds(self, name: str, default: float) -> float:
        text = self.text(name)
        try:
            return float(text) if text else default
        except ValueError:
            LOG.warning("VM %s: %s=%r is no number of seconds", self._vm, name, text)
            return default
