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
"""A VM arrives from another pool: what that pool asks for is done here, and undone when it goes away before the end.

The other pool holds two channels, one for the VM (``/services/xenops``) and one for its disks (``/services/SM``). Until
it says ``commit`` everything is provisional; the moment when this pool's note says ``committed`` is the one when the VM
changes hands.
"""

from __future__ import annotations

import logging
import secrets
import threading
import uuid
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from xapikit.host.classes.vm import steps, transitions
from xapikit.host.classes.vm.placement import assert_can_boot, sees_sr
from xapikit.host.classes.vm.record import remove_vm
from xapikit.host.context import Context, TaskHandle
from xapikit.host.domains.model import Domain
from xapikit.host.errors import ApiError
from xapikit.host.lifecycle import PAUSED, RUNNING
from xapikit.host.migration.channel import Channel, ChannelLost, Incoming, StreamGivenUp
from xapikit.host.migration.landing import land, task_of
from xapikit.host.migration.notes import Note, Notes, changed
from xapikit.host.migration.plan import check_target
from xapikit.host.migration.targets import CARRIED, LocalTarget
from xapikit.host.store import Transaction
from xapikit.host.xva.document import read
from xapikit.host.xva.matching import assert_can_restore
from xapikit.host.xva.rows import Options, Rows
from xapikit.model import NULL_REF

if TYPE_CHECKING:
    from xapikit.host.pool import Pool

LOG = logging.getLogger(__name__)

_STREAMED: Final = ("write", "arrive", "keep")
_MOST_KEPT: Final = 64 << 20
"""Bytes of what a VM has beside its disks."""
_DISKS_SECONDS: Final = 60.0
"""How long the undoing of a move waits for a disk that is being written at that moment."""
_ALSO_KEPT: Final = ("memory_target", "last_boot_CPU_flags", "last_booted_record", "memory_overhead", "requires_reboot")
"""Fields of a running VM that an import of an archive leaves to the next start."""

Answer = dict[str, Any]


class _Rehearsed(Exception):
    """The move would be possible: nothing of the rehearsal is kept."""


class Arrival:
    """One VM on its way here. Its channels are served in threads of their own."""

    def __init__(self, pool: Pool, session: str, question: Mapping[str, Any], notes: Notes) -> None:
        """``question`` is the ``begin`` of the other pool. Raises what speaks against the move."""
        identity = str(uuid.uuid4())
        self._pool = pool
        self._notes = notes
        self._document = read(str(question["document"]).encode())
        self._source_vm = str(question["vm"])
        self._copy = bool(question["copy"])
        self._state = str(question["state"])
        self._from = str(question["origin"])
        self._networks = [str(network) for network in question["networks"]]
        self.note = Note(
            identity, "arrival", secrets.token_urlsafe(24), host=str(question["host"]),
            running=self._state == RUNNING,
        )  # fmt: skip
        self._ctx = Context(pool, session, TaskHandle(pool.store, task_of(identity)), self.note.host)
        self._target = LocalTarget(pool.storage, f"arrival:{identity}")
        self._domain: Domain | None = None
        self._kept = ""
        self._vms: list[str] = []
        self._lock = threading.Condition()
        self._disk_channels: set[Channel] = set()
        self._over = False
        self.srs = self._places(question["disks"])
        self._rehearse()

    # may it come -------------------------------------------------------------------------------------------------

    def _places(self, disks: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
        """The SR for each disk: the one that was named, or the default one of this pool."""
        store, host = self._pool.store, self.note.host
        if store.peek("host", host) is None:
            raise ApiError("HANDLE_INVALID", "host", host)
        if not store.get("host", host)["enabled"]:
            raise ApiError("HOST_DISABLED", host)
        found = {}
        for identity, disk in disks.items():
            sr = disk["sr"] or self._pool.row["default_SR"]
            if not disk["sr"] and (store.peek("SR", sr) is None or not sees_sr(store, host, sr)):
                raise ApiError("VDI_NOT_IN_MAP", disk["vdi"])
            store.get("SR", sr)
            if not sees_sr(store, host, sr):
                raise ApiError("VM_REQUIRES_SR", self._source_vm, sr)
            check_target(store, sr)
            found[identity] = sr
        return found

    def _rehearse(self) -> None:
        store = self._pool.store
        if not self._copy:
            for item in self._document.of("VM"):
                present = store.by_uuid("VM", item.record["uuid"])
                if present is not None:
                    raise ApiError("DUPLICATE_VM", present)
            assert_can_restore(store, self._document)
        try:
            with store.transaction() as tx:
                made = {}
                for identity, sr in self.srs.items():
                    disk = self._document.find(identity).record
                    fields = {
                        "SR": sr,
                        "virtual_size": disk["virtual_size"],
                        "sharable": disk["sharable"],
                        "managed": True,
                    }
                    made[identity] = tx.create("VDI", fields)
                self._make(tx, made)
                raise _Rehearsed
        except _Rehearsed:
            self._vms.clear()

    def _make(self, tx: Transaction, disks: Mapping[str, str]) -> str:
        """The rows of the VM and of its snapshots; returns the VM. Its memory is reserved when it has a guest."""
        table = {**disks, **{network: network for network in self._networks}}
        rows = Rows(self._ctx, self._document, Options(restore=not self._copy, live=True), table)
        rows.make(tx)
        self._vms = list(rows.made)
        vm, row = next(
            (rows.table[item.id], found)
            for item in self._document.of("VM")
            if not (found := item.record)["is_a_snapshot"]
        )
        if self._state in (RUNNING, PAUSED):
            tx.update("VM", vm, **{name: row[name] for name in _ALSO_KEPT})
            assert_can_boot(tx, vm, self.note.host)
            tx.update("VM", vm, scheduled_to_be_resident_on=self.note.host)
        return vm

    # the VM ------------------------------------------------------------------------------------------------------

    def serve(self, channel: Channel) -> None:
        """Do what the other pool asks for the VM until it is here, or until the other pool is gone."""
        self._notes.write(self.note)
        doings: dict[str, Callable[[Answer, Incoming | None], Answer]] = {
            "prepare": self._prepare, "keep": self._keep, "arrive": self._arrive, "commit": self._commit,
            "undo": self._undo_asked, "done": self._done, "ping": lambda *_: {},
        }  # fmt: skip
        try:
            _serve(channel, doings, lambda: False)
        finally:
            self.undo()

    def _prepare(self, question: Answer, _: Incoming | None) -> Answer:
        disks = {str(identity): str(vdi) for identity, vdi in question["disks"].items()}
        if not set(disks.values()) <= set(self._target.made):
            raise ApiError("VDI_NOT_MANAGED", "")
        with self._pool.store.transaction() as tx:
            vm = self._make(tx, disks)
            for identity, vdi in disks.items():
                row = self._document.find(identity).record
                history = {name: row[name] for name in (*CARRIED, "is_a_snapshot", "snapshot_time", "read_only")}
                tx.update("VDI", vdi, **history, snapshot_of=disks.get(row["snapshot_of"], NULL_REF))
        self.note = replace(self.note, vm=vm)
        self._notes.write(self.note)
        return {"vm": vm}

    def _keep(self, _: Answer, stream: Incoming | None) -> Answer:
        """What the VM has beside its disks."""
        assert stream is not None
        content = bytearray()
        for piece in stream:
            content += piece
            if len(content) > _MOST_KEPT:
                raise ApiError("INTERNAL_ERROR", "too much is to be kept")
        self._kept = self._pool.store.get("VM", self.note.vm)["uuid"]
        self._pool.domains.kind.keep(self._kept, bytes(content))
        return {}

    def _arrive(self, _: Answer, stream: Incoming | None) -> Answer:
        assert stream is not None
        self._domain = self._pool.domains.build(self.note.vm, self.note.host, state=stream)
        self.note = replace(self.note, domid=self._domain.config.domid)
        self._notes.write(self.note)
        return {}

    def _commit(self, _: Answer, __: Incoming | None) -> Answer:
        vm = self.note.vm
        if not vm or (self._domain is None) != (self._state not in (RUNNING, PAUSED)):
            raise ApiError("INTERNAL_ERROR", "it has not arrived")
        if self._domain is not None and not self._domain.is_alive():
            raise ApiError("INTERNAL_ERROR", "its guest ended on arrival")
        with self._lock:
            if self._over:
                raise ApiError("INTERNAL_ERROR", "the move was undone")
            self.note = changed(self.note, "committed")
            self._notes.write(self.note)
            self._over = True
        self._close_disks()
        self._target.keep()
        try:
            with self._pool.store.transaction() as tx:
                land(tx, self._pool, self.note)
            if self._domain is not None and self.note.running:
                with steps.alive(self._pool, vm):
                    self._pool.domains.let_run(self._domain)
            with self._pool.store.transaction() as tx:
                texts = {"source": self._from, "host": transitions.host_text(tx, self.note.host)}
                transitions.announce(tx, "migrated", vm, **texts)
        except Exception:  # it is this pool's VM by now, whatever becomes of its guest
            LOG.exception("VM %s has arrived and does not go on", vm)
            if self._domain is not None:
                steps.undo(self._pool, vm, self._domain)
        return {"vm": vm}

    def _undo_asked(self, _: Answer, __: Incoming | None) -> Answer:
        self.undo()
        return {}

    def _done(self, _: Answer, __: Incoming | None) -> Answer:
        """The other pool knows that the VM is here."""
        if self.note.state == "committed":
            self._notes.remove(self.note)
        return {}

    # the disks ---------------------------------------------------------------------------------------------------

    def serve_disks(self, channel: Channel) -> None:
        """Do what the other pool asks for the disks."""
        with self._lock:
            if self._over:
                return
            self._disk_channels.add(channel)
        target = self._target

        def write(question: Answer, stream: Incoming | None) -> Answer:
            assert stream is not None
            target.write(self._own(question), stream)
            return {}

        def grow(question: Answer, _: Incoming | None) -> Answer:
            target.grow(self._own(question), int(question["size"]))
            return {}

        doings: dict[str, Callable[[Answer, Incoming | None], Answer]] = {
            "create": self._create, "write": write, "grow": grow,
            "snapshot": lambda question, _: {"disk": target.snapshot(self._own(question))}, "ping": lambda *_: {},
        }  # fmt: skip
        try:
            _serve(channel, doings, lambda: self._over)
        finally:
            with self._lock:
                self._disk_channels.discard(channel)
                self._lock.notify_all()

    def _create(self, question: Answer, _: Incoming | None) -> Answer:
        sr = str(question["sr"])
        if sr not in self.srs.values():
            raise ApiError("HANDLE_INVALID", "SR", sr)
        fields = {name: question["fields"][name] for name in CARRIED}
        return {"disk": self._target.create(sr, int(question["size"]), fields, str(question["mark"]))}

    def _own(self, question: Answer) -> str:
        disk = str(question["disk"])
        if disk not in self._target.made:
            raise ApiError("HANDLE_INVALID", "VDI", disk)
        return disk

    # the end -----------------------------------------------------------------------------------------------------

    @property
    def over(self) -> bool:
        return self._over

    def undo(self) -> None:
        """Nothing of it was, unless the VM is here already."""
        with self._lock:
            if self._over:
                return
            self._over = True
        self._close_disks()
        pool = self._pool
        for vm in self._vms:
            if pool.store.peek("VM", vm) is not None:
                pool.domains.end(vm)
        with pool.store.transaction() as tx:
            for vm in self._vms:
                if tx.peek("VM", vm) is not None:
                    remove_vm(tx, vm)
        if self._kept:
            pool.domains.kind.keep(self._kept, None)
        self._notes.remove(self.note)
        self._target.discard()  # a server that starts finds them by their marks, too
        LOG.info("a VM from another pool did not arrive: %s", self._source_vm)

    def _close_disks(self) -> None:
        with self._lock:
            for channel in self._disk_channels:
                channel.close()
            if not self._lock.wait_for(lambda: not self._disk_channels, _DISKS_SECONDS):
                LOG.warning("a disk of a move that is over is still being written")


def _serve(
    channel: Channel, doings: Mapping[str, Callable[[Answer, Incoming | None], Answer]], over: Callable[[], bool]
) -> None:
    """Answer questions until the other side goes."""
    try:
        while not over():
            question = channel.hear()
            stream = Incoming(channel) if question.get("do") in _STREAMED else None
            try:
                doing = doings.get(str(question.get("do")))
                if doing is None:
                    raise ApiError("INTERNAL_ERROR", f"unknown question {question.get('do')!r}")
                answer = doing(question, stream)
            except ApiError as error:
                answer = {"error": error.description}
            except StreamGivenUp:
                answer = {"error": ["INTERNAL_ERROR", "the stream was not complete"]}
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                LOG.exception("a question of another pool cannot be answered")
                answer = {"error": ["INTERNAL_ERROR", f"{type(error).__name__}: {error}"]}
            if stream is not None:
                stream.drain()
            channel.say(answer)
    except ChannelLost as lost:
        LOG.info("the channel of a move ended: %s", lost)
