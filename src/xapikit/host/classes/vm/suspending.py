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
"""Suspending to a VDI and resuming from it (wire reference 3.5).

The image is eight bytes of length (big endian) and then what the kind of domain wrote.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from xapikit.host.classes.vm import steps, transitions
from xapikit.host.classes.vm.overhead import MIB
from xapikit.host.context import Context
from xapikit.host.errors import ApiError
from xapikit.host.lifecycle import RUNNING, SUSPENDED
from xapikit.host.storage import vdis
from xapikit.model import NULL_REF

IMAGE_LABEL: Final = "Suspend image"
_HEAD: Final = 8
_CHUNK: Final = 1 << 20


def suspend_to_image(ctx: Context, vm: str) -> None:
    """Write the state of a running VM into a new VDI and end its domain. A guest that cannot be saved runs on."""
    pool = ctx.pool
    row = ctx.store.get("VM", vm)
    host = row["resident_on"]
    image = make_image(ctx, vm, steps.suspend_sr(pool, vm))
    file = steps.image_file(pool, vm)
    try:
        with steps.alive(pool, vm):
            domain = pool.domains.get(vm)
            with steps.asked(ctx, vm, "suspend", pool.guests.acknowledgement_seconds):
                domain.save(file)
        write_image(ctx, image, file, host)
        pool.domains.end(vm, only=domain)
        with ctx.store.transaction() as tx:
            transitions.require_state(tx, vm, RUNNING, domid=row["domid"])
            transitions.suspended(tx, vm, image)
            transitions.announce(tx, "suspended", vm)
    except BaseException:
        vdis.discard(pool.storage, image)
        gone = pool.domains.peek(vm)
        if gone is not None and not gone.is_alive():  # saved, but not into its VDI
            steps.stop(pool, vm)
        raise
    finally:
        file.unlink(missing_ok=True)


def make_image(ctx: Context, vm: str, sr: str) -> str:
    """An empty VDI for the state of a VM."""
    row = ctx.store.get("VM", vm)
    size = row["memory_static_max"] + row["memory_overhead"] + 64 * MIB
    fields = {"name_label": IMAGE_LABEL, "name_description": IMAGE_LABEL, "type": "suspend"}
    return vdis.create(ctx.pool.storage, sr, size, fields)


def resume_from_image(ctx: Context, vm: str, host: str, *, paused: bool) -> None:
    """Continue a suspended VM on a host; its image is destroyed then. It stays Suspended when that fails."""
    pool = ctx.pool
    image = ctx.store.get("VM", vm)["suspend_VDI"]
    file = steps.image_file(pool, vm)
    try:
        _read(ctx, image, file, host)
        with file.open("rb") as state:
            domain = pool.domains.build(vm, host, state=state)
        try:
            with ctx.store.transaction() as tx:
                transitions.require_state(tx, vm, SUSPENDED)
                transitions.placed(tx, pool, vm, host, domain.config.domid, paused=True)
                tx.update("VM", vm, suspend_VDI=NULL_REF)
        except BaseException:
            pool.domains.end(vm, only=domain)
            raise
    except BaseException:
        with ctx.store.transaction() as tx:
            if tx.peek("VM", vm) is not None:
                tx.update("VM", vm, scheduled_to_be_resident_on=NULL_REF)
        raise
    finally:
        file.unlink(missing_ok=True)
    pool.domains.discard_suspend_image(image)
    if not paused:
        steps.let_run(pool, vm, domain)
    with ctx.store.transaction() as tx:
        steps.announce_on(tx, "resumed", vm, host)


def write_image(ctx: Context, image: str, file: Path, host: str) -> None:
    """Copy what a domain saved into its VDI. Raises SR_BACKEND_FAILURE_44 when it does not fit."""
    size = file.stat().st_size
    with ctx.pool.storage.opened(image, read_only=False, holder=f"suspend:{image}", host=host) as disk:
        if size + _HEAD > disk.size:
            raise ApiError("SR_BACKEND_FAILURE_44", "", "the suspend image is larger than its VDI", "")
        offset = _HEAD
        with file.open("rb") as stream:
            while chunk := stream.read(_CHUNK):
                disk.pwrite(offset, chunk)
                offset += len(chunk)
        disk.pwrite(0, size.to_bytes(_HEAD, "big"))
        disk.flush()


def _read(ctx: Context, image: str, file: Path, host: str) -> None:
    with ctx.pool.storage.opened(image, read_only=True, holder=f"resume:{image}", host=host) as disk:
        head = bytearray(_HEAD)
        disk.pread_into(0, head)
        left = int.from_bytes(head, "big")
        if not 0 < left <= disk.size - _HEAD:
            raise ApiError("SUSPEND_IMAGE_NOT_ACCESSIBLE", image)
        offset = _HEAD
        with file.open("wb") as stream:
            while left:
                chunk = bytearray(min(left, _CHUNK))
                disk.pread_into(offset, chunk)
                stream.write(chunk)
                offset += len(chunk)
                left -= len(chunk)
