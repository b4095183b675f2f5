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
"""Disks with ``on_boot=reset``: each start of their VM finds them as they were when that was set.

The leaf of such a disk is an empty child of a base copy, which the collector leaves alone, and is made empty again at
each start or reboot; a resume or a migration goes on with it (what storage managers do with VDI_RESET_ON_BOOT/2).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from xapikit.host.errors import ApiError
from xapikit.host.storage import vdis
from xapikit.host.storage.intents import Intent

if TYPE_CHECKING:
    from xapikit.host.storage.service import Storage


def set_on_boot(storage: Storage, vdi: str, mode: str) -> None:
    """``reset`` or ``persist``. Raises as cloning does; nothing has changed then."""
    sr = storage.store.get("VDI", vdi)["SR"]
    with storage.locked(sr):
        if storage.store.get("VDI", vdi)["on_boot"] == mode:
            return
        # a clone that goes at once leaves the disk with an empty leaf over a base copy
        clone = vdis.branch(storage, vdi, snapshot=False) if mode == "reset" else ""
        with storage.store.transaction() as tx:
            tx.update("VDI", vdi, on_boot=mode)
        if clone:
            vdis.discard(storage, clone)
    storage.collector.kick(sr, thorough=True)


def begin_epoch(storage: Storage, vdi: str) -> None:
    """A VM that has the disk is about to start. Raises VDI_IN_USE, SR_BACKEND_FAILURE_202, _44."""
    row = storage.store.peek("VDI", vdi)
    if row is None or row["on_boot"] != "reset":
        return
    repository = storage.vhd_repository(row["SR"])
    with storage.locked(row["SR"]):
        if storage.attachments.uses(vdi):
            raise ApiError("VDI_IN_USE", vdi)
        with storage.noted(row["SR"], repository, Intent("reset", leaf=row["uuid"])):
            node = repository.reset(row["location"])
            numbers = repository.capacity.sizes(repository.path(node.uuid))
            with storage.store.transaction() as tx:
                storage.show_node(tx, node)
                storage.refresh_sr(tx, row["SR"], numbers, grown=0)
