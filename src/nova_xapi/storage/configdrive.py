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
"""The config drive: what Nova's metadata service would tell a guest, as an ISO on a VDI of its own.

Five calls with the VBD that `nova_xapi.ops` makes, the transfer among them: VDI.create, task.create, the transfer,
task.destroy, VBD.create. Its contents exist in memory only.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from nova import version
from nova.api.metadata import base as metadata

from xapikit.client import XapiClient

from . import iso9660, vdi

#: the label that cloud-init and others look for
LABEL: Final = "config-2"


def contents(
    instance: Any, network_info: Any, injected_files: Sequence[tuple[str, Any]] = (), admin_password: str | None = None
) -> bytes:
    """The ISO of an instance. Secrets are in it: it goes into the VDI and nowhere else.

    Raises what Nova's metadata code raises.
    """
    extra = {"admin_pass": admin_password} if admin_password else None
    tell = metadata.InstanceMetadata(instance, content=list(injected_files), extra_md=extra, network_info=network_info)
    return build(tell.metadata_for_config_drive())


def build(files: Iterable[tuple[str, Any]]) -> bytes:
    """The ISO of (path, text or bytes)."""
    publisher = f"{version.product_string()} {version.version_string_with_package()}"
    encoded = ((path, data.encode() if isinstance(data, str) else bytes(data)) for path, data in files)
    return iso9660.build(encoded, LABEL, publisher)


def create(client: XapiClient, sr: str, iso: bytes, *, name: str, other_config: Mapping[str, str], mark: str) -> str:
    """A VDI with the ISO in it, ready for a VBD of type CD and mode RO; answers its reference.

    ``other_config[mark]`` must be a value that no other VDI has: it tells the VDI when the answer to its creation was
    lost. Raises what calls to the host raise; then there is no VDI, as far as the host can be reached.
    """
    record = {
        "name_label": LABEL,
        "name_description": f"config drive of {name}",
        "SR": sr,
        "virtual_size": len(iso),
        "other_config": dict(other_config),
    }
    ref = vdi.create(client, record, mark)
    try:
        client.import_vdi(ref, [iso], len(iso))
    except BaseException:
        vdi.discard(client, ref)
        raise
    return ref
