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
"""``SR.probe``: what a device or server holds that could be introduced, as XML text (wire reference 4.2)."""

from __future__ import annotations

import os
from pathlib import Path
from xml.etree import ElementTree

from xapikit.host.context import Context
from xapikit.host.errors import ApiError
from xapikit.host.registry import implements
from xapikit.host.storage import errors
from xapikit.host.storage.blockdevices import devices_of, found_on
from xapikit.host.storage.drivers import Driver, known_driver, share_directory, sr_directory
from xapikit.host.storage.errors import backend_failure
from xapikit.host.storage.names import is_uuid

MAX_EXPORTS = 1000


@implements("SR.probe")
def probe(ctx: Context, host: str, device_config: dict[str, str], kind: str, sm_config: dict[str, str]) -> str:
    driver = known_driver(kind)
    ctx.pool.machines.reach(host)
    if "SR_PROBE" not in driver.features:
        raise ApiError("SR_OPERATION_NOT_SUPPORTED", "")
    if driver.directory == "export" and device_config.get("server") and not device_config.get("serverpath"):
        # the answer to an incomplete question is in the error
        raise backend_failure(errors.SERVERPATH_MISSING, listing=_exports(ctx, device_config["server"]))
    # the directory of an SR is named by its uuid: its siblings are what can be introduced
    root = sr_directory(driver, ctx.store.new_uuid(), device_config, ctx.pool.settings_of(host)).parent
    return _xml(_repositories(driver, root, device_config))


def _repositories(driver: Driver, root: Path, device_config: dict[str, str]) -> ElementTree.Element:
    found = ElementTree.Element("SRlist")
    if driver.directory == "own":
        for uuid, devices in found_on(root, devices_of(driver, device_config)).items():
            item = ElementTree.SubElement(found, "SR")
            ElementTree.SubElement(item, "UUID").text = uuid
            ElementTree.SubElement(item, "Devlist").text = ",".join(devices)
    elif root.is_dir():
        for entry in sorted(root.iterdir()):
            if entry.is_dir() and is_uuid(entry.name):
                ElementTree.SubElement(ElementTree.SubElement(found, "SR"), "UUID").text = entry.name
    return found


def _exports(ctx: Context, server: str) -> str:
    """What the server exports: directories that hold SRs, and those that hold nothing yet."""
    found = ElementTree.Element("nfs-exports")
    root = share_directory(server, "", ctx.pool.settings)
    for directory, below, _ in os.walk(root):
        repositories = [name for name in below if is_uuid(name)]
        below[:] = sorted(name for name in below if not is_uuid(name))
        if directory != str(root) and (repositories or not below):
            item = ElementTree.SubElement(found, "Export")
            ElementTree.SubElement(item, "Target").text = server
            ElementTree.SubElement(item, "Path").text = "/" + Path(directory).relative_to(root).as_posix()
            ElementTree.SubElement(item, "Accesslist").text = "*"
        if len(found) >= MAX_EXPORTS:
            break
    return _xml(found)


def _xml(element: ElementTree.Element) -> str:
    ElementTree.indent(element, "\t")
    return '<?xml version="1.0" ?>\n' + ElementTree.tostring(element, encoding="unicode") + "\n"


@implements("SR.probe_ext")
def probe_ext(ctx: Context, host: str, device_config: dict[str, str], kind: str, sm_config: dict[str, str]) -> None:
    known_driver(kind)
    raise ApiError("SR_OPERATION_NOT_SUPPORTED")
