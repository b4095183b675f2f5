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
"""Imports: disks and rows for what an archive describes, then the contents: all of it, or nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from xapikit.host.classes.vm.record import remove_vm
from xapikit.host.context import Context
from xapikit.host.errors import ApiError
from xapikit.host.storage import vdis
from xapikit.host.xva.chunks import Chunks
from xapikit.host.xva.compression import Source
from xapikit.host.xva.document import Document, Exported
from xapikit.host.xva.matching import Disks, assert_can_restore, iso_for
from xapikit.host.xva.reading import opened
from xapikit.host.xva.rows import Options, Rows
from xapikit.host.xva.unfinished import IMPORT_TASK
from xapikit.model import NULL_REF

_GIVEN = ("name_label", "name_description", "type", "sharable", "other_config", "xenstore_data", "tags")
_STORAGE_KEYS = ("vhd-parent", "vhd-blocks", "vhd-alloted", "vdi_type", "paused", "activating", "relinking")
"""Keys of ``sm_config`` in which a storage manager tells of its own disks."""


class _Rehearsed(Exception):
    """A dry run came to its end: nothing of it is kept."""


def import_archive(ctx: Context, source: Source, options: Options) -> list[str]:
    """Make what an archive describes; returns the VMs.

    When it fails nothing is left, unless the client insisted with ``force``. Raises BodyEnded (the archive ends too
    early), what is wrong with it as IMPORT_ERROR and its like, and what making disks and devices raises.
    """
    with opened(source) as (document, rest):
        if options.restore:
            assert_can_restore(ctx.store, document)
        work = _Import(ctx, document, options)
        if options.force:
            return work.run(rest)
        note = ctx.pool.imports.begin(ctx.task.ref)
        try:
            return work.run(rest, whole=lambda: ctx.pool.imports.end(note))
        except BaseException:
            work.undo()
            raise
        finally:
            ctx.pool.imports.end(note)


class _Import:
    def __init__(self, ctx: Context, document: Document, options: Options) -> None:
        self._ctx = ctx
        self._document = document
        self._options = options
        self._table: dict[str, str] = {}
        self._made: dict[str, str] = {}
        """Disks made for contents to come, by their names in the archive."""
        self.rows = Rows(ctx, document, options, self._table)
        self._disks = Disks(ctx.store, options.vdi_map)

    def run(self, source: Source, whole: Callable[[], None] = lambda: None) -> list[str]:
        """All of it; ``whole`` is called when only the release of the VMs is left."""
        if not self.make():
            return self.rows.vms
        self.receive(source)
        whole()
        return self.complete()

    def make(self) -> bool:
        """Disks and rows; False for a dry run, of which only the default templates remain."""
        for item in self._document.of("host"):
            self._table[item.id] = self._ctx.store.by_uuid("host", item.record["uuid"]) or NULL_REF
        for item in self._document.of("SR"):
            self._sr(item)
        for item in self._document.of("VDI"):
            self._vdi(item)
        try:
            with self._ctx.store.transaction() as tx:
                self.rows.make(tx)
                if self._options.dry_run:
                    raise _Rehearsed
        except _Rehearsed:
            self.rows.vms = [vm for vm in self.rows.vms if vm not in self.rows.made]
            return False
        return True

    def _sr(self, item: Exported) -> None:
        row = item.record
        if self._options.sr is None:
            found = self._ctx.store.by_uuid("SR", row["uuid"])
            if found is not None:
                self._table[item.id] = found
        elif row["content_type"] != "iso":
            self._table[item.id] = self._options.sr

    def _vdi(self, item: Exported) -> None:
        row = item.record
        library = self._document.find(row["SR"]).record
        if library["content_type"] == "iso":
            found = iso_for(self._ctx.store, row["location"])
        elif self._options.sr is not None:
            found = self._made[item.id] = self._new_disk(row)
        else:
            found = self._present_disk(row)
        if found is not None:
            self._table[item.id] = found

    def _new_disk(self, row: Mapping[str, object]) -> str:
        assert self._options.sr is not None, "the archive brings contents"
        ctx, size, config = self._ctx, row["virtual_size"], row["sm_config"]
        assert isinstance(size, int) and isinstance(config, dict), "records are typed"
        kept = {k: v for k, v in config.items() if k not in _STORAGE_KEYS and not k.startswith("host_")}
        fields = {name: row[name] for name in _GIVEN}
        fields["sm_config"] = {**kept, IMPORT_TASK: ctx.task.ref}
        return vdis.create(ctx.pool.storage, self._options.sr, size, fields)

    def _present_disk(self, row: Mapping[str, object]) -> str | None:
        options, sr = self._options, self._table.get(str(row["SR"]))
        found = self._disks.find(row, sr)
        if found is not None or options.force:
            return found
        if options.live and options.dry_run:
            return self._ctx.store.new_ref()  # it will have been mirrored when the VM comes
        if sr is not None:
            raise ApiError("VDI_LOCATION_MISSING", sr, row["location"])
        raise ApiError("VDI_CONTENT_ID_MISSING")

    # contents ----------------------------------------------------------------------------------------------------

    def receive(self, source: Source) -> None:
        """The contents of the disks, for an archive that has them."""
        if self._options.sr is None:
            return
        ctx, task = self._ctx, self._ctx.task
        if ctx.store.peek("task", task.ref) is not None:
            with ctx.store.transaction() as tx:  # clients that map networks have been waiting for this
                known = tx.get("task", task.ref)["other_config"]
                tx.update("task", task.ref, other_config={**known, "object_creation": "complete"})
        sizes = self._streamed()
        chunks = Chunks(source, self._document.version.form, force=self._options.force)
        total, done, shown = sum(sizes.values()) or 1, 0, 0.0

        def moved(offset: int) -> None:
            nonlocal shown
            task.raise_if_cancelled()
            fraction = min(0.99, (done + offset) / total)
            if fraction - shown > 0.02:
                shown = fraction
                task.set_progress(fraction)

        for identity in sorted(sizes):  # Ref:10 comes before Ref:9, for those who write archives too
            vdi, size = self._made[identity], sizes[identity]
            with ctx.pool.storage.opened(vdi, read_only=False, holder=f"import:{task.ref}", host=ctx.host) as disk:
                chunks.receive(disk, identity, size, moved)
                ctx.pool.storage.settle_writes(disk)
            done += size
        task.raise_if_cancelled()
        task.forbid_cancel()
        chunks.finish()

    def _streamed(self) -> dict[str, int]:
        """Bytes of the disks that follow the document: those of VBDs that are no CDs, and suspend images."""
        vbds = [item.record for item in self._document.of("VBD")]
        of_disks = {row["VDI"] for row in vbds if row["type"] != "CD"}
        found = {item.id: item.record for item in self._document.of("VDI") if item.id in self._made}
        return {
            identity: row["virtual_size"]
            for identity, row in found.items()
            if identity in of_disks or row["type"] == "suspend"
        }

    # the end -----------------------------------------------------------------------------------------------------

    def complete(self) -> list[str]:
        """The VMs are free to be used. Of snapshots among them only their origins are told."""
        ctx = self._ctx
        with ctx.store.transaction() as tx:
            for vm in self.rows.made:
                row = tx.peek("VM", vm)
                if row is not None:
                    running = {k: v for k, v in row["current_operations"].items() if k != ctx.task.ref}
                    tx.update("VM", vm, current_operations=running)
        vms = list(dict.fromkeys(self.rows.vms))
        rows = {vm: ctx.store.peek("VM", vm) for vm in vms}
        origins = [vm for vm, row in rows.items() if row is not None and not row["is_a_snapshot"]]
        return origins or vms

    def undo(self) -> None:
        """Nothing of it was."""
        with self._ctx.store.transaction() as tx:
            for vm in self.rows.made:
                if tx.peek("VM", vm) is not None:
                    remove_vm(tx, vm)
            for network in self.rows.networks:
                if tx.peek("network", network) is not None:
                    tx.delete("network", network)
        for vdi in self._made.values():
            vdis.discard(self._ctx.pool.storage, vdi)
