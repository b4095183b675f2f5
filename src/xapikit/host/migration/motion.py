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
"""Moving the disk of a running VM to another SR of its host, under the guest (``VDI.pool_migrate``).

Most of it is copied while the guest goes on writing; then its data path pauses for as long as it takes to copy what is
left, and goes on with the new file. The VDI there is a new one with a uuid of its own, as on a host.
"""

from __future__ import annotations

import logging
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from xapikit import vhd
from xapikit.host.context import TaskHandle
from xapikit.host.errors import ApiError
from xapikit.host.migration.disks import Sender
from xapikit.host.migration.inside import exchange
from xapikit.host.migration.targets import LocalTarget
from xapikit.host.storage import vdis
from xapikit.host.storage.datapath.manager import DataPath, DataPathFailed
from xapikit.host.storage.transfer.importing import io_error

if TYPE_CHECKING:
    from xapikit.host.storage.service import Storage

LOG = logging.getLogger(__name__)


def move(storage: Storage, vdi: str, sr: str, task: TaskHandle) -> str:
    """Move a disk that guests of one host have attached; answers the new VDI. The old one is destroyed.

    Raises SR_NOT_ATTACHED when that host does not have the SR, VDI_IN_USE for a disk that a transfer has open,
    SR_OPERATION_NOT_SUPPORTED, and what copying raises; the guest keeps its disk then.
    """
    uses = storage.attachments.uses(vdi)
    if any(use.disk is not None for use in uses):
        raise ApiError("VDI_IN_USE", vdi, "mirror")
    if not all(use.host in storage.hosts_with(sr) for use in uses):
        raise ApiError("SR_NOT_ATTACHED", sr)
    for each in (storage.store.get("VDI", vdi)["SR"], sr):
        storage.vhd_repository(each)
    target = LocalTarget(storage, f"mirror:{task.ref}")
    sender = Sender(storage, target, task, lambda: None)
    try:
        sender.send({vdi: sr}, frozenset({vdi}))
        _switch(storage, sender, target, vdi)
    finally:
        sender.close()
        target.discard()
    vdis.discard(storage, vdi)
    return sender.there[vdi]


def _switch(storage: Storage, sender: Sender, target: LocalTarget, vdi: str) -> None:
    """Copy what is left, and let everybody go on with the new disk."""
    store, there = storage.store, sender.there[vdi]
    # both SRs, always in the same order: two moves in opposite directions must not wait for each other
    srs = sorted({store.get("VDI", ref)["SR"] for ref in (vdi, there)})
    with ExitStack() as held:
        for sr in srs:
            held.enter_context(storage.locked(sr))
        old, new = storage.path_of(vdi), storage.path_of(there)
        uses = storage.attachments.uses(vdi)
        paused: list[DataPath] = []
        try:
            for use in uses:
                if use.data_path is not None:
                    use.data_path.pause()
                    paused.append(use.data_path)
            sender.rest(vdi)
            for path in paused:
                path.resume(new)
        except BaseException as error:
            _back(paused, old)
            if isinstance(error, vhd.VhdError | OSError | DataPathFailed):
                raise io_error() from error
            raise
        with store.transaction() as tx:
            exchange(tx, {vdi: there})
        target.keep()
        for use in uses:
            storage.attachments.move(use, there, new)


def _back(paused: list[DataPath], old: Path) -> None:
    """The move failed: everybody goes on with the old file, also who had the new one already."""
    for path in paused:
        try:
            path.pause()
            path.resume(old)
        except DataPathFailed:
            LOG.exception("a guest loses its disk %s", old)
            path.process.end()
