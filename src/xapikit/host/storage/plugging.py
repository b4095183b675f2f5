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
"""PBDs: bringing an SR up on a host and down again, and wiping one that is destroyed."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from xapikit.host.errors import ApiError
from xapikit.host.storage import errors
from xapikit.host.storage.blockdevices import forget
from xapikit.host.storage.drivers import drivers
from xapikit.host.storage.errors import backend_failure
from xapikit.host.storage.isofiles import IsoRepository
from xapikit.host.storage.operations import attachments
from xapikit.host.storage.repository import VhdRepository

if TYPE_CHECKING:
    from xapikit.host.storage.service import Storage


def plug_pbd(storage: Storage, pbd: str) -> None:
    """Make an SR usable on a host. Raises SR_UNKNOWN_DRIVER, what a bad device_config gives, and INTERNAL_ERROR with
    SR_HAS_MULTIPLE_PBDS for a second host of an SR that is not shared (wire reference 4.2)."""
    store = storage.store
    row = store.get("PBD", pbd)
    sr = row["SR"]
    sr_row = store.get("SR", sr)
    if sr_row["type"] not in drivers():
        raise ApiError("SR_UNKNOWN_DRIVER", sr_row["type"])
    if not sr_row["shared"] and len(sr_row["PBDs"]) > 1 and _other_attached(storage, sr, pbd):
        raise ApiError("INTERNAL_ERROR", f"SR_HAS_MULTIPLE_PBDS: [ {'; '.join(sr_row['PBDs'])} ]")
    storage.forget_repository(sr)
    repository = storage.repository(sr)
    if isinstance(repository, VhdRepository):
        if not repository.directory.is_dir():
            if sr_row["type"] == "dummy":
                repository.format()
            else:
                raise backend_failure(errors.SR_UNAVAILABLE, f"no such directory {repository.directory}")
    elif isinstance(repository, IsoRepository) and not repository.directory.is_dir():
        if row["device_config"].get("legacy_mode") == "true":
            raise backend_failure(errors.INVALID_LOCAL_PATH)
        repository.format()
    numbers = repository.capacity.sizes() if repository is not None else None
    with store.transaction() as tx:
        tx.update("PBD", pbd, currently_attached=True)
        if numbers is not None:
            storage.refresh_sr(tx, sr, numbers)
    if isinstance(repository, VhdRepository):
        storage.settle(sr, repository)
    storage.collector.kick(sr, thorough=True)


def _other_attached(storage: Storage, sr: str, pbd: str) -> bool:
    others = (ref for ref in storage.store.get("SR", sr)["PBDs"] if ref != pbd)
    return any(storage.store.get("PBD", ref)["currently_attached"] for ref in others)


def unplug_pbd(storage: Storage, pbd: str) -> None:
    """Take an SR away from a host. Raises VDI_IN_USE with the disks that are attached there."""
    store = storage.store
    row = store.get("PBD", pbd)
    with storage.locked(row["SR"]), store.transaction() as tx:
        in_use = []
        for vdi in tx.get("SR", row["SR"])["VDIs"]:
            uses = storage.attachments.uses(vdi)
            if any(use.host == row["host"] for use in uses) or (not uses and attachments(tx, tx.get("VDI", vdi))):
                in_use.append(vdi)
        if in_use:
            raise ApiError("VDI_IN_USE", *in_use)
        tx.update("PBD", pbd, currently_attached=False)


def wipe(storage: Storage, sr: str) -> None:
    """Remove the files of an SR that is destroyed. An ISO SR keeps its images: they are somebody's."""
    repository = storage.repository(sr)
    if isinstance(repository, VhdRepository):
        with storage.locked(sr):
            shutil.rmtree(repository.directory, ignore_errors=True)
            forget(repository.directory)
