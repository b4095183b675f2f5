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
"""The description of a whole server: puts together what the other modules say about its parts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from nova_xapi.spec import cpu, image, names
from nova_xapi.spec.disks import disks
from nova_xapi.spec.platform import platform
from nova_xapi.spec.values import ServerSpec, VmSpec
from nova_xapi.spec.vifs import vifs

MIB: Final = 1 << 20


def describe(
    instance: Any,
    image_meta: Any,
    network_info: Iterable[Mapping[str, Any]] | None,
    block_device_info: Mapping[str, Any] | None,
) -> ServerSpec:
    """From Nova's objects. ``network_info`` is read here, which waits for Neutron in a first build.

    Raises ImageUnacceptable, InvalidInput, UnsupportedDevice, RequestedVRamTooHigh, VirtualInterfacePlugException:
    each names what is refused; and whatever allocating the network raised.
    """
    flavor = instance.flavor
    props = image.properties(image_meta)
    image.check(instance.image_ref or "", props)
    is_iso = image_meta.obj_attr_is_set("disk_format") and image_meta.disk_format == "iso"
    vm = VmSpec(
        name=names.clean(instance.name),
        description=names.clean(instance.display_name),
        vcpus=flavor.vcpus,
        memory=flavor.memory_mb * MIB,
        boot_order="dc" if is_iso else "cd",
        platform=platform(flavor, props),
        vcpu_params=cpu.params(flavor),
        xenstore_data={
            "vm-data/allowvssprovider": "false",
            "vm-data/hostname": names.clean(instance.hostname),
        },
    )
    return ServerSpec(vm, disks(vm.name, flavor, is_iso, block_device_info), vifs(network_info))
