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
"""Putting a dumped database in the place of the present one; the toolstack restarts upon it."""

from __future__ import annotations

from xapikit.host.backup.xmldb import Dump, schema_version
from xapikit.host.errors import ApiError
from xapikit.host.pool import Pool
from xapikit.host.store import Transaction
from xapikit.model import MODEL


def check(pool: Pool, dump: Dump) -> None:
    """Raises RESTORE_INCOMPATIBLE_VERSION for another schema, RESTORE_TARGET_MISSING_DEVICE when the dump is of other
    hosts than these."""
    if dump.schema != schema_version():
        raise ApiError("RESTORE_INCOMPATIBLE_VERSION")
    there = {row.get("uuid") for row in dump.rows.get("host", {}).values()}
    for row in pool.store.all("host").values():
        if row["uuid"] not in there:
            raise ApiError("RESTORE_TARGET_MISSING_DEVICE", f"host {row['uuid']}")
    if len(there) != pool.store.count("host") or len(dump.rows.get("pool", {})) != 1:
        raise ApiError("RESTORE_TARGET_MISSING_DEVICE", "host")


def apply(pool: Pool, dump: Dump) -> None:
    """Replace all rows that outlive a restart, in one commit. Raises INTERNAL_ERROR for a row that is none."""
    try:
        with pool.store.transaction() as tx:
            for name, spec in MODEL.classes.items():
                if spec.in_db and spec.persist:
                    _replace(tx, name, dump)
    except (TypeError, ValueError) as error:
        raise ApiError("INTERNAL_ERROR", f"the database cannot be restored: {error}") from error
    pool.restart_toolstack()


def _replace(tx: Transaction, class_name: str, dump: Dump) -> None:
    coming = dump.rows.get(class_name, {})
    for ref in tx.all(class_name):
        if ref not in coming:
            tx.delete(class_name, ref)
    for ref, fields in coming.items():
        if tx.peek(class_name, ref) is None:
            tx.create(class_name, fields, ref=ref)
        else:
            tx.update(class_name, ref, **fields)
