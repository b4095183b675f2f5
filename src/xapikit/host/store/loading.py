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
"""From persisted rows to tables: defaults for what is not persisted, mirrors of relations, order of changes."""

from __future__ import annotations

import logging
from typing import Any

from xapikit.host.store.journal import Loaded
from xapikit.host.store.relations import LINKS
from xapikit.host.store.table import Entry, Table
from xapikit.host.store.transaction import targets
from xapikit.host.store.values import STORED_CLASSES, fresh_row
from xapikit.model import MODEL

LOG = logging.getLogger(__name__)


def filled_tables(loaded: Loaded) -> dict[str, Table]:
    """Tables with all rows that were persisted."""
    rows: dict[str, dict[str, dict[str, Any]]] = {name: {} for name in STORED_CLASSES}
    for name, stored in loaded.rows.items():
        if name not in rows:
            LOG.warning("the database holds %d rows of the unknown class %s", len(stored), name)
            continue
        spec = MODEL.classes[name]
        for ref, kept in stored.items():
            rows[name][ref] = fresh_row(spec, {k: v for k, v in kept.fields.items() if k in spec.fields})
    for name, links in LINKS.items():
        for ref, row in rows[name].items():
            for field, mirror in links.items():
                for target in targets(row[field]):
                    other = rows[mirror.class_name].get(target)
                    if other is not None:
                        other[mirror.field] = [*other[mirror.field], ref]
    tables: dict[str, Table] = {}
    for name, made in rows.items():
        table = tables[name] = Table(name)
        stamps = loaded.rows.get(name, {})
        table.fill({ref: Entry(row, stamps[ref].created, stamps[ref].modified) for ref, row in made.items()})
        table.deletions.extend(loaded.deletions.get(name, ()))
    return tables
