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
"""Storage of a pool: SRs with real files, attached disks, transfers. ``pool.storage`` is :class:`.service.Storage`.

From files to calls: :mod:`.disks` opens one, :mod:`.repository` and :mod:`.isofiles` are directories, :mod:`.datapath`
serves attached disks, :mod:`.attachments` knows who uses what, :mod:`.collector` coalesces, :mod:`.service` joins them
with the rows. The calls are :mod:`xapikit.host.classes.vdi`, ``sr`` and ``pbd``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from xapikit.host.pool import Pool
    from xapikit.host.storage.service import Storage


def build(pool: Pool) -> Storage:
    """The storage of a pool, not started yet."""
    # not at the top: data-path processes import this package and nothing of the server
    from xapikit.host.storage import relocation
    from xapikit.host.storage.service import Storage

    relocation.follow(pool)
    return Storage(pool)
