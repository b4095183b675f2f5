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
"""Moving a VM inside its pool: its guest to another host, its disks to other SRs, or both.

The guest runs while its disks and most of its memory are copied. Both domains exist then; the rows change in one
transaction, after which the new one goes on. Whatever fails before that leaves the guest running where it was.
"""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from xapikit.host.classes.vm import steps, transitions
from xapikit.host.context import Context
from xapikit.host.domains.model import Domain, DomainFailed
from xapikit.host.errors import ApiError
from xapikit.host.lifecycle import PAUSED, RUNNING
from xapikit.host.migration.disks import Sender
from xapikit.host.migration.progress import Counted
from xapikit.host.migration.targets import CARRIED, LocalTarget, leaving, settled
from xapikit.host.storage import vdis
from xapikit.host.store import Transaction
from xapikit.model import NULL_REF

if TYPE_CHECKING:
    from xapikit.host.pool import Pool

LOG = logging.getLogger(__name__)

_STATE_SECONDS = 600.0


@dataclass(frozen=True)
class Move:
    """What a call wants moved: ``disks`` are SRs by VDI."""

    vm: str
    host: str
    disks: Mapping[str, str]


def move_guest(ctx: Context, move: Move) -> None:
    """Move a VM that runs, or is paused. Its place is reserved (``scheduled_to_be_resident_on``) already.

    Raises VM_MIGRATE_FAILED, TASK_CANCELLED, VM_BAD_POWER_STATE (it ended meanwhile).
    """
    store = ctx.store
    source = store.get("VM", move.vm)["resident_on"]
    try:
        with sending(ctx, move.disks) as (sender, target):
            live = attached_disks(ctx, move.vm) & frozenset(move.disks)
            sender.send(move.disks, live)
            _Guest(ctx, move, sender, target, live).move()
    except ApiError as error:
        raise failed(ctx, move.vm, source, move.host, error) from error
    finally:
        with store.transaction() as tx:
            if tx.peek("VM", move.vm) is not None:
                tx.update("VM", move.vm, scheduled_to_be_resident_on=NULL_REF)
    with store.transaction() as tx:
        texts = {"source": transitions.host_text(tx, source), "host": transitions.host_text(tx, move.host)}
        transitions.announce(tx, "migrated", move.vm, **texts)


def move_disks(ctx: Context, move: Move) -> None:
    """Move the disks of a VM without a domain, with its snapshots' and its suspend image."""
    row = ctx.store.get("VM", move.vm)
    try:
        with sending(ctx, move.disks) as (sender, target):
            sender.send(move.disks, frozenset())
            with ctx.store.transaction() as tx:
                transitions.require_state(tx, move.vm, row["power_state"])
                exchange(tx, sender.there)
            target.keep()
    except ApiError as error:
        raise failed(ctx, move.vm, row["resident_on"], move.host, error) from error
    for vdi in move.disks:
        vdis.discard(ctx.pool.storage, vdi)


def failed(ctx: Context, vm: str, source: str, host: str, error: ApiError) -> ApiError:
    """What a client is told when a move that had begun failed."""
    if error.code in ("TASK_CANCELLED", "VM_BAD_POWER_STATE", "VM_MIGRATE_FAILED"):
        return error
    return ApiError("VM_MIGRATE_FAILED", vm, source, host, str(error))


@contextmanager
def sending(ctx: Context, plan: Mapping[str, str]) -> Iterator[tuple[Sender, LocalTarget]]:
    """A sender to SRs of this pool; what it made and nobody took over is gone at the end."""
    target = LocalTarget(ctx.pool.storage, f"mirror:{ctx.task.ref}")
    sender = Sender(ctx.pool.storage, target, ctx.task, lambda: None)
    with mirroring(ctx, plan):
        try:
            yield sender, target
        finally:
            sender.close()
            target.discard()


@contextmanager
def mirroring(ctx: Context, plan: Mapping[str, str]) -> Iterator[None]:
    """Nobody else changes these disks for the time."""
    with ExitStack() as held:
        for vdi in plan:
            # attached by the VM that moves: that is no obstacle
            held.enter_context(ctx.operation("VDI", vdi, "mirror", check=_alone))
        yield


def _alone(tx: Transaction, vdi: str, operation: str) -> None:
    for key, running in tx.get("VDI", vdi)["current_operations"].items():
        raise ApiError("OTHER_OPERATION_IN_PROGRESS", "VDI", vdi, running, key)


def attached_disks(ctx: Context, vm: str) -> frozenset[str]:
    """Disks to which the guest of a VM may write."""
    rows = [ctx.store.get("VBD", vbd) for vbd in ctx.store.get("VM", vm)["VBDs"]]
    return frozenset(row["VDI"] for row in rows if not row["empty"] and row["mode"] == "RW" and row["type"] != "CD")


def exchange(tx: Transaction, moved: Mapping[str, str]) -> None:
    """Let disks that were copied take the place of the old ones, in everything that names them."""
    for old, new in moved.items():
        row = tx.get("VDI", old)
        history = {name: row[name] for name in ("is_a_snapshot", "snapshot_time", "read_only")}
        origin = moved.get(row["snapshot_of"], row["snapshot_of"])
        settled(tx, new, {**{name: row[name] for name in CARRIED}, **history, "snapshot_of": origin})
        for vbd in list(row["VBDs"]):
            tx.update("VBD", vbd, VDI=new)
        for other in tx.find("VDI", snapshot_of=old):
            if other not in moved:
                tx.update("VDI", other, snapshot_of=new)
        for vm in tx.find("VM", suspend_VDI=old):
            tx.update("VM", vm, suspend_VDI=new)
        leaving(tx, old)


@contextmanager
def standing_still(pool: Pool, disks: frozenset[str]) -> Iterator[None]:
    """The files of disks whose guest stands still can be read: its data paths have written everything."""
    with pool.storage.attachments.paused(sorted(disks)):
        yield


class _Guest:
    """The move of one guest, beside its old domain."""

    def __init__(self, ctx: Context, move: Move, sender: Sender, target: LocalTarget, live: frozenset[str]) -> None:
        self._ctx = ctx
        self._target = target
        self._pool = ctx.pool
        self._move = move
        self._sender = sender
        self._live = live
        self._stopped = 0.0
        self._olds = {
            vbd: vdi
            for vbd in ctx.store.get("VM", move.vm)["VBDs"]
            if (vdi := ctx.store.get("VBD", vbd)["VDI"]) in move.disks
        }
        self._news = {vbd: sender.there[vdi] for vbd, vdi in self._olds.items()}

    def move(self) -> None:
        store, vm, domains = self._ctx.store, self._move.vm, self._pool.domains
        before = store.get("VM", vm)
        try:
            old: Domain = domains.get(vm)
        except DomainFailed as error:
            raise ApiError("VM_BAD_POWER_STATE", vm, RUNNING.lower(), before["power_state"].lower()) from error
        was_paused = old.paused
        new = self._transfer(old)
        try:
            self._ctx.task.raise_if_cancelled()
            domains.switch(vm, old, new)
            try:
                with store.transaction() as tx:
                    transitions.require_state(tx, vm, RUNNING, PAUSED, domid=before["domid"])
                    exchange(tx, self._sender.there)
                    # in one go: a server that is killed now finds the new one, and sets it going
                    paused = before["power_state"] != RUNNING
                    transitions.placed(tx, self._pool, vm, self._move.host, new.config.domid, paused=paused)
            except BaseException:
                domains.switch(vm, new, old)
                raise
        except BaseException as error:
            self._back(old, new, was_paused)
            if isinstance(error, DomainFailed):
                raise ApiError("INTERNAL_ERROR", f"xenopsd: {error}") from error
            raise
        self._target.keep()
        self._go_on(old, new, before["power_state"] == RUNNING)

    def _transfer(self, old: Domain) -> Domain:
        """Build the new domain from the state of the old one, which stands still at the end."""
        ours, theirs = socket.socketpair()
        built = _Built()
        was_paused = old.paused
        with ours, theirs:
            for end in (ours, theirs):
                end.settimeout(_STATE_SECONDS)
            thread = threading.Thread(target=self._build, args=(theirs, built), name="guest-arrives", daemon=True)
            thread.start()
            try:
                old.send(Counted(self._ctx.task, ours.sendall, old.config.memory_bytes).write, stopped=self._rest)
                ours.shutdown(socket.SHUT_WR)
            except BaseException as error:
                ours.close()  # the new one has nothing to wait for
                thread.join()
                self._back(old, built.domain, was_paused)
                if isinstance(error, DomainFailed | OSError):
                    raise ApiError("INTERNAL_ERROR", f"xenopsd: {built.error or error}") from error
                raise
            thread.join()
        if built.domain is None:
            self._back(old, None, was_paused)
            raise built.error or ApiError("INTERNAL_ERROR", "the guest did not arrive")
        return built.domain

    def _build(self, connection: socket.socket, built: _Built) -> None:
        vm, host = self._move.vm, self._move.host
        try:
            with connection.makefile("rb", buffering=0) as state:
                built.domain = self._pool.domains.build(vm, host, state=state, disks=self._news, beside=True)
        except ApiError as error:
            built.error = error
        except Exception as error:
            LOG.exception("a guest cannot be built at its destination")
            built.error = ApiError("INTERNAL_ERROR", f"{type(error).__name__}: {error}")
        finally:
            connection.close()  # whoever still writes hears of it

    def _rest(self) -> None:
        self._stopped = time.monotonic()
        with standing_still(self._pool, self._live):
            for vdi in sorted(self._live):
                self._sender.rest(vdi)

    def _go_on(self, old: Domain, new: Domain, running: bool) -> None:
        vm, storage = self._move.vm, self._pool.storage
        try:
            if running:
                with steps.alive(self._pool, vm):
                    self._pool.domains.let_run(new)
        except BaseException:
            steps.undo(self._pool, vm, new)
            raise
        finally:
            self._pool.domains.destroy(old)
            for vbd, vdi in self._olds.items():
                self._pool.domains.release(vbd, vdi)
            for vdi in self._move.disks:
                vdis.discard(storage, vdi)
        LOG.info(
            "VM %s moved to another host: it stood still for %.0f ms",
            new.config.vm, (time.monotonic() - self._stopped) * 1000,
        )  # fmt: skip
        for vbd in self._ctx.store.get("VM", vm)["VBDs"]:
            use = storage.attached(self._ctx.store.get("VBD", vbd)["VDI"], holder=vbd)
            if use is not None and use.host != self._move.host:
                storage.attachments.rehost(use, self._move.host)

    def _back(self, old: Domain, new: Domain | None, was_paused: bool) -> None:
        """The guest goes on where it was."""
        if new is not None:
            self._pool.domains.destroy(new)
        for vbd, vdi in self._news.items():
            self._pool.domains.release(vbd, vdi)
        if was_paused or not old.is_alive():
            return
        try:
            self._pool.domains.let_run(old)
        except DomainFailed as error:
            LOG.warning("a guest that did not move does not go on: %s", error)


def go_on(pool: Pool, domain: Domain) -> None:
    """The guest stays: it runs on from where it stood."""
    try:
        pool.domains.let_run(domain)
    except DomainFailed as error:
        LOG.warning("a guest that did not move does not go on: %s", error)


@dataclass
class _Built:
    domain: Domain | None = None
    error: ApiError | None = None
