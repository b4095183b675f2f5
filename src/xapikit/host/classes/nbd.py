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
from xapikit.host.errors import ApiError
from xapikit.host.nbd.access import addresses, export_name
from xapikit.host.registry import implements
from xapikit.host.storage.operations import type_text


@implements("VDI.get_nbd_info")
def get_nbd_info(ctx: Context, vdi: str) -> list[dict[str, Any]]:
    """One entry per address of each host that has the SR plugged, on networks with the purpose; none where there is no
    such network: clients fall back to /export_raw_vdi."""
    row = ctx.store.get("VDI", vdi)
    if row["type"] == "cbt_metadata":
        raise ApiError("VDI_INCOMPATIBLE_TYPE", vdi, type_text(row["type"]))
    found = []
    for host in ctx.pool.storage.hosts_with(row["SR"]):
        places = addresses(ctx.store, host)
        port = ctx.pool.nbd.port(host) if places else None
        for address in places if port is not None else ():
            certificate = ctx.pool.nbd.certificate
            found.append(
                {
                    "exportname": export_name(row["uuid"], ctx.session),
                    "address": address,
                    "port": port,
                    "cert": certificate.pem,
                    "subject": certificate.subject,
                }
            )
    return found
