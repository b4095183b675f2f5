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
"""Moving VMs: their disks, the state of their guests and their rows, inside a pool and between pools.

:mod:`.disks` sends disks with their snapshots to a target (:mod:`.targets`), :mod:`.inside` moves a VM within its pool.
The calls are in :mod:`xapikit.host.classes.vm.migration`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from xapikit.host.migration.service import Migrations
    from xapikit.host.pool import Pool


def build(pool: Pool) -> Migrations:
    """The moves of a pool, not started yet."""
    from xapikit.host.migration.service import Migrations

    return Migrations(pool)
