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
"""Block devices of SRs that lie on one: which SR a device was made into, and that it is made into one at a time.

A device is a name here and holds nothing itself: ``sr/UUID.device`` in the state directory says which one an SR was
made on, as the volume group on a real device does. It is there until the SR is destroyed or the device is used anew.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from xapikit.host.storage import errors
from xapikit.host.storage.drivers import Driver
from xapikit.host.storage.errors import backend_failure
from xapikit.host.store import View

SUFFIX = ".device"


def devices_of(driver: Driver, device_config: Mapping[str, str]) -> list[str]:
    """The devices that an SR of this kind lies on; empty for one that lies elsewhere."""
    if driver.directory != "own":
        return []
    return [device.strip() for device in device_config.get("device", "").split(",") if device.strip()]


def check_unused(view: View, driver: Driver, host: str, device_config: Mapping[str, str]) -> None:
    """Raise SR_BACKEND_FAILURE_16 when another SR of the host lies on one of the devices."""
    wanted = set(devices_of(driver, device_config))
    for row in view.find("PBD", host=host).values() if wanted else ():
        if wanted & set(devices_of(driver, row["device_config"])):
            raise backend_failure(errors.SR_IN_USE)


def remember(driver: Driver, directory: Path, device_config: Mapping[str, str]) -> None:
    """Note on which devices the SR in a directory was made; what was on them before is not found any more."""
    wanted = devices_of(driver, device_config)
    if not wanted:
        return
    for other in directory.parent.glob(f"*{SUFFIX}"):
        if set(wanted) & set(other.read_text(encoding="utf-8").splitlines()):
            other.unlink()
    _note(directory).write_text("\n".join(wanted), encoding="utf-8")


def forget(directory: Path) -> None:
    """The SR in a directory was destroyed."""
    _note(directory).unlink(missing_ok=True)


def found_on(root: Path, devices: list[str]) -> dict[str, list[str]]:
    """SRs (uuid -> devices) that were made on one of the devices; ``root`` is the directory of all SRs."""
    found = {}
    for note in sorted(root.glob(f"*{SUFFIX}")):
        there = note.read_text(encoding="utf-8").splitlines()
        if set(there) & set(devices) and note.with_suffix("").is_dir():
            found[note.stem] = there
    return found


def _note(directory: Path) -> Path:
    return directory.with_name(directory.name + SUFFIX)
