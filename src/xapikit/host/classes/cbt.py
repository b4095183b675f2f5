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
"""Class ``VDI``: changed blocks (wire reference 4.8). The work is done by :mod:`xapikit.host.storage.tracking`."""

from __future__ import annotations

from xapikit.host.context import Context
from xapikit.host.registry import implements
from xapikit.host.storage import tracking


@implements("VDI.enable_cbt")
def enable_cbt(ctx: Context, vdi: str) -> None:
    with ctx.operation("VDI", vdi, "enable_cbt"):
        tracking.enable(ctx.pool.storage, vdi)


@implements("VDI.disable_cbt")
def disable_cbt(ctx: Context, vdi: str) -> None:
    with ctx.operation("VDI", vdi, "disable_cbt"):
        tracking.disable(ctx.pool.storage, vdi)


@implements("VDI.data_destroy")
def data_destroy(ctx: Context, vdi: str) -> None:
    with ctx.operation("VDI", vdi, "data_destroy"):
        tracking.data_destroy(ctx.pool.storage, vdi)


@implements("VDI.list_changed_blocks")
def list_changed_blocks(ctx: Context, vdi_from: str, vdi_to: str) -> str:
    # it is the later disk that must not be attached (data model)
    ctx.store.get("VDI", vdi_from)
    with ctx.operation("VDI", vdi_to, "list_changed_blocks"):
        return tracking.list_changed_blocks(ctx.pool.storage, vdi_from, vdi_to)
