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
"""Image properties: which of them this driver honours, and which values it refuses rather than ignores."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from nova import exception

Properties = Mapping[str, Any]

ACCEPTED: Final[Mapping[str, tuple[Any, ...]]] = {
    "hw_architecture": ("x86_64",),
    "hw_cdrom_bus": ("ide", "xen"),
    "hw_cpu_policy": ("shared",),
    "hw_disk_bus": ("xen", "ide"),
    "hw_emulation_architecture": (),
    "hw_firmware_type": ("bios",),
    "hw_mem_encryption": (False,),
    "hw_numa_nodes": (),
    "hw_tpm_model": (),
    "hw_tpm_version": (),
    "hw_vif_model": ("netfront", "rtl8139"),
    "hw_video_model": ("vga", "cirrus"),
    "hw_vm_mode": ("hvm",),
    "img_hv_type": ("xen",),
    "os_secure_boot": ("disabled", "optional"),
    "os_type": ("linux", "windows"),
}
"""What a guest would notice if it did not get it: other values are refused. Properties not here are hints."""

_WHY: Final[Mapping[str, str]] = {
    "hw_vm_mode": "hosts of today start HVM guests only",
    "hw_firmware_type": "guests boot with a BIOS",
}


def properties(image_meta: Any) -> dict[str, Any]:
    """The properties set on an ``ImageMeta`` object, as a plain mapping."""
    props = image_meta.properties
    return {name: getattr(props, name) for name in props.fields if props.obj_attr_is_set(name)}


def check(image_id: str, props: Properties) -> None:
    """Raises ImageUnacceptable, naming the property, its value and what would be accepted."""
    for name in sorted(ACCEPTED.keys() & props.keys()):
        value, accepted = props[name], ACCEPTED[name]
        if value in accepted:
            continue
        wanted = f"only {' or '.join(map(str, accepted))} is" if accepted else "no value is"
        why = f": {_WHY[name]}" if name in _WHY else ""
        reason = f"image property {name}={value}, but {wanted} supported by the XAPI driver{why}"
        raise exception.ImageUnacceptable(image_id=image_id, reason=reason)
