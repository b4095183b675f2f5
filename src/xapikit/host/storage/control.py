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
"""Full and slow SRs on request: what ``/_embedded/storage`` shows and takes (see ``xapikit.host.faults.control``)."""

from __future__ import annotations

from typing import Any

from xapikit.host.errors import ApiError
from xapikit.host.storage.service import Storage

_MEMBERS = {"sr", "limit_bytes", "bytes_per_second", "latency_ms"}


def describe(storage: Storage) -> list[dict[str, Any]]:
    """Every plugged SR with files of its own: uuid, name, directory, limits, sizes in bytes."""
    found = []
    for ref, row in storage.store.all("SR").items():
        try:
            repository = storage.plugged(ref)
        except ApiError:
            continue  # without files, or not plugged
        size, used = repository.capacity.sizes()
        found.append(
            {
                "sr": row["uuid"],
                "name_label": row["name_label"],
                "type": row["type"],
                "directory": str(repository.directory),
                "limit_bytes": repository.capacity.limit,
                "bytes_per_second": repository.capacity.speed,
                "latency_ms": repository.capacity.latency,
                "physical_size": size,
                "physical_utilisation": used,
            }
        )
    return found


def change(storage: Storage, wanted: Any) -> dict[str, Any]:
    """``{"sr": UUID, "limit_bytes": N, "bytes_per_second": N, "latency_ms": N}``, null for none; answers how the SR is
    then. ``{"kill_data_paths": VDI UUID}`` lets the processes die that serve a disk, and answers how many there were.

    Raises ValueError for anything else.
    """
    if not isinstance(wanted, dict) or not (wanted.keys() <= _MEMBERS or wanted.keys() == {"kill_data_paths"}):
        raise ValueError(f"an object with some of {sorted(_MEMBERS)}")
    if "kill_data_paths" in wanted:
        vdi = storage.store.by_uuid("VDI", str(wanted["kill_data_paths"]))
        if vdi is None:
            raise ValueError(f"no VDI {wanted['kill_data_paths']!r}")
        return {"killed": storage.kill_data_paths(vdi)}
    sr = storage.store.by_uuid("SR", str(wanted.get("sr")))
    if sr is None:
        raise ValueError(f"no SR {wanted.get('sr')!r}")
    setters = (
        ("limit_bytes", storage.set_limit),
        ("bytes_per_second", storage.set_speed),
        ("latency_ms", storage.set_latency),
    )
    for name, setter in setters:
        value = wanted.get(name)
        if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 0):
            raise ValueError(f"{name} is a number or null, not {value!r}")
        if name in wanted:
            try:
                setter(sr, value)
            except ApiError as error:
                raise ValueError(str(error)) from None
    return next(one for one in describe(storage) if one["sr"] == wanted["sr"])
