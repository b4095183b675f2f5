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
"""Calls whose answer may be lost, and calls that find their work done.

A constructor is never sent again blindly: what it makes carries the operation's id, and when the connection breaks
before the answer, that tells whether there is an object; only when there is none it is sent again, once. All others
are sent again, since a second time either does nothing or is refused in a way that shows that the first time did it.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Final

from nova_xapi.hosts.connection import HostConnection
from nova_xapi.marks import OPERATION
from nova_xapi.ops.steps import Operation
from nova_xapi.storage import vdi as vdis
from xapikit.client import EventCache
from xapikit.client import errors as xapi

LOG = logging.getLogger(__name__)

LOOK: Final = 3.0
"""Seconds for which an effect is looked for that may still be under way in the server."""


def construct(operation: Operation, cls: str, step: str, record: Mapping[str, Any]) -> str:
    """``CLS.create`` with the operation's marks; the reference. ``step`` is unique within the operation."""
    conn = operation.conn
    marks = operation.marks(step)
    marked = {**record, "other_config": {**record.get("other_config", {}), **marks}}
    for last in (False, True):
        try:
            ref: str = conn.call(f"{cls}.create", marked)
            return ref
        except xapi.MaybeSent as error:
            found = _made(conn, cls, marks[OPERATION])
            if found is not None:
                LOG.info("%s.create: its answer was lost (%s), its effect is there", cls, error)
                return found
            # should the first one come late all the same, the reconciler tells the two apart
            conn.running.on_uncertain()
            if last:
                raise
            LOG.info("%s.create: its answer was lost (%s), it had no effect; sending it again", cls, error)
        except xapi.XapiError as error:
            # VBDs and VIFs: only one can have a position, so this is the first one, come late
            found = _made(conn, cls, marks[OPERATION]) if error.code == "DEVICE_ALREADY_EXISTS" else None
            if found is None:
                raise
            return found
    raise AssertionError("unreachable")


def _made(conn: HostConnection, cls: str, mark: str) -> str | None:
    def look(cache: EventCache) -> str | None:
        for ref, record in cache.records(cls).items():
            if record["other_config"].get(OPERATION) == mark:
                return ref
        return None

    conn.cache.catch_up()
    try:
        return conn.wait(look, LOOK)
    except xapi.WaitTimeout:
        return None


def change_power(conn: HostConnection, method: str, vm: str, *params: Any, reached: tuple[str, ...]) -> None:
    """A power operation that may find the VM in a state of ``reached`` already. Raises everything else."""
    try:
        conn.call(method, vm, *params, repeatable=True)
    except xapi.VmBadPowerState as error:
        if error.actual.lower() not in reached:
            raise


def remove_vm(conn: HostConnection, vm: str) -> None:
    """Stop it at once if it runs, and destroy it; fine when it is gone. Disks stay."""
    record = conn.cache.get("VM", vm)
    try:
        if record is None or record["power_state"] != "Halted":
            change_power(conn, "VM.hard_shutdown", vm, reached=("halted",))
        try:
            conn.call("VM.destroy", vm, repeatable=True)
        except xapi.VmBadPowerState:
            # it was started behind the cache's back
            change_power(conn, "VM.hard_shutdown", vm, reached=("halted",))
            conn.call("VM.destroy", vm, repeatable=True)
    except xapi.HandleInvalid:
        LOG.debug("VM %s is gone already", vm)


def remove_vdi(conn: HostConnection, vdi: str) -> None:
    """Destroy a disk; fine when it is gone. One that the host does not let go of is left to the reconciler."""
    if not vdis.discard(conn.client, vdi):
        conn.running.on_uncertain()
