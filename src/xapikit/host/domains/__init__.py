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
"""What runs the VMs of a pool. ``pool.domains`` is :class:`.service.Domains`.

:mod:`.model` says what a domain is; :mod:`.timed` and :mod:`.qemu` are kinds of it and know no rows; :mod:`.service`
joins domains and rows. The calls are :mod:`xapikit.host.classes.vm`, ``vbd``, ``vif`` and ``console``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from xapikit.host.domains.service import Domains
    from xapikit.host.pool import Pool


def build(pool: Pool) -> Domains:
    """The domains of a pool, not started yet."""
    from xapikit.host.domains.service import Domains

    return Domains(pool)
