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
"""VDI.copy: the bytes of one disk onto another, holes left out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xapikit import vhd
from xapikit.host.context import TaskHandle
from xapikit.host.errors import ApiError
from xapikit.host.storage import vdis
from xapikit.host.storage.disks import SwitchableDisk

if TYPE_CHECKING:
    from xapikit.host.storage.service import Storage

_STEP = 2 << 20


def copy_new(storage: Storage, vdi: str, sr: str, task: TaskHandle, *, base: str | None = None) -> str:
    """A full copy in an SR. Raises as creating and attaching do, TASK_CANCELLED; nothing is left behind then."""
    row = storage.store.get("VDI", vdi)
    carried = {name: row[name] for name in vdis.CARRIED}
    carried["other_config"] = {**row["other_config"], "content_id": storage.store.new_uuid()}
    target = vdis.create(storage, sr, row["virtual_size"], carried)
    try:
        copy_into(storage, vdi, target, task, base=base)
    except BaseException:
        vdis.discard(storage, target)
        raise
    return target


def copy_into(storage: Storage, vdi: str, target: str, task: TaskHandle, *, base: str | None = None) -> None:
    """Copy onto an existing disk. With ``base`` only what differs from that disk. Raises VDI_TOO_SMALL,
    VDI_IN_USE, VDI_IO_ERROR, TASK_CANCELLED."""
    size = storage.store.get("VDI", vdi)["virtual_size"]
    if storage.store.get("VDI", target)["virtual_size"] < size:
        raise ApiError("VDI_TOO_SMALL", target, size)
    holder = f"copy:{task.ref}:{storage.store.new_uuid()}"
    host_of = {ref: storage.hosts_with(storage.store.get("VDI", ref)["SR"])[0] for ref in (vdi, target)}
    with (
        storage.opened(vdi, read_only=True, holder=holder, host=host_of[vdi]) as source,
        storage.opened(target, read_only=False, holder=holder, host=host_of[target]) as sink,
    ):
        try:
            if base is None:
                _copy(source, sink, task)
            else:
                chunks = vhd.stream.from_chain(storage.path_of(vdi), storage.path_of(base))
                for offset, data in vhd.stream.read(chunks):
                    task.raise_if_cancelled()
                    sink.pwrite(offset, data)
            storage.settle_writes(sink)
        except (vhd.VhdError, OSError) as error:
            raise ApiError("VDI_IO_ERROR", str(error)) from error


def _copy(source: SwitchableDisk, sink: SwitchableDisk, task: TaskHandle) -> None:
    buffer = memoryview(bytearray(_STEP))
    shown = at = 0
    for offset, length in source.extents():
        # what the source lacks is zero; the target may have something there
        if at < offset:
            sink.write_zeroes(at, offset - at)
        while length > 0:
            task.raise_if_cancelled()
            step = min(_STEP - offset % _STEP, length)
            source.pread_into(offset, buffer[:step])
            sink.pwrite(offset, buffer[:step])
            offset += step
            length -= step
            percent = offset * 100 // source.size
            if percent > shown:
                shown = percent
                task.set_progress(percent / 100)
        at = offset
    if at < source.size:
        sink.write_zeroes(at, source.size - at)
