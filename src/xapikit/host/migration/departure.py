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
"""A VM leaves for another pool: its disks first, while it runs, then its rows, the state of its guest, and the question
that hands it over.

Until that question is asked, whatever fails leaves the VM here as it was, and nothing there. From then on it is the
other pool that knows whose VM it is (:mod:`.notes`); the guest here stands still until that is known.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from xapikit.host.classes.vm import transitions
from xapikit.host.context import Context
from xapikit.host.domains.model import Domain, DomainFailed
from xapikit.host.errors import ApiError
from xapikit.host.lifecycle import PAUSED, RUNNING
from xapikit.host.migration.channel import Channel, ChannelLost
from xapikit.host.migration.disks import Sender
from xapikit.host.migration.inside import attached_disks, failed, go_on, mirroring, standing_still
from xapikit.host.migration.notes import Note
from xapikit.host.migration.plan import Journey
from xapikit.host.migration.progress import Counted
from xapikit.host.migration.remote import RemoteTarget, connect
from xapikit.host.storage.disks import Buffer
from xapikit.host.xva.document import Exported, write
from xapikit.host.xva.selection import Choice, objects, select

if TYPE_CHECKING:
    pass

LOG = logging.getLogger(__name__)

_CLASSES: Final = ("VM", "VM_metrics", "VM_guest_metrics", "VBD", "VIF", "VDI")
"""What the other pool gets told; networks and SRs are its own."""
_QUIET_SECONDS: Final = 20.0
"""A channel over which nothing else goes says so often that somebody is still there."""


class Departure:
    """One VM on its way to another pool."""

    def __init__(self, ctx: Context, journey: Journey) -> None:
        self._ctx = ctx
        self._pool = ctx.pool
        self._journey = journey
        self._row = ctx.store.get("VM", journey.vm)
        self._ids: dict[str, str] = {}
        """References here by their names in the description."""
        self._channel: Channel | None = None
        self._streaming = False
        self._heard = time.monotonic()
        self._stopped = 0.0

    # asking whether it may ---------------------------------------------------------------------------------------

    @contextmanager
    def announced(self) -> Iterator[Mapping[str, Any]]:
        """Tell the other pool what is to come; it answers what speaks against it as an ApiError, else with the SR for
        each disk. When the block ends without the VM having moved, nothing is left there."""
        journey, store = self._journey, self._ctx.store
        document = self._described()
        names = {ref: identity for identity, ref in self._ids.items()}
        with store.transaction() as tx:
            where = self._row["resident_on"] if tx.peek("host", self._row["resident_on"]) else self._pool.coordinator
            source = transitions.host_text(tx, where)
        channel = self._channel = connect(journey.dest["xenops"], journey.dest["session_id"], journey.host)
        try:
            yield self._asked(
                "begin",
                document=document,
                vm=journey.vm,
                copy=journey.copy,
                state=self._row["power_state"],
                networks=sorted(set(journey.networks.values())),
                disks={names[vdi]: {"sr": sr, "vdi": vdi} for vdi, sr in journey.disks.items()},
                host=journey.host,
                origin=source,
            )
        except BaseException:
            self._give_up(channel)
            raise
        finally:
            channel.close()

    def _give_up(self, channel: Channel) -> None:
        """Have it undone there before the client is told that it failed."""
        try:
            channel.ask("undo")
        except (ChannelLost, ApiError) as error:  # it undoes it by itself then
            LOG.info("a move that failed: the other pool does not answer: %s", error)

    def _described(self) -> str:
        """The VM and its snapshots as an archive describes them, with networks as they are there."""
        journey, store = self._journey, self._ctx.store
        choice = Choice(snapshots=not journey.copy, keep_power_state=True)
        selection = select(store, [journey.vm], choice)
        self._ids = {identity: ref for ref, identity in selection.ids.items()}
        told: list[Exported] = []
        for item in objects(store, selection, choice):
            ref = self._ids[item.id]
            if item.class_name not in _CLASSES or (item.class_name == "VDI" and ref not in journey.disks):
                continue
            if item.class_name == "VIF":
                item = replace(item, snapshot={**item.snapshot, "network": journey.networks[ref]})
            told.append(item)
        hostname = store.get("host", self._pool.coordinator)["hostname"]
        return write(told, hostname).decode()

    def rehearse(self) -> None:
        """Ask whether it may, and leave it at that."""
        with self.announced():
            assert self._channel is not None
            self._give_up(self._channel)

    # going -------------------------------------------------------------------------------------------------------

    def go(self) -> str:
        """Move the VM, or copy it; returns its reference there.

        Raises what the other pool has against it, VM_MIGRATE_FAILED for what goes wrong later, TASK_CANCELLED,
        VM_BAD_POWER_STATE (it ended meanwhile).
        """
        journey = self._journey
        with self.announced() as begun:
            identity = str(uuid.UUID(begun["id"]))  # it becomes the name of a file
            try:
                with mirroring(self._ctx, journey.disks):
                    return self._moved(identity, begun)
            except (ApiError, DomainFailed, ChannelLost) as error:
                told = error if isinstance(error, ApiError) else ApiError("INTERNAL_ERROR", str(error))
                raise failed(self._ctx, journey.vm, self._row["resident_on"], journey.host, told) from error

    def _moved(self, identity: str, begun: Mapping[str, Any]) -> str:
        journey, ctx = self._journey, self._ctx
        running = self._row["power_state"] in (RUNNING, PAUSED)
        live = attached_disks(ctx, journey.vm) & frozenset(journey.disks) if running else frozenset()
        names = {ref: name for name, ref in self._ids.items()}
        disks = connect(journey.dest["SM"], journey.dest["session_id"], journey.host, migration=identity)
        try:
            sender = Sender(self._pool.storage, RemoteTarget(disks), ctx.task, self._keep_alive)
            try:
                sender.send({vdi: begun["srs"][names[vdi]] for vdi in journey.disks}, live)
                there = self._asked("prepare", disks={names[vdi]: disk for vdi, disk in sender.there.items()})["vm"]
                self._keepsake()
                note = Note(identity, "departure", str(begun["key"]), "asked", journey.vm, journey.host,
                            running=self._row["power_state"] == RUNNING, url=journey.dest["xenops"])  # fmt: skip
                if running:
                    self._with_guest(note, sender, live)
                else:
                    self._hand_over(note, None)
            finally:
                sender.close()
        finally:
            disks.close()
        return str(there)

    def _keepsake(self) -> None:
        kept = self._pool.domains.kind.keepsake(self._row["uuid"])
        if kept is not None:
            self._asked("keep", [kept])

    def _with_guest(self, note: Note, sender: Sender, live: frozenset[str]) -> None:
        domain: Domain = self._pool.domains.get(self._journey.vm)
        was_paused = domain.paused
        try:
            self._send_guest(domain, sender, live)
            domain.pause()
            self._ctx.task.raise_if_cancelled()
            self._hand_over(note, domain)
        except InDoubt:
            raise
        except BaseException:
            if not was_paused and domain.is_alive():
                go_on(self._pool, domain)
            raise

    def _send_guest(self, domain: Domain, sender: Sender, live: frozenset[str]) -> None:
        channel = self._channel
        assert channel is not None

        def rest() -> None:
            self._stopped = time.monotonic()
            with standing_still(self._pool, live):
                for vdi in sorted(live):
                    sender.rest(vdi)

        self._streaming = True
        try:
            channel.say({"do": "arrive"})
            try:
                counted = Counted(self._ctx.task, channel.piece, domain.config.memory_bytes)
                domain.send(counted.write, stopped=rest)
            except ChannelLost:
                raise
            except BaseException:
                channel.end(complete=False)
                channel.hear()
                raise
            channel.end()
            channel.answer()
        finally:
            self._streaming = False

    # handing over ------------------------------------------------------------------------------------------------

    def _hand_over(self, note: Note, domain: Domain | None) -> None:
        """The question after which the VM is not this pool's any more. Raises what the other pool says, InDoubt."""
        journey, migrations = self._journey, self._pool.migrations
        self._ctx.task.raise_if_cancelled()
        self._ctx.task.forbid_cancel()
        if journey.copy:
            self._asked("commit")
            self._asked("done")
            return
        with self._ctx.store.transaction() as tx:
            transitions.require_state(tx, journey.vm, self._row["power_state"], domid=self._row["domid"])
        migrations.notes.write(note)
        try:
            self._asked("commit")
        except ApiError:
            migrations.notes.remove(note)
            raise
        except ChannelLost as lost:
            if not migrations.settle(note, self._ctx):
                raise ChannelLost(f"the other pool did not take it: {lost}") from lost
        else:
            if domain is not None:
                LOG.info("VM %s moved to another pool: it stood still for %.0f ms", self._row["uuid"],
                         (time.monotonic() - self._stopped) * 1000)  # fmt: skip
            migrations.departed(note)
            try:
                self._asked("done")
            except (ChannelLost, ApiError) as error:
                LOG.info("the other pool does not hear that a VM arrived there: %s", error)

    # the channel -------------------------------------------------------------------------------------------------

    def _asked(self, do: str, pieces: Iterable[Buffer] | None = None, **members: Any) -> dict[str, Any]:
        assert self._channel is not None
        answer = self._channel.ask(do, pieces, **members)
        self._heard = time.monotonic()
        return answer

    def _keep_alive(self) -> None:
        if not self._streaming and time.monotonic() - self._heard > _QUIET_SECONDS:
            self._asked("ping")


class InDoubt(ApiError):
    """Nobody says whether the other pool has the VM. It stands still here until somebody does."""

    def __init__(self, vm: str, source: str, host: str) -> None:
        super().__init__("VM_MIGRATE_FAILED", vm, source, host, "the destination does not say whether it has the VM")
