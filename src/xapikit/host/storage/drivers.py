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
"""The storage managers of a host: their ``SM`` rows, what they can do, and which directory an SR of theirs is.

The table is ``data/drivers.json`` (wire reference 4.1). A device configuration never leads out of the state directory,
except to directories that the operator opened with the setting ``storage_directories`` (paths joined by ``:``).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from xapikit.host.errors import ApiError
from xapikit.host.settings import HostSettings
from xapikit.host.storage import errors
from xapikit.host.storage.errors import backend_failure
from xapikit.host.store import Transaction

_PLAIN = re.compile(r"[A-Za-z0-9._:\[\]-]+")


@dataclass(frozen=True)
class Driver:
    """One type of SR."""

    type: str
    name_label: str
    name_description: str
    kind: str
    """What its disks are: ``vhd`` files, ``iso`` files, or ``none`` that this host could show."""
    directory: str
    required: tuple[tuple[str, int], ...]
    """Keys of device_config that must be there, and the number of the error when they are not."""
    driver_filename: str
    configuration: Mapping[str, str]
    features: Mapping[str, int]
    """What it can do, with the version of each."""

    def row(self, without: frozenset[str] = frozenset()) -> dict[str, Any]:
        """Fields of the SM row; features ``without`` are not there."""
        features = {name: version for name, version in sorted(self.features.items()) if name not in without}
        return {
            "name_label": self.name_label,
            "name_description": self.name_description,
            "type": self.type,
            "vendor": "Citrix Systems Inc",
            "copyright": "(C) 2008 Citrix Systems Inc",
            "version": "1.0",
            "required_api_version": "1.0",
            "configuration": dict(self.configuration),
            "capabilities": list(features),
            "features": features,
            "driver_filename": self.driver_filename,
        }


@cache
def drivers() -> Mapping[str, Driver]:
    """All types by name."""
    table = json.loads(files("xapikit.host.storage").joinpath("data/drivers.json").read_text())
    found = {}
    for name, entry in table.items():
        required = tuple((key, number) for key, number in entry.pop("required"))
        split = (name.partition("/") for name in entry.pop("features"))
        features = {name: int(version or 1) for name, _, version in split}
        found[name] = Driver(type=name, required=required, features=features, **entry)
    return found


def known_driver(name: str) -> Driver:
    """A type by its name in any case. Raises SR_UNKNOWN_DRIVER."""
    driver = drivers().get(name.lower())
    if driver is None:
        raise ApiError("SR_UNKNOWN_DRIVER", name)
    return driver


def refresh_managers(tx: Transaction, settings: HostSettings) -> None:
    """Make the SM rows say what the storage managers can do, as a host does at each start of its toolstack.

    The setting ``storage_lacks`` names features (joined by ``:``) that they are to lack: for a host of another release.
    """
    lacking = frozenset(settings.options.get("storage_lacks", "").split(":"))
    known = {row["type"]: ref for ref, row in tx.all("SM").items()}
    for driver in drivers().values():
        row = driver.row(lacking)
        if driver.type in known:
            tx.update("SM", known[driver.type], **row)
        else:
            tx.create("SM", row)


def sr_directory(driver: Driver, sr_uuid: str, device_config: Mapping[str, str], settings: HostSettings) -> Path:
    """Where the files of an SR are. Raises what the storage manager says to a bad device_config."""
    for key, number in driver.required:
        if not device_config.get(key):
            raise backend_failure(number)
    own = settings.state / "sr" / sr_uuid
    if driver.directory == "location":
        return _opened(device_config["location"], settings) / sr_uuid
    if driver.directory == "export":
        share = share_directory(device_config["server"], device_config["serverpath"], settings)
        return share / sr_uuid
    if driver.directory == "share":
        server, _, path = device_config["server"].replace("\\", "/").lstrip("/").partition("/")
        return share_directory(server, path, settings) / sr_uuid
    if driver.directory == "iso":
        location = device_config["location"]
        if device_config.get("legacy_mode") == "true":
            return _opened(location, settings)
        server, _, path = location.replace("\\", "/").lstrip("/").partition(":" if ":/" in location else "/")
        return share_directory(server, path, settings)
    return own


def share_directory(server: str, path: str, settings: HostSettings) -> Path:
    """A network share: a directory below ``shares`` that pools with the same setting ``share_root`` have in common."""
    parts = [server, *(part for part in path.split("/") if part)]
    for part in parts:
        if not _PLAIN.fullmatch(part) or part.strip(".") == "":
            raise backend_failure(
                errors.NFS_MOUNT_FAILED, f"mount failed: {part!r} is no name of a server or directory"
            )
    return Path(settings.options.get("share_root") or settings.state / "shares").joinpath(*parts)


def _opened(location: str, settings: HostSettings) -> Path:
    """A local directory that may be used. Raises SR_BACKEND_FAILURE_226."""
    allowed = [settings.state, *(Path(p) for p in settings.options.get("storage_directories", "").split(":") if p)]
    try:
        path = Path(location).resolve()
    except (OSError, ValueError) as error:
        raise backend_failure(errors.INVALID_LOCAL_PATH) from error
    if not Path(location).is_absolute() or not any(path.is_relative_to(one.resolve()) for one in allowed):
        raise backend_failure(errors.INVALID_LOCAL_PATH)
    return path
