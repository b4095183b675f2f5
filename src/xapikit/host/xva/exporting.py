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
"""Writing archives: ``ova.xml``, and for ``/export`` the disks behind it, piece by piece."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Generator, Iterator

from xapikit import vhd
from xapikit.host.classes.vm.facts import check
from xapikit.host.classes.vm.placement import required_srs, sees_sr
from xapikit.host.context import Context
from xapikit.host.errors import ApiError
from xapikit.host.lifecycle import SUSPENDED
from xapikit.host.storage.transfer.importing import io_error
from xapikit.host.storage.transfer.tar import END, Checksum, disk_members, header, padding
from xapikit.host.xva import document
from xapikit.host.xva.selection import Choice, Selection, objects, select

Piece = bytes | bytearray | memoryview


def metadata(ctx: Context, vms: list[str], choice: Choice) -> bytes:
    """A whole archive without disks."""
    return _described(ctx, vms, choice)[1] + END


def archive(ctx: Context, vm: str, choice: Choice) -> Generator[Piece]:
    """A VM with its disks. Pieces are valid until the next one. Raises what opening and reading a disk raises.

    The first piece is the document: whatever speaks against exporting at all is raised before it.
    """
    selection, text = _described(ctx, [vm], choice)
    yield text
    storage = ctx.pool.storage
    sizes = {vdi: ctx.store.get("VDI", vdi)["virtual_size"] for vdi in _streamed(ctx, vm, choice, selection)}
    total, done = sum(sizes.values()) or 1, 0
    # the importing side expects them in this order, which is that of text: Ref:10 comes before Ref:9
    for vdi in sorted(sizes, key=lambda ref: selection.ids[ref]):
        with storage.opened(vdi, read_only=True, holder=f"export:{ctx.task.ref}", host=ctx.host) as disk:
            try:
                yield from disk_members(disk, selection.ids[vdi], _digest())
            except (vhd.VhdError, OSError) as error:
                raise io_error() from error
        done += sizes[vdi]
        ctx.task.set_progress(min(0.99, done / total))
    yield END


def _digest() -> Callable[[memoryview], str]:
    checksum = Checksum("xxhash")
    # hosts compare the text, and theirs is in capitals
    return lambda data: checksum.of(data).upper()


def _described(ctx: Context, vms: list[str], choice: Choice) -> tuple[Selection, bytes]:
    with ctx.store.transaction() as tx:  # so that all records are of one moment
        selection = select(tx, vms, choice)
        found = objects(tx, selection, choice)
    text = document.write(found, ctx.store.get("host", ctx.host)["hostname"])
    return selection, header(document.FILE, len(text), moment=int(time.time())) + text + padding(len(text))


def _streamed(ctx: Context, vm: str, choice: Choice, selection: Selection) -> list[str]:
    """VDIs whose contents go along: those of disks, and the image of a suspended VM; nothing from ISO libraries."""
    row = ctx.store.get("VM", vm)
    vbds = [ctx.store.get("VBD", ref) for ref in row["VBDs"]]
    vdis = [vbd["VDI"] for vbd in vbds if vbd["type"] != "CD"]
    if choice.keep_power_state and row["power_state"] == SUSPENDED:
        vdis.insert(0, row["suspend_VDI"])
    known = [vdi for vdi in dict.fromkeys(vdis) if vdi in selection.ids]
    return [vdi for vdi in known if not _on_iso_library(ctx, vdi)]


def _on_iso_library(ctx: Context, vdi: str) -> bool:
    sr = ctx.store.peek("SR", ctx.store.get("VDI", vdi)["SR"])
    return sr is not None and bool(sr["content_type"] == "iso")


@contextlib.contextmanager
def locked(ctx: Context, vms: list[str], operation: str) -> Iterator[None]:
    """``operation`` runs on all the VMs, which keeps others from changing them. Raises what speaks against it."""
    with contextlib.ExitStack() as stack:
        for vm in vms:
            stack.enter_context(ctx.operation("VM", vm, operation, check=check))
        yield


def reachable_from(ctx: Context, vm: str) -> list[str]:
    """Hosts that have all the disks of a VM. Raises NO_HOSTS_AVAILABLE."""
    row = ctx.store.peek("VM", vm)
    if row is None:
        raise ApiError("NO_HOSTS_AVAILABLE")
    needed = required_srs(ctx.store, row)
    hosts = [host for host in ctx.store.all("host") if all(sees_sr(ctx.store, host, sr) for sr in needed)]
    if not hosts:
        raise ApiError("NO_HOSTS_AVAILABLE")
    return hosts
