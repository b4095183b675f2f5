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
"""Disks over NBD for clients of the pool, as hosts serve them for backups (wire reference 4.8).

:mod:`.access` says who may read what, and at which addresses; :mod:`.service` listens. ``pool.nbd`` is
:class:`.service.Nbd`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from xapikit.host.nbd.service import Nbd
    from xapikit.host.pool import Pool


def build(pool: Pool) -> Nbd:
    """The NBD servers of a pool, not started yet."""
    from xapikit.host.nbd.service import Nbd

    return Nbd(pool)
