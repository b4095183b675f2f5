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
"""Putting a host out of its pool: it loses its disks and is, with a new name, a pool of its own again."""

from __future__ import annotations

import logging
import shutil
from typing import TYPE_CHECKING

from xapikit.host.facts import pool_cpu_info
from xapikit.host.members.rows import local_srs, remove_host
from xapikit.host.storage.rows import remove_row

if TYPE_CHECKING:
    from xapikit.host.pool import Pool

LOG = logging.getLogger(__name__)


def put_out(pool: Pool, host: str) -> str:
    """Take a host, its SRs and their disks out of the database, in one transaction; returns its uuid.

    What follows (its files, its new pool) is done by :func:`finish`, by the next start if this one is cut off.
    """
    row = pool.store.get("host", host)
    uuid: str = row["uuid"]
    srs = local_srs(pool.store, host)
    wipe = tuple(pool.store.get("SR", sr)["uuid"] for sr in srs)
    pool.machines.change(host, ejected=True, name=row["hostname"], wipe=wipe)
    with pool.store.transaction() as tx:
        for sr in srs:
            for vdi in list(tx.get("SR", sr)["VDIs"]):
                remove_row(tx, vdi, vbds=True)
            for pbd in list(tx.get("SR", sr)["PBDs"]):
                tx.delete("PBD", pbd)
            tx.delete("SR", sr)
        remove_host(tx, host)
        tx.update("pool", pool.ref, cpu_info=pool_cpu_info(pool.settings.cpus, len(tx.all("host"))))
    for sr in srs:
        pool.storage.forget_repository(sr)
    pool.hosts.pop(host, None)
    with pool.store.transaction() as tx:
        pool.show_addresses(tx)
    return uuid


def finish(pool: Pool) -> None:
    """Settle what the database has decided about hosts that were to be put out: a row that is still there means that
    nothing happened; else the files of disks that this server keeps for the host go."""
    for uuid, machine in pool.machines.known().items():
        if not machine.ejected:
            continue
        host = pool.store.by_uuid("host", uuid)
        if host is not None:
            pool.machines.change(host, ejected=False, wipe=())
        elif not machine.state:
            for sr in machine.wipe:
                shutil.rmtree(pool.state / "sr" / sr, ignore_errors=True)
            shutil.rmtree(pool.state / "dom0" / uuid, ignore_errors=True)
