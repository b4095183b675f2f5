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
"""``pool.migrations``: moves that are under way, and those that an earlier server had under way.

At start, what did not come to its end is removed, what arrived is completed, and of what left and was not acknowledged
the other pool is asked, for as long as it takes: the VM is not to be used meanwhile, and its guest stands still.
"""

from __future__ import annotations

import hmac
import logging
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from xapikit.host.classes.vm import transitions
from xapikit.host.classes.vm.record import remove_vm
from xapikit.host.context import Context, TaskHandle
from xapikit.host.errors import ApiError
from xapikit.host.lifecycle import PAUSED, RUNNING
from xapikit.host.migration import landing
from xapikit.host.migration.arrival import Arrival
from xapikit.host.migration.channel import Channel
from xapikit.host.migration.departure import InDoubt
from xapikit.host.migration.inside import go_on
from xapikit.host.migration.notes import Note, Notes
from xapikit.host.migration.plan import all_disks, with_snapshots
from xapikit.host.migration.remote import Unreachable, outcome
from xapikit.host.migration.targets import leaving, remove_leftovers
from xapikit.host.storage import vdis
from xapikit.host.store import Transaction
from xapikit.model import NULL_REF

if TYPE_CHECKING:
    from xapikit.host.pool import Pool

LOG = logging.getLogger(__name__)

MOST_STORAGE_MIGRATES: Final = 3
"""Moves with disks that leave one host at a time (wire reference 3.12)."""
SETTLE_SECONDS: Final = 30.0
"""How long a call waits for the other pool to say what became of the VM (option ``move_settle_seconds``)."""
_ASK_AGAIN_SECONDS: Final = (0.2, 1.0, 5.0, 15.0)
_STOP_SECONDS: Final = 20.0
_KEPT_SECONDS: Final = 30 * 24 * 3600
"""After this time nobody asks any more what became of a VM."""


class Migrations:
    """A :class:`xapikit.host.pool.Part`, started after storage and domains."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self.notes = Notes(pool.state / "moves")
        self._lock = threading.Condition()
        self._arrivals: dict[str, Arrival] = {}
        self._leaving: dict[str, int] = {}
        self._active = 0
        self._stopping = threading.Event()
        self._settle_seconds = float(pool.settings.options.get("move_settle_seconds", SETTLE_SECONDS))
        self.in_doubt = {note.vm for note in self.notes.all() if note.role == "departure"}
        """VMs of which the other pool has to say whose they are: their guests stand still."""

    # life --------------------------------------------------------------------------------------------------------

    def tidy(self) -> None:
        """Rows first, before guests are looked for: VMs that arrived are this pool's, those that did not are gone."""
        self.notes.tidy()
        for note in self.notes.all():
            if note.role != "arrival":
                continue
            with self._pool.store.transaction() as tx:
                if note.state != "committed":
                    for uuid in landing.forget(tx, note.id):
                        self._pool.domains.kind.keep(uuid, None)
                elif landing.on_their_way(tx, note.id):
                    landing.land(tx, self._pool, note)
            if note.state != "committed" or _age(self.notes, note) > _KEPT_SECONDS:
                self.notes.remove(note)

    def start(self) -> None:
        """Remove what moves left that ended with an earlier server; go on asking for what is in doubt."""
        remove_leftovers(self._pool.storage)
        for note in self.notes.all():
            if note.role == "arrival":
                self._show_consoles(note)
            elif self._pool.store.peek("VM", note.vm) is None:
                self.notes.remove(note)  # it had gone already
            else:
                self._go_on_asking(note)

    def stop(self, *, stop_guests: bool) -> None:
        """Moves have been cancelled: wait until they are undone."""
        self._stopping.set()
        with self._lock:
            if not self._lock.wait_for(lambda: not self._active, _STOP_SECONDS):
                LOG.warning("%d moves of VMs are cut off by the end of the server", self._active)

    def _show_consoles(self, note: Note) -> None:
        """A guest that landed while the server started has no consoles yet."""
        row = self._pool.store.peek("VM", note.vm)
        if row is None or row["domid"] != note.domid or row["consoles"] or self._pool.domains.peek(note.vm) is None:
            return
        with self._pool.store.transaction() as tx:
            paused = row["power_state"] == PAUSED
            transitions.placed(tx, self._pool, note.vm, note.host, note.domid, paused=paused)

    @contextmanager
    def _counted(self) -> Iterator[None]:
        with self._lock:
            self._active += 1
        try:
            yield
        finally:
            with self._lock:
                self._active -= 1
                self._lock.notify_all()

    # arriving ----------------------------------------------------------------------------------------------------

    def serve(self, channel: Channel, session: str) -> None:
        """Serve the channel of a VM that another pool wants to send. Raises ChannelLost."""
        question = channel.hear()
        with self._counted():
            try:
                if question.get("do") != "begin":
                    raise ApiError("INTERNAL_ERROR", "a move begins with what is to come")
                arrival = Arrival(self._pool, session, question, self.notes)
            except ApiError as error:
                channel.say({"error": error.description})
                return
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                channel.say({"error": ["INTERNAL_ERROR", f"not the description of a VM: {type(error).__name__}"]})
                return
            identity = arrival.note.id
            with self._lock:
                self._arrivals[identity] = arrival
            try:
                channel.say({"id": identity, "key": arrival.note.key, "srs": arrival.srs})
                arrival.serve(channel)
            finally:
                with self._lock:
                    self._arrivals.pop(identity, None)

    def serve_disks(self, identity: str, channel: Channel) -> None:
        """Serve the channel for the disks of an arrival."""
        with self._lock:
            arrival = self._arrivals.get(identity)
        if arrival is not None:
            arrival.serve_disks(channel)

    def outcome(self, identity: str, key: str) -> str:
        """What became of an arrival, for the pool that knows its secret."""
        with self._lock:
            arrival = self._arrivals.get(identity)
        if arrival is not None and not arrival.over:
            return "busy"
        note = self.notes.find(identity, "arrival")
        if note is None or not hmac.compare_digest(note.key.encode(), key.encode("utf-8", "replace")):
            return "undone"
        return "committed" if note.state == "committed" else "busy"

    # leaving -----------------------------------------------------------------------------------------------------

    @contextmanager
    def storage_moves(self, host: str, disks: Mapping[str, str]) -> Iterator[None]:
        """One of the moves with disks that leave a host. Raises TOO_MANY_STORAGE_MIGRATES."""
        with self._counted():
            if not disks:
                yield
                return
            with self._lock:
                if self._leaving.get(host, 0) >= MOST_STORAGE_MIGRATES:
                    raise ApiError("TOO_MANY_STORAGE_MIGRATES", MOST_STORAGE_MIGRATES)
                self._leaving[host] = self._leaving.get(host, 0) + 1
            try:
                yield
            finally:
                with self._lock:
                    self._leaving[host] -= 1

    def departed(self, note: Note) -> None:
        """The other pool has the VM: it goes here, with its snapshots, their disks and its guest."""
        pool, vm = self._pool, note.vm
        gone: list[str] = []
        if pool.store.peek("VM", vm) is not None:
            pool.domains.end(vm)
            pool.domains.kind.keep(pool.store.get("VM", vm)["uuid"], None)
            with pool.store.transaction() as tx:
                disks = all_disks(tx, vm)
                for ref in with_snapshots(tx, vm):
                    remove_vm(tx, ref)
                gone = [vdi for vdi in disks if not tx.get("VDI", vdi)["VBDs"]]  # others have the rest
                for vdi in gone:
                    leaving(tx, vdi)
        self.in_doubt.discard(vm)
        self.notes.remove(note)
        for vdi in gone:
            vdis.discard(pool.storage, vdi)

    def settle(self, note: Note, ctx: Context) -> bool:
        """The other pool was asked to take a VM, and its answer did not come: find out whether it has it.

        True when it has, and the VM is gone here. Raises InDoubt when it cannot be found out now: it will be, in a
        thread of its own, and nobody can use the VM until then.
        """
        row = ctx.store.get("VM", note.vm)
        found = self._ask(note, time.monotonic() + self._settle_seconds)
        if found is None:
            self.in_doubt.add(note.vm)
            self._go_on_asking(note)
            raise InDoubt(note.vm, row["resident_on"], note.host)
        if found == "committed":
            self.departed(note)
            return True
        self.notes.remove(note)
        return False

    def _ask(self, note: Note, deadline: float | None = None) -> str | None:
        """``committed`` or ``undone``; None when nobody answers in time, or the server ends."""
        attempt = 0
        while True:
            try:
                found = outcome(note.url, note.id, note.key)
                if found != "busy":
                    return found
            except Unreachable as error:
                LOG.info("the pool that should have a VM does not answer: %s", error)
            pause = _ASK_AGAIN_SECONDS[min(attempt, len(_ASK_AGAIN_SECONDS) - 1)]
            attempt += 1
            if deadline is not None and time.monotonic() + pause > deadline:
                return None
            if self._stopping.wait(pause):
                return None

    def _go_on_asking(self, note: Note) -> None:
        pool = self._pool
        ctx = Context(pool, NULL_REF, TaskHandle(pool.store), pool.coordinator)
        # nobody starts, copies or destroys it meanwhile; a hard shutdown is possible, as with every operation
        key = pool.operations.begin(ctx, "VM", note.vm, "migrate_send", _in_any_case, 0.0)
        threading.Thread(target=self._find_out, args=(note, key), name="move-in-doubt", daemon=True).start()

    def _find_out(self, note: Note, key: str) -> None:
        vm = note.vm
        with self._counted():
            try:
                found = self._ask(note)
                if found is None:
                    return
                LOG.info("the other pool says of VM %s: %s", vm, found)
                if found == "committed":
                    self.departed(note)
                    return
                self.in_doubt.discard(vm)
                self.notes.remove(note)
                domain = self._pool.domains.peek(vm)
                row = self._pool.store.peek("VM", vm)
                if domain is not None and row is not None and row["power_state"] == RUNNING:
                    go_on(self._pool, domain)
            except Exception:
                LOG.exception("a VM of which it is not known whether it moved stays as it is: %s", vm)
            finally:
                self._pool.operations.end("VM", vm, key)


def _in_any_case(tx: Transaction, ref: str, operation: str) -> None:
    """No operation speaks against finding out."""


def _age(notes: Notes, note: Note) -> float:
    return time.time() - notes.written(note)
