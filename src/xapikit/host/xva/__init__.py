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
"""XVA archives: VMs as a tar of ``ova.xml`` and their disks in chunks, as hosts export and import them.

The form is that of wire reference 5.3. Who may ask for it over HTTP, and what the client is told, is
:mod:`xapikit.host.handlers.vm_export` and :mod:`xapikit.host.handlers.vm_import`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from xapikit.host.pool import Pool
    from xapikit.host.xva.unfinished import Imports


def build(pool: Pool) -> Imports:
    """What the pool needs to know of imports, also of those that a killed server had under way."""
    from xapikit.host.xva.unfinished import Imports

    return Imports(pool)
