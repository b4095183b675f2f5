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
"""Clean-up of what operations could not undo: because an undo failed, an answer was lost, or the service was killed.

It goes by marks alone, and leaves what operations under way are making.

=====================================  =============================================================================
a VM of this service, still marked     removed with its disks: Nova, too, gives up servers whose service died while
"unfinished", whose maker is gone      it built them
a VDI owned by a server of this        destroyed: left behind by a removal that was cut short, or by an attempt that
service, attached to nothing, while    failed, or made twice because the first answer was lost
the server has no VM, or one that
another operation made, or another
VDI in this one's place
a clone of a base that nobody claimed  claimed, which only one can, then destroyed; whoever made it makes another
imports and their locks that were cut  removed by :meth:`nova_xapi.image.cache.ImageCache.reap`
short
=====================================  =============================================================================
"""

from __future__ import annotations

import functools
import logging
import threading
from dataclasses import dataclass
from typing import Final

from nova_xapi.hosts.connection import HostConnection
from nova_xapi.image.cache import ImageCache
from nova_xapi.marks import INSTANCE, OPERATION, UNFINISHED
from nova_xapi.ops import calls, clones
from nova_xapi.ops.steps import Operation
from nova_xapi.servers import Servers
from nova_xapi.storage import vdi as vdis
from xapikit.client import EventCache
from xapikit.client import errors as xapi

LOG = logging.getLogger(__name__)

DELAY: Final = 30.0
"""Seconds after which leftovers are looked for: what was still under way in the server has ended by then."""


@dataclass(frozen=True)
class Reaped:
    """How much was removed."""

    vms: int = 0
    vdis: int = 0

    def __bool__(self) -> bool:
        return bool(self.vms or self.vdis)


class Reconciler:
    """For one service. :meth:`run` at start, and from a thread of its own some time after an uncertain end."""

    def __init__(self, conn: HostConnection, servers: Servers, images: ImageCache) -> None:
        self._conn = conn
        self._servers = servers
        self._images = images
        self._one_at_a_time = threading.Lock()
        self._wanted = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="xapi-reconciler", daemon=True)

    def start(self) -> None:
        """Remove what an earlier run left, then be ready for :meth:`soon`. A failure is logged, not raised."""
        try:
            self.run()
        except Exception:
            LOG.exception("clean-up at start did not finish; it is tried again in %g s", DELAY)
        self._conn.running.on_uncertain = self.soon
        # what was under way in the server when an earlier run was killed may have come after the first look
        self.soon()
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._wanted.set()

    def soon(self) -> None:
        """Look for leftovers in a while."""
        self._wanted.set()

    def run(self) -> Reaped:
        """Look for leftovers now and remove them. Raises what the first call that fails raises, after all others."""
        with self._one_at_a_time:
            return self._run()

    def _run(self) -> Reaped:
        self._conn.await_in_step()
        self._conn.cache.catch_up()
        failures: list[Exception] = []
        try:
            self._images.reap()
        except xapi.ClientError as error:
            failures.append(error)
        reaped = Reaped(self._vms(failures), self._owned(failures) + self._unclaimed(failures))
        if reaped:
            LOG.info("clean-up removed %d VMs and %d VDIs", reaped.vms, reaped.vdis)
        if failures:
            raise failures[0]
        return reaped

    # ---------------------------------------------------------------------------------------------- kinds

    def _vms(self, failures: list[Exception]) -> int:
        reaped = 0
        for ref, record in list(self._servers.all()):
            maker = record["other_config"].get(UNFINISHED)
            if maker is None or maker in self._conn.running.operations():
                continue
            LOG.info("removing VM %s of server %s, which was never finished", ref, record["other_config"][INSTANCE])
            try:
                calls.remove_vm(self._conn, ref)
                self._conn.wait(functools.partial(_is_gone, ref))
                reaped += 1
            except xapi.ClientError as error:
                failures.append(error)
        return reaped

    def _owned(self, failures: list[Exception]) -> int:
        reaped = 0
        makers = {
            vm["other_config"][INSTANCE]: vm["other_config"].get(OPERATION, "").partition("/")[0]
            for _, vm in self._servers.all()
        }
        owned = {
            ref: (record, owner)
            for ref, record in self._conn.cache.records("VDI").items()
            if (owner := self._conn.maker.owns(record)) is not None
        }
        placed = {owner for record, owner in owned.values() if record["VBDs"]}
        for ref, (record, owner) in owned.items():
            if record["VBDs"] or owner.operation in self._conn.running.operations():
                continue
            if makers.get(owner.instance) == owner.operation and owner not in placed:
                continue
            LOG.info(
                "removing VDI %s (%s of server %s), which is left over", record["uuid"], owner.role, owner.instance
            )
            reaped += self._discard(ref, failures)
        return reaped

    def _unclaimed(self, failures: list[Exception]) -> int:
        found = [(ref, vdi) for ref, vdi in self._conn.cache.records("VDI").items() if clones.is_unclaimed(vdi)]
        reaped = 0
        for ref, record in found:
            with Operation(self._conn, "clean-up", record["uuid"]) as operation:
                try:
                    if clones.claim(self._conn, ref, operation.owner("unclaimed")):
                        LOG.info("removing VDI %s, a clone that nobody claimed", record["uuid"])
                        reaped += self._discard(ref, failures)
                except xapi.ClientError as error:
                    failures.append(error)
        return reaped

    def _discard(self, ref: str, failures: list[Exception]) -> int:
        if vdis.discard(self._conn.client, ref):
            return 1
        failures.append(xapi.WaitTimeout(f"VDI {ref} could not be destroyed"))
        return 0

    # --------------------------------------------------------------------------------------------- thread

    def _loop(self) -> None:
        while True:
            self._wanted.wait()
            if self._stopping.wait(DELAY):
                return
            self._wanted.clear()
            try:
                self.run()
            except Exception as error:
                if self._stopping.is_set():
                    return
                LOG.warning("clean-up did not finish, it is tried again: %s", error)
                self._wanted.set()


def _is_gone(vm: str, cache: EventCache) -> bool:
    return cache.get("VM", vm) is None
