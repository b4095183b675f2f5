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
"""A transaction: reads through its own changes, keeps both ends of relations, checks types.

Nothing is visible outside before the commit, which is the store's business.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from xapikit.host.errors import ApiError
from xapikit.host.store.relations import COMPANIONS, LINKS, MIRRORS
from xapikit.host.store.table import Change, Row
from xapikit.host.store.values import checked, fresh_row
from xapikit.model import MODEL, NULL_REF

if TYPE_CHECKING:
    from xapikit.host.store.store import Store


class View(Protocol):
    """Reading rows: what a store and a transaction have in common."""

    def get(self, class_name: str, ref: str) -> Row:
        """The row. Raises ApiError HANDLE_INVALID."""
        ...

    def peek(self, class_name: str, ref: str) -> Row | None:
        """The row, or None."""
        ...

    def all(self, class_name: str) -> dict[str, Row]:
        """All rows of a class by reference."""
        ...

    def find(self, class_name: str, **fields: Any) -> dict[str, Row]:
        """Rows whose fields equal the given values, by reference."""
        ...


class Transaction:
    """Made by ``store.transaction()``; belongs to the thread that made it, until the end of its ``with`` block."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._rows: dict[tuple[str, str], Row | None] = {}
        self._created: dict[str, dict[str, None]] = {}
        """Rows made here, by class; some may have been undone since."""
        self._touched: dict[tuple[str, str], None] = {}
        self.derived = False
        """Computed fields are in order already: the commit leaves them alone."""

    # reading -----------------------------------------------------------------------------------------------------

    def get(self, class_name: str, ref: str) -> Row:
        """The row as this transaction sees it. Raises ApiError HANDLE_INVALID."""
        row = self.peek(class_name, ref)
        if row is None:
            raise ApiError("HANDLE_INVALID", class_name, ref)
        return row

    def peek(self, class_name: str, ref: str) -> Row | None:
        key = (class_name, ref)
        if key in self._rows:
            return self._rows[key]
        return self.store.peek(class_name, ref)

    def all(self, class_name: str) -> dict[str, Row]:
        rows = self.store.all(class_name)
        # a large transaction changes thousands of rows of other classes: only those of this one are looked at
        for ref in [*rows, *self._created.get(class_name, ())]:
            if (class_name, ref) in self._rows:
                row = self._rows[class_name, ref]
                if row is None:
                    rows.pop(ref, None)
                else:
                    rows[ref] = row
        return rows

    def find(self, class_name: str, **fields: Any) -> dict[str, Row]:
        return {
            ref: row
            for ref, row in self.all(class_name).items()
            if all(row[name] == value for name, value in fields.items())
        }

    # writing -----------------------------------------------------------------------------------------------------

    def create(self, class_name: str, values: Mapping[str, Any], *, ref: str | None = None) -> str:
        """Add a row and return its reference.

        Fields not in ``values`` get the data model's defaults; ``uuid`` is made when absent or empty; sets that
        mirror a relation (``VM.VBDs``) are ignored, they follow from the other end. Raises TypeError for a value
        that does not fit its field.
        """
        spec = MODEL.classes[class_name]
        given = ref is not None
        ref = ref or self.store.new_ref()
        if self.peek(class_name, ref) is not None:
            raise ValueError(f"{class_name} {ref} exists already")
        row = fresh_row(spec, {k: v for k, v in values.items() if (class_name, k) not in MIRRORS})
        if "uuid" in row and not row["uuid"]:
            row["uuid"] = self.store.new_uuid()
        companion = COMPANIONS.get(class_name)
        if companion is not None and (not given or row["metrics"] == NULL_REF):
            row["metrics"] = self.create(companion, {})
        self._rows[class_name, ref] = row
        self._created.setdefault(class_name, {})[ref] = None
        for field in LINKS.get(class_name, {}):
            self._relink(class_name, ref, field, (), targets(row[field]))
        if given:
            self._adopt(class_name, ref)
        return ref

    def update(self, class_name: str, ref: str, **fields: Any) -> None:
        """Change fields of a row; values that are equal already change nothing. Raises HANDLE_INVALID, TypeError."""
        row = self.get(class_name, ref)
        changed: dict[str, Any] = {}
        for name, value in fields.items():
            if (class_name, name) in MIRRORS:
                raise TypeError(f"{class_name}.{name} mirrors a relation: change the other end")
            stored = checked(class_name, name, value)
            if stored != row[name]:
                changed[name] = stored
        if not changed:
            return
        self._rows[class_name, ref] = {**row, **changed}
        links = LINKS.get(class_name, {})
        for name in changed:
            if name in links:
                self._relink(class_name, ref, name, targets(row[name]), targets(changed[name]))

    def delete(self, class_name: str, ref: str) -> None:
        """Remove a row. References to it elsewhere stay as they are (as on a host). Raises HANDLE_INVALID."""
        row = self.get(class_name, ref)
        for field in LINKS.get(class_name, {}):
            self._relink(class_name, ref, field, targets(row[field]), ())
        self._rows[class_name, ref] = None
        companion = COMPANIONS.get(class_name)
        if companion is not None and self.peek(companion, row["metrics"]) is not None:
            self.delete(companion, row["metrics"])

    def touch(self, class_name: str, ref: str) -> None:
        """Announce a row as modified although nothing changed. Raises HANDLE_INVALID."""
        self.get(class_name, ref)
        self._touched[class_name, ref] = None

    # for the store -----------------------------------------------------------------------------------------------

    def changes(self) -> Iterator[Change]:
        """What differs from the committed state, in the order of the first change."""
        for (class_name, ref), after in self._rows.items():
            before = self.store.peek(class_name, ref)
            if before is not after and before != after:
                yield Change(class_name, ref, before, after)

    def touched(self) -> Iterator[tuple[str, str]]:
        return iter(self._touched)

    def set_derived(self, class_name: str, ref: str, field: str, value: Any) -> None:
        """Store a computed field (called by the store once per touched row, before the commit)."""
        row = self.get(class_name, ref)
        stored = checked(class_name, field, value)
        if stored != row[field]:
            self._rows[class_name, ref] = {**row, field: stored}

    def savepoint(self) -> tuple[dict[tuple[str, str], Row | None], dict[tuple[str, str], None]]:
        return dict(self._rows), dict(self._touched)

    def restore(self, saved: tuple[dict[tuple[str, str], Row | None], dict[tuple[str, str], None]]) -> None:
        self._rows, self._touched = saved

    # relations ---------------------------------------------------------------------------------------------------

    def _relink(self, class_name: str, ref: str, field: str, old: tuple[str, ...], new: tuple[str, ...]) -> None:
        mirror = LINKS[class_name][field]
        for target in old:
            if target not in new:
                row = self.peek(mirror.class_name, target)
                if row is not None and ref in row[mirror.field]:
                    self._set_mirror(mirror.class_name, target, row, mirror.field, without=ref)
        for target in new:
            if target not in old:
                row = self.peek(mirror.class_name, target)
                if row is not None and ref not in row[mirror.field]:
                    self._rows[mirror.class_name, target] = {**row, mirror.field: [*row[mirror.field], ref]}

    def _set_mirror(self, class_name: str, ref: str, row: Row, field: str, *, without: str) -> None:
        kept = [item for item in row[field] if item != without]
        self._rows[class_name, ref] = {**row, field: kept}

    def _adopt(self, class_name: str, ref: str) -> None:
        """A row made with a given reference may be pointed at already."""
        for other_class, links in LINKS.items():
            for field, mirror in links.items():
                if mirror.class_name != class_name:
                    continue
                for other, row in self.all(other_class).items():
                    if ref in targets(row[field]):
                        self._relink(other_class, other, field, (), (ref,))


def targets(value: Any) -> tuple[str, ...]:
    """The references in a field that holds one or a set of them; the null reference is none."""
    if isinstance(value, str):
        return (value,) if value and value != NULL_REF else ()
    return tuple(value)
