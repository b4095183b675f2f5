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
"""``pool.migrations``: what must be put right at start, before clients see the pool."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xapikit.host.migration.targets import remove_leftovers

if TYPE_CHECKING:
    from xapikit.host.pool import Pool


class Migrations:
    """A :class:`xapikit.host.pool.Part`, started after storage and domains."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def start(self) -> None:
        """Remove what moves left that ended with an earlier server."""
        remove_leftovers(self._pool.storage)

    def stop(self, *, stop_guests: bool) -> None:
        """Nothing runs by itself."""
