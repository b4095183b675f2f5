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
"""Class ``VDI``: where a disk is read over NBD (wire reference 4.8)."""

from __future__ import annotations

from typing import Any

from xapikit.host.context import Context
from xapikit.host.registry import implements


@implements("VDI.get_nbd_info")
def get_nbd_info(ctx: Context, vdi: str) -> list[dict[str, Any]]:
    # no network of this host has the purpose nbd: clients fall back to /export_raw_vdi
    ctx.store.get("VDI", vdi)
    return []
