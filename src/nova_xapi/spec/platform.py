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
"""The ``platform`` map of a VM: emulated hardware."""

from __future__ import annotations

from typing import Any

from nova import exception

from nova_xapi.spec import cpu
from nova_xapi.spec.image import Properties

_VIDEO = {"vga": "std", "cirrus": "cirrus"}


def platform(flavor: Any, props: Properties) -> dict[str, str]:
    """Raises RequestedVRamTooHigh and what :func:`nova_xapi.spec.cpu.cores_per_socket` raises."""
    windows = props.get("os_type") == "windows"
    values = {
        "acpi": "true",
        "apic": "true",
        "pae": "true",
        "nx": "true",
        "viridian": "true" if windows else "false",
        "timeoffset": "0",
        "vga": _VIDEO[props.get("hw_video_model", "vga")],
        "videoram": str(_video_ram(flavor, props)),
        # the text console is what the console log is made of
        "hvm_serial": "pty",
    }
    cores = cpu.cores_per_socket(flavor, props)
    if cores is not None:
        values["cores-per-socket"] = str(cores)
    if props.get("hw_device_id") is not None:
        values["device_id"] = f"{int(props['hw_device_id']):04d}"
    return values


def _video_ram(flavor: Any, props: Properties) -> int:
    """MiB."""
    wanted = props.get("hw_video_ram")
    if not wanted:
        return 8
    allowed = int((flavor.extra_specs or {}).get("hw_video:ram_max_mb", 0))
    if wanted > allowed:
        raise exception.RequestedVRamTooHigh(req_vram=wanted, max_vram=allowed)
    return int(wanted)
